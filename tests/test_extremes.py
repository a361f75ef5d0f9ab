"""Values at the ends of the range: losses, activations, norms and updates, as torch in float64."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
LOGITS = (-math.inf, -1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4, math.inf)


def _both(
    torch: Any, ours: Any, theirs: Any, y: np.ndarray, t: Any
) -> tuple[tuple[float, np.ndarray], tuple[float, np.ndarray]]:
    """Loss and gradient of ours, and of torch's in float64."""
    x = fm.tensor(y, requires_grad=True)
    loss = ours(fm.Sequential(fm.Identity(), dtype=str(y.dtype))(x), t)
    loss.backward()
    z = torch.tensor(y.astype("f8"), requires_grad=True)
    t = np.asarray(t)
    want = theirs(z, torch.tensor(t if t.dtype.kind == "i" else t.astype("f8")))
    want.backward()
    assert x.grad is not None
    assert ours(y, t).item() == pytest.approx(loss.item(), nan_ok=True)
    return (loss.item(), x.grad), (want.item(), z.grad.numpy())


def _compare(found: Any, want: Any, dtype: str, about: str) -> None:
    tolerance = {"rtol": 2e-5 if dtype == "float32" else 1e-8, "atol": 1e-30}
    np.testing.assert_allclose(found[0], want[0], **tolerance, err_msg=about)
    np.testing.assert_allclose(found[1].astype("f8"), want[1], **tolerance, err_msg=about)


@DTYPES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy(dtype: str, reduction: str, torch: Any) -> None:
    ours = fm.CrossEntropyLoss(reduction=reduction)
    theirs = torch.nn.CrossEntropyLoss(reduction=reduction)
    for a, b in itertools.product(LOGITS, LOGITS):
        for t in ([0], [1], [[1.0, 0.0]], [[0.25, 0.75]]):
            found, want = _both(torch, ours, theirs, np.array([[a, b]], dtype), np.array(t))
            _compare(found, want, dtype, f"{a} {b} {t}")


@DTYPES
def test_cross_entropy_does_not_see_an_offset(dtype: str) -> None:
    for offset in (1e4, 1e6, 1e8, -1e8):
        y = np.full((3, 2), offset, dtype)
        for t in (np.array([0, 1, 1]), np.full((3, 2), 0.5)):
            assert fm.CrossEntropyLoss()(y, t).item() == pytest.approx(math.log(2), rel=1e-6)


@DTYPES
def test_losses_of_two_classes(dtype: str, torch: Any) -> None:
    pairs = [
        (fm.BCEWithLogitsLoss(), torch.nn.BCEWithLogitsLoss(), LOGITS),
        (fm.BCELoss(), torch.nn.BCELoss(), (0.0, 1e-30, 0.25, 0.5, 1.0)),
    ]
    for ours, theirs, values in pairs:
        for value, t in itertools.product(values, (0.0, 0.25, 1.0)):
            y = np.array([[value]], dtype)
            found, want = _both(torch, ours, theirs, y, np.array([[t]]))
            _compare(found, want, dtype, f"{ours} {value} {t}")


@DTYPES
def test_losses_of_numbers(dtype: str, torch: Any) -> None:
    pairs = [
        (fm.MSELoss(), torch.nn.MSELoss()),
        (fm.L1Loss(), torch.nn.L1Loss()),
        (fm.HuberLoss(), torch.nn.HuberLoss()),
    ]
    for (ours, theirs), value in itertools.product(pairs, (-1e18, -1e4, 0.0, 1e-18, 1e18)):
        found, want = _both(torch, ours, theirs, np.array([[value]], dtype), np.array([[1.0]]))
        _compare(found, want, dtype, f"{ours} {value}")


@DTYPES
def test_derivatives_of_huge_values(dtype: str, torch: Any) -> None:
    """NaN only where the limit itself is none."""
    nn = torch.nn
    pairs = [
        (fm.GELU(), nn.GELU()),
        (fm.GELU("tanh"), nn.GELU("tanh")),
        (fm.SiLU(), nn.SiLU()),
        (fm.ELU(), nn.ELU()),
        (fm.Softplus(), nn.Softplus()),
        (fm.Tanh(), nn.Tanh()),
        (fm.Sigmoid(), nn.Sigmoid()),
        (fm.LeakyReLU(), nn.LeakyReLU()),
        (fm.ReLU6(), nn.ReLU6()),
        (fm.SELU(), nn.SELU()),
        (fm.CELU(0.5), nn.CELU(0.5)),
        (fm.Mish(), nn.Mish()),
        (fm.Hardswish(), nn.Hardswish()),
        (fm.Hardsigmoid(), nn.Hardsigmoid()),
        (fm.LogSigmoid(), nn.LogSigmoid()),
        (fm.Softsign(), nn.Softsign()),
    ]
    largest = float(np.finfo(dtype).max)
    for ours, theirs in pairs:
        for value in (-largest, -1e30, -1e19, -1e4, 1e4, 1e19, 1e30, largest):
            z = torch.tensor([[max(-1e100, min(1e100, value))]], dtype=torch.float64)
            z.requires_grad_()
            theirs(z).backward()
            x = fm.tensor(np.array([[value]], dtype), requires_grad=True)
            fm.Sequential(ours)(x).backward()
            assert x.grad is not None
            assert x.grad.item() == pytest.approx(z.grad.item(), rel=1e-6, abs=1e-30), (ours, value)


