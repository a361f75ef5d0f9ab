"""CUDA: whether there is one, parameters there, what is refused."""

import copy
import pickle
import re
from typing import Any, ClassVar

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error
from devices import CUDA
from subprocesses import output_of

X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
T = np.array([0, 1, 2, 0, 1, 2])


def mlp(**options: Any) -> fm.Sequential:
    return fm.MLP([2, 5, 3], "tanh", **{"seed": 1, **options})


def assert_near(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    assert relative_error(np.asarray(got), np.asarray(want)) < tolerance


# --- whether there is one


def test_there_is_cuda() -> None:
    """Skipped, with the reason, where all tests of CUDA are left out."""
    if not CUDA:
        pytest.skip(f"the tests of CUDA are left out: {fm.show_config('dicts')['cuda']}")
    assert fm.cuda.is_available()
    assert fm.cuda.device_count() >= 1
    assert fm.cuda.device_name()
    assert fm.cuda.device_name(0) in fm.show_config("dicts")["cuda"]
    fm.cuda.synchronize()
    with pytest.raises(ValueError, match=r"device.*\d+"):
        fm.cuda.device_name(fm.cuda.device_count())


WITHOUT = """
    import fastmlp as fm
    assert not fm.cuda.is_available()
    assert fm.cuda.device_count() == 0
    model = fm.MLP([2, 3], seed=0)
    before = fm.MLP([2, 3]).state_dict  # draws from the global generator
    calls = [
        lambda: model.to("cuda"),
        lambda: model.to("cuda:0", precision="bf16"),
        lambda: fm.MLP([2, 3], device="cuda"),
        lambda: fm.Linear(2, 3, device="cuda"),
        lambda: fm.Sequential(model, device="cuda"),
        fm.cuda.device_name,
        fm.cuda.synchronize,
    ]
    messages = set()
    for call in calls:
        try:
            call()
        except RuntimeError as error:
            messages.add(str(error))
        else:
            raise AssertionError("no error")
    assert model.device == "cpu"
    assert model.to("cpu") is model
    (message,) = messages
    assert message == "no CUDA: " + fm.show_config("dicts")["cuda"]
    fm.show_config()
    print(message)
"""


def test_without_cuda_an_error_says_what_is_missing() -> None:
    """Here as it is, or where the library of the kernels is missing."""
    for library in ["/nowhere/libfastmlp_cuda.so"] if CUDA else ["", "/nowhere/libfastmlp_cuda.so"]:
        printed = output_of(WITHOUT, FASTMLP_CUDA_LIBRARY=library)
        assert "CUDA" in printed
        assert re.search("driver|device|build|built|library", printed)


# --- what is refused everywhere


@pytest.mark.parametrize(
    ("call", "error", "patterns"),
    [
        ('model.to("gpu")', ValueError, ["device", "'gpu'", "cpu, cuda"]),
        ('model.to("cuda:1")', ValueError, ["device", "'cuda:1'"]),
        ("model.to(0)", TypeError, ["device", "0"]),
        ('model.to("float16")', TypeError, ["dtype", "float16"]),
        ('fm.MLP([2, 3], device="GPU")', ValueError, ["device", "GPU"]),
        ("fm.MLP([2, 3], device=None)", TypeError, ["device", "None"]),
        ('fm.Linear(2, 3, device="tpu")', ValueError, ["device", "tpu"]),
        ('fm.Sequential(model, device="tpu")', ValueError, ["device", "tpu"]),
        ('model.to(precision="fp16")', ValueError, ["precision", "'fp16'", "float32, tf32, bf16"]),
        ("model.to(precision=16)", TypeError, ["precision", "16"]),
        ('model.to("cpu", precision="tf32")', ValueError, ["precision", "CPU", "tf32"]),
        ('model.to(precision="float32x3")', ValueError, ["precision", "CPU", "float32x3"]),
        ('fm.MLP([2, 3], precision="tf32")', ValueError, ["precision", "CPU"]),
        ('fm.Linear(2, 3, precision="tf32")', ValueError, ["precision", "CPU"]),
        ('fm.Sequential(model, precision="tf32")', ValueError, ["precision", "CPU"]),
        ('fm.cuda.device_name("0") if CUDA else int([])', TypeError, [""]),
    ],
)
def test_bad_call(call: str, error: type[Exception], patterns: list[str]) -> None:
    model = mlp()
    state = fm.seeds.current().next_stream()
    with pytest.raises(error) as caught:
        eval(call, {"fm": fm, "model": model, "CUDA": CUDA})
    for pattern in patterns:
        assert pattern in str(caught.value)
    assert (model.device, model.precision) == ("cpu", "float32")
    assert fm.seeds.current().next_stream()[1] == state[1] + 1, "numbers were drawn"


def test_the_cpu_is_a_device() -> None:
    model = fm.MLP([2, 3], device="cpu", precision="float32")
    assert model.to("cpu") is model
    assert model.to() is model
    assert model.to(precision="float32").device == "cpu"
    assert (fm.ReLU().device, fm.ReLU().precision) == ("cpu", "float32")
    assert model[0].weight.device == "cpu"


class _ByInterface:
    """Says that it lies on a device."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


class _ByDlpack:
    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


@pytest.mark.parametrize("kind", [_ByInterface, _ByDlpack])
def test_a_model_on_the_cpu_takes_no_array_of_a_device(kind: Any) -> None:
    model = mlp()
    trainer = fm.Trainer(model, fm.SGD(model.parameters()))
    for call in (model, model.predict, lambda x: trainer.fit(x, T)):
        with pytest.raises(TypeError, match=r"x: .*host.*CUDA device.*predict and fit"):
            call(kind())


# --- parameters there


@pytest.mark.cuda
def test_parameters_are_read_as_copies_and_written_through() -> None:
    model = mlp(device="cuda")
    weight = model[0].weight
    for array in (np.asarray(weight), weight.data, weight.numpy(), weight.detach()):
        assert array.shape == (5, 2)
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
    assert np.array(weight).flags.writeable
    with pytest.raises(ValueError, match="copy"):
        weight.__array__(copy=False)
    want = np.arange(10, dtype="float32").reshape(5, 2)
    for assign in (
        lambda v: weight.__setitem__(..., v),
        lambda v: setattr(weight, "data", v),
        lambda v: setattr(model[0], "weight", v),
        lambda v: weight.copy_(v),
        lambda v: weight.__setitem__((slice(None), [0, 1]), v),
        lambda v: model.load_state_dict({**model.state_dict(), "0.weight": v}),
    ):
        weight.data = np.zeros((5, 2))
        assign(want)
        np.testing.assert_array_equal(weight, want)
        assert (model[0].weight is weight, weight.device) == (True, "cuda")
        layer = model[0].predict(np.eye(2))
        np.testing.assert_allclose(layer - np.asarray(model[0].bias), want.T, rtol=1e-6)
    weight[1, 1] = 7
    assert weight[1, 1] == 7
    assert weight[1, 0] == want[1, 0]
    weight -= 1
    assert isinstance(weight, fm.Parameter)
    assert weight[1, 1] == 6
    np.multiply(weight, 2, out=(weight,))
    np.add(weight, weight, out=weight)
    assert (weight[1, 1], weight.item if weight.size == 1 else None) == (24, None)
    np.testing.assert_array_equal(weight * 2, 2 * np.asarray(weight))
    assert "device='cuda'" in repr(weight)


@pytest.mark.cuda
def test_gradients_are_read_as_copies_and_written_through() -> None:
    model = mlp(device="cuda")
    weight = model[0].weight
    fm.CrossEntropyLoss()(model(X), T).backward()
    assert weight.grad is not None
    with pytest.raises(ValueError, match="read-only"):
        weight.grad[0, 0] = 1
    before = np.array(weight)
    weight.grad = np.arange(10).reshape(5, 2)
    np.testing.assert_array_equal(weight.grad, np.arange(10).reshape(5, 2))
    fm.SGD([weight], lr=0.5).step()
    np.testing.assert_allclose(weight, before - 0.5 * weight.grad, rtol=1e-6)
    norm = fm.clip_grad_norm_([weight], 1.0)
    assert norm == pytest.approx(np.sqrt((np.arange(10) ** 2).sum()), rel=1e-6)
    assert np.linalg.norm(weight.grad) == pytest.approx(1, rel=1e-5)
    model.zero_grad()
    assert weight.grad is None


@pytest.mark.cuda
def test_initial_values_are_those_of_the_cpu() -> None:
    for fill in (fm.init.zeros_, fm.init.normal_, fm.init.kaiming_uniform_, fm.init.xavier_normal_):
        ends = []
        for device in ("cpu", "cuda"):
            fm.manual_seed(5)
            weight = mlp(device=device)[0].weight
            assert fill(weight) is weight
            ends.append(np.array(weight))
        np.testing.assert_array_equal(*ends)


@pytest.mark.cuda
def test_state_dicts_are_the_hosts() -> None:
    model, other = mlp(device="cuda"), mlp(seed=2)
    state = model.state_dict()
    assert {type(v) for v in state.values()} == {fm.Tensor}
    assert all(v.flags.c_contiguous and v.flags.writeable for v in state.values())
    other.load_state_dict(state)
    assert other.device == "cpu"
    assert_near(model.predict(X), other.predict(X))
    for parameter in other.parameters():
        parameter[...] = 0
    model.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(model.predict(X), 0)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["tf32", "float32x3"])
def test_a_copy_stays_on_the_device_and_a_pickle_comes_back_on_the_cpu(precision: str) -> None:
    model = mlp(device="cuda", precision=precision)
    fm.CrossEntropyLoss()(model(X), T).backward()
    twin = copy.deepcopy(model)
    assert (twin.device, twin.precision) == ("cuda", precision)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    twin[0].weight[...] = 0
    assert not np.array_equal(twin.predict(X), model.predict(X))
    assert copy.copy(model[0].weight).device == "cuda"
    read = pickle.loads(pickle.dumps(model))
    assert (read.device, read.precision) == ("cpu", "float32")
    for name, value in read.state_dict().items():
        np.testing.assert_array_equal(value, model.state_dict()[name])


@pytest.mark.cuda
def test_parameters_to_clip_are_on_one_device() -> None:
    parameters = [*mlp(device="cuda").parameters(), *mlp().parameters()]
    for parameter in parameters:
        parameter.grad = np.ones(parameter.shape)
    with pytest.raises(ValueError, match=r"parameters.*one device.*cuda.*cpu"):
        fm.clip_grad_norm_(parameters, 1.0)
    optimizer = fm.SGD(parameters, lr=1.0)  # has none of its own
    before = [np.array(p) for p in parameters]
    optimizer.step()
    for parameter, value in zip(parameters, before, strict=True):
        np.testing.assert_allclose(parameter, value - 1, rtol=1e-6)
