"""A model's program in plain records gives, in NumPy, what `predict` gives."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.program import program_of
from program_models import MODELS, WIDTH, in_numpy, model_of


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_it_gives_what_predict_gives(name: str, training: bool, dtype: str) -> None:
    model = model_of(name, dtype).train(training)
    x = np.random.default_rng(1).normal(size=(11, WIDTH)).astype(dtype)
    program = program_of(model)
    want = np.asarray(model.predict(x))
    got = in_numpy(program, x)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 if dtype == "float64" else 2e-5)
    if program.out_features is not None:
        assert program.out_features == want.reshape(11, -1).shape[1]
    assert program.in_features in (WIDTH, None)


def test_arrays_are_copies() -> None:
    model = fm.Linear(2, 1)
    before = program_of(model)
    model.weight.copy_([[5, 6]])
    assert program_of(model).operations[0].weight.tolist() == [[5, 6]]
    assert before.operations[0].weight.tolist() != [[5, 6]]


@pytest.mark.parametrize("name", ["batch-norm", "batch-norm-bare", "standardize"])
def test_statistics_are_what_scale_and_shift_come_from(name: str) -> None:
    (columns,) = [o for o in program_of(model_of(name, "float64")).operations if "scale" in vars(o)]
    mean, spread, eps, weight, bias = columns.statistics
    deviation = spread if eps is None else np.sqrt(spread + eps)
    scale = (1 if weight is None else weight) / deviation
    np.testing.assert_allclose(columns.scale, scale, rtol=1e-14)
    np.testing.assert_allclose(columns.shift, (0 if bias is None else bias) - mean * scale)


def test_a_tensor_is_no_model() -> None:
    with pytest.raises(TypeError, match="model: expected a fastmlp Module, got ndarray"):
        program_of(np.zeros(3))


def test_of_a_device(device: str) -> None:
    model = model_of("batch-norm")
    want = [vars(operation) for operation in program_of(model).operations]
    got = [vars(operation) for operation in program_of(model.to(device=device)).operations]
    np.testing.assert_equal(got, want)