# --- norms


@DTYPES
def test_norms_within_the_range(dtype: str) -> None:
    big, small = (25, -30) if dtype == "float32" else (200, -200)
    for exponent in (big, 0, small):
        p = fm.Parameter(np.zeros(2, dtype))
        p.grad = np.array([3.0, 4.0]) * 10.0**exponent
        norm = fm.clip_grad_norm_([p], 1.0)
        assert isinstance(norm, float)
        assert norm.item() == pytest.approx(5 * 10.0**exponent, rel=1e-5)
        want = np.array([0.6, 0.8]) if exponent >= 0 else np.array([3.0, 4.0]) * 10.0**exponent
        np.testing.assert_allclose(p.grad, want, rtol=1e-5)


@pytest.mark.parametrize("kind", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("values", [[3.0, -4.0], [math.inf, 1.0], [math.nan, 1.0], [0.0, 0.0]])
def test_clipping_is_torchs(kind: float, values: list[float], torch: Any) -> None:
    q = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    q.grad = torch.tensor(values, dtype=torch.float64)
    want = torch.nn.utils.clip_grad_norm_([q], 1.5, norm_type=kind)
    p = fm.Parameter(np.zeros(2))
    p.grad = np.array(values)
    assert fm.clip_grad_norm_([p], 1.5, norm_type=kind) == pytest.approx(want.item(), nan_ok=True)
    np.testing.assert_allclose(p.grad, q.grad.numpy())
    if not math.isfinite(want.item()):
        p.grad = np.array(values)
        with pytest.raises(RuntimeError, match="finite"):
            fm.clip_grad_norm_([p], 1.5, norm_type=kind, error_if_nonfinite=True)
        np.testing.assert_array_equal(p.grad, values)


def test_clipping_by_value() -> None:
    p = fm.Parameter(np.zeros(3, "f4"))
    p.grad = np.array([-3.0, 0.5, 2.0])
    fm.clip_grad_value_(p, 1.0)
    np.testing.assert_array_equal(p.grad, [-1, 0.5, 1])


def test_an_exhausted_generator_is_no_list_of_parameters() -> None:
    model = fm.MLP([2, 1])
    generator = model.parameters()
    fm.SGD(generator, lr=0.1)
    for wrong in (generator, []):
        with pytest.raises(ValueError, match="parameters"):
            fm.clip_grad_norm_(wrong, 1.0)
    with pytest.raises(ValueError, match="used up"):
        fm.SGD(generator, lr=0.1)


# --- updates


@pytest.mark.parametrize(
    "name", ["SGD", "momentum", "Adam", "AdamW", "RMSprop", "NAdam", "Adagrad", "Lion"]
)
def test_an_infinite_parameter_without_a_gradient_stays(name: str) -> None:
    p = fm.Parameter(np.array([np.inf, -np.inf, 1.0], "f4"))
    optimizer: fm.optim.Optimizer = (
        fm.SGD([p], lr=0.1, momentum=0.9) if name == "momentum" else getattr(fm, name)([p])
    )
    for _ in range(3):
        p.grad = np.zeros(3)
        optimizer.step()
    assert list(np.asarray(p)[:2]) == [np.inf, -np.inf]


def test_rmsprop_with_constant_gradients_stays_a_number() -> None:
    p = fm.Parameter(np.ones(64, "f4"))
    optimizer = fm.RMSprop([p], lr=0.01, centered=True)
    for _ in range(3000):
        p.grad = np.full(64, 0.3)
        optimizer.step()
    assert np.isfinite(np.asarray(p)).all()


@pytest.mark.parametrize("beta1", [0.0, 0.1, 0.4, 0.6])
def test_adam_sees_small_gradients_after_large_ones(beta1: float, torch: Any) -> None:
    p, q = fm.Parameter(np.zeros(1, "f4")), torch.zeros(1, requires_grad=True)
    ours = fm.Adam([p], betas=(beta1, 0.9))
    theirs = torch.optim.Adam([q], betas=(beta1, 0.9))
    for gradient in (1e15, 1e-3, 1e-3, 1e-3):
        p.grad, q.grad = np.array([gradient]), torch.tensor([gradient])
        ours.step()
        theirs.step()
    found = ours.state_dict()["state"][0]["exp_avg"]
    np.testing.assert_allclose(found, theirs.state_dict()["state"][0]["exp_avg"], rtol=1e-5)


def test_uniform_over_the_whole_range() -> None:
    for values in (np.zeros(100), np.zeros(100, "f4")):
        largest = float(np.finfo(values.dtype).max)
        fm.init.uniform_(values, -largest, largest)
        assert np.isfinite(values).all()
        assert (values < 0).any()
        assert (values > 0).any()
