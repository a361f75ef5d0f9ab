"""Models from torch and for torch: every layer both ways, with its values, modes and names."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from program_models import MODELS, WIDTH, model_of
from subprocesses import output_of

torch = pytest.importorskip("torch")
nn = torch.nn

from fastmlp import torch as bridge  # noqa: E402 - after torch is known to be there
from fastmlp.torch import from_torch, to_torch  # noqa: E402

LAYERS: dict[str, Callable[[], Any]] = {
    "linear": lambda: nn.Linear(WIDTH, 3),
    "linear-no-bias": lambda: nn.Linear(WIDTH, 3, bias=False),
    "identity": nn.Identity,
    "dropout": lambda: nn.Dropout(0.3),
    "dropout-inplace": lambda: nn.Dropout(0.1, inplace=True),
    "flatten": nn.Flatten,
    "layer-norm": lambda: nn.LayerNorm(WIDTH, eps=1e-3),
    "layer-norm-no-bias": lambda: nn.LayerNorm(WIDTH, bias=False),
    "layer-norm-bare": lambda: nn.LayerNorm([WIDTH], elementwise_affine=False),
    "batch-norm": lambda: nn.BatchNorm1d(WIDTH, eps=1e-3, momentum=0.3),
    "batch-norm-cumulative": lambda: nn.BatchNorm1d(WIDTH, momentum=None),
    "batch-norm-bare": lambda: nn.BatchNorm1d(WIDTH, affine=False),
    "batch-norm-of-batches": lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False),
    "prelu": nn.PReLU,
    "prelu-features": lambda: nn.PReLU(WIDTH, init=0.1),
    "relu": nn.ReLU,
    "relu-inplace": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hardtanh": lambda: nn.Hardtanh(-0.5, 2.0),
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "logsigmoid": nn.LogSigmoid,
    "softsign": nn.Softsign,
    "selu": nn.SELU,
    "elu": lambda: nn.ELU(0.7),
    "celu": lambda: nn.CELU(1.7),
    "softplus": lambda: nn.Softplus(beta=2.0, threshold=5.0),
    "softmax": lambda: nn.Softmax(dim=1),
    "softmax-last": lambda: nn.Softmax(dim=-1),
    "log-softmax": lambda: nn.LogSoftmax(dim=1),
    "nested": lambda: nn.Sequential(
        OrderedDict(
            body=nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Sequential()),
            head=nn.Linear(8, 2),
        )
    ),
    "empty": nn.Sequential,
}


def _layer(name: str, dtype: Any) -> Any:
    """A module of torch's with values, statistics and frozen parameters of all kinds."""
    torch.manual_seed(0)
    module = LAYERS[name]().to(dtype)
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.normal_()
            parameter.requires_grad_(number % 2 == 0)
        module(torch.randn(30, WIDTH, dtype=dtype))  # running statistics
    return module


def _rows(dtype: Any) -> Any:
    return 2 * np.random.default_rng(1).normal(size=(20, WIDTH)).astype(str(dtype)[6:])


def _in_torch(module: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return copy.deepcopy(module).eval()(torch.from_numpy(x.copy())).numpy()


def _equal_states(ours: fm.Module, theirs: Any) -> None:
    mine, state = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(state)
    for name, value in state.items():
        assert str(mine[name].dtype) == str(value.dtype)[6:]
        np.testing.assert_array_equal(mine[name], value.numpy())
    flags = {name: parameter.requires_grad for name, parameter in theirs.named_parameters()}
    assert {name: p.requires_grad for name, p in ours.named_parameters()} == flags
    modes = {name: module.training for name, module in theirs.named_modules()}
    assert {name: module.training for name, module in ours.named_modules()} == modes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_goes_both_ways(name: str, dtype: Any) -> None:
    theirs = _layer(name, dtype)
    ours, x = from_torch(theirs), _rows(dtype)
    np.testing.assert_allclose(
        ours.predict(x), _in_torch(theirs, x), **_close(dtype), err_msg=repr(ours)
    )
    _equal_states(ours, theirs)
    back = to_torch(ours)
    assert repr(back) == repr(theirs)
    assert type(back) is type(theirs)
    _equal_states(ours, back)
    np.testing.assert_array_equal(_in_torch(back, x), _in_torch(theirs, x))


def _close(dtype: Any) -> dict[str, float]:
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    return {"rtol": tolerance, "atol": tolerance}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("own-forward", "shared")])
def test_every_model_goes_both_ways(name: str, dtype: str) -> None:
    ours = model_of(name, dtype).eval()
    theirs = to_torch(ours)
    x = np.random.default_rng(2).normal(size=(9, WIDTH)).astype(dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(
        ours.predict(x), _in_torch(theirs, x), rtol=tolerance, atol=2 * tolerance
    )
    _equal_states(ours, theirs)
    back = from_torch(theirs)
    assert repr(back) == repr(ours)
    _equal_states(back, theirs)
    np.testing.assert_array_equal(back.predict(x), ours.predict(x))


def test_training_goes_on_as_in_torch() -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(
        nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.PReLU(8), nn.LayerNorm(8), nn.Linear(8, 1)
    ).double()
    ours = from_torch(theirs)
    x = _rows(torch.float64)
    t = x[:, :1] * x[:, 1:2]
    step, other = fm.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(20):
        other.zero_grad()
        nn.functional.mse_loss(theirs(torch.from_numpy(x)), torch.from_numpy(t)).backward()
        other.step()
        step.zero_grad()
        fm.MSELoss()(ours(x), t).backward()
        step.step()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), atol=1e-11, err_msg=name)


def test_values_are_copies() -> None:
    theirs = nn.Linear(WIDTH, 2)
    before = theirs.weight.detach().clone()
    ours = from_torch(theirs)
    ours.weight[...] = 0
    assert torch.equal(theirs.weight, before)
    back = to_torch(from_torch(theirs))
    with torch.no_grad():
        theirs.weight.zero_()
    assert torch.equal(back.weight, before)


def test_what_is_shared_stays_shared() -> None:
    act, twice = nn.Tanh(), nn.Linear(4, 4)
    theirs = nn.Sequential(twice, act, twice, act, nn.Linear(4, 4))
    theirs[4].weight = twice.weight
    ours = from_torch(theirs)
    assert ours[0] is ours[2]
    assert ours[1] is ours[3]
    assert ours[4].weight is ours[0].weight
    assert len(list(ours.parameters())) == 3
    back = to_torch(ours)
    assert back[0] is back[2]
    assert back[4].weight is back[0].weight
    assert len(list(back.parameters())) == 3
    x = np.ones((3, 4), np.float32)
    np.testing.assert_allclose(ours.predict(x), _in_torch(theirs, x), rtol=1e-6)


def test_conversion_draws_no_random_numbers() -> None:
    theirs, ours = nn.Linear(3, 2), fm.Linear(3, 2)
    fm.manual_seed(5)
    first = np.array(fm.Linear(2, 2).weight)
    fm.manual_seed(5)
    from_torch(theirs)
    np.testing.assert_array_equal(fm.Linear(2, 2).weight, first)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    to_torch(ours)
    assert torch.equal(torch.rand(3), expected)


def test_residual_and_standardize_have_modules_of_torch() -> None:
    ours = fm.Sequential(
        fm.Standardize.from_data(_rows(torch.float64), dtype="float64"),
        fm.Residual(fm.Linear(WIDTH, 3, dtype="float64"), fm.Tanh()),
    )
    theirs = to_torch(ours)
    assert isinstance(theirs[0], bridge.Standardize)
    assert isinstance(theirs[1], bridge.Residual)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    x = torch.ones(2, WIDTH, dtype=torch.float64)
    theirs(x).sum().backward()
    ours(x.numpy()).sum().backward()
    np.testing.assert_allclose(ours[1].projection.weight.grad, theirs[1].projection.weight.grad)


@pytest.mark.cuda
def test_models_on_a_device_come_to_the_host() -> None:
    ours = fm.Sequential(fm.Linear(WIDTH, 3), fm.BatchNorm1d(3), device="cuda").eval()
    theirs = to_torch(ours)
    assert {value.device.type for value in theirs.state_dict().values()} == {"cpu"}
    x = _rows(torch.float32)
    np.testing.assert_allclose(_in_torch(theirs, x), ours.predict(x), rtol=1e-5, atol=1e-6)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.layer(x)


def _hooked(module: Any) -> Any:
    module.register_forward_hook(lambda *_: None)
    return module


def _with_extra(module: Any) -> Any:
    module.register_parameter("extra", nn.Parameter(torch.zeros(2)))
    return module


def _mixed() -> Any:
    layer = nn.Linear(2, 2)
    layer.bias = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    return layer


def _forward_replaced() -> Any:
    layer = nn.ReLU()
    layer.forward = lambda x: x
    return layer


def _at_3(module: Any, name: str) -> Any:
    inner = nn.Sequential(OrderedDict({"ok": nn.ReLU(), name: module}))
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), inner)


WRONG: list[tuple[Callable[[], Any], type[Exception], list[str]]] = [
    (lambda: 3, TypeError, ["module:", "torch module", "3 "]),
    (lambda: fm.Linear(1, 1), TypeError, ["module:", "torch module", "Linear"]),
    (lambda: nn.Linear, TypeError, ["module:", "class Linear"]),
    (lambda: _at_3(nn.Conv1d(1, 1, 1), "conv"), TypeError, ["model.3.conv:", "Conv1d"]),
    (lambda: _at_3(_Net(), "net"), TypeError, ["model.3.net:", "_Net", "forward", "load_state"]),
    (lambda: _at_3(nn.ModuleList(), "list"), TypeError, ["model.3.list:", "ModuleList"]),
    (lambda: _at_3(nn.Softmax(0), "act"), ValueError, ["model.3.act:", "dim", "0"]),
    (lambda: _at_3(nn.Softmax(), "act"), TypeError, ["model.3.act:", "dim", "None"]),
    (lambda: _at_3(nn.LeakyReLU(-1), "act"), ValueError, ["model.3.act:", "negative_slope"]),
    (lambda: _at_3(nn.Linear(3, 2), "fc"), ValueError, ["model.3:|model:", "3", "2"]),
    (lambda: _at_3(nn.Linear(2, 2).half(), "fc"), TypeError, ["model.3.fc:", "float16"]),
    (lambda: _at_3(nn.Linear(2, 2, dtype=torch.complex64), "fc"), TypeError, ["model.3.fc:"]),
    (lambda: _at_3(nn.Linear(2, 2).double(), "fc"), TypeError, ["model", "float64", "float32"]),
    (lambda: _at_3(_mixed(), "fc"), TypeError, ["model.3.fc:", "one dtype"]),
    (lambda: _at_3(nn.Linear(2, 2, device="meta"), "fc"), TypeError, ["model.3.fc:", "meta"]),
    (lambda: _at_3(nn.LazyLinear(2), "fc"), TypeError, ["model.3.fc:"]),
    (lambda: _at_3(nn.LayerNorm((2, 2)), "norm"), ValueError, ["model.3.norm:", "shape"]),
    (lambda: _at_3(nn.BatchNorm2d(2), "norm"), TypeError, ["model.3.norm:", "BatchNorm2d"]),
    (lambda: _at_3(nn.Flatten(0), "flat"), ValueError, ["model.3.flat:", "start_dim"]),
    (lambda: _at_3(_hooked(nn.ReLU()), "act"), TypeError, ["model.3.act:", "hooks"]),
    (lambda: _at_3(_with_extra(nn.ReLU()), "act"), TypeError, ["model.3.act:", "extra"]),
    (lambda: _at_3(_forward_replaced(), "act"), TypeError, ["model.3.act:", "ReLU"]),
    (
        lambda: _at_3(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "fc"),
        TypeError,
        ["model.3.fc:", "parametrizations"],
    ),
    (lambda: _at_3(nn.ReLU(), "predict"), ValueError, ["model.3:", "predict"]),
]


@pytest.mark.parametrize(("make", "error", "patterns"), WRONG)
def test_what_cannot_be_taken_is_named(
    make: Callable[[], Any], error: type[Exception], patterns: list[str]
) -> None:
    with pytest.raises(error) as caught:
        from_torch(make())
    for pattern in patterns:
        assert any(part in str(caught.value) for part in pattern.split("|")), caught.value


class _Ours(fm.Module):
    def __init__(self) -> None:
        self.layer = fm.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.layer(x)


def _our_hook(module: fm.Module) -> fm.Module:
    module.register_forward_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("make", "patterns"),
    [
        (lambda: 3, ["model:", "fastmlp Module"]),
        (lambda: nn.Linear(1, 1), ["model:", "torch's own"]),
        (_Ours, ["model:", "_Ours", "forward", "load_state_dict"]),
        (lambda: fm.Sequential(fm.ReLU(), _Ours()), ["model.1:", "_Ours"]),
        (lambda: fm.Sequential(_our_hook(fm.ReLU())), ["model.0:", "hooks"]),
        (lambda: fm.ModuleList([fm.ReLU()]), ["model:", "ModuleList"]),
    ],
)
def test_what_torch_cannot_have_is_named(make: Callable[[], Any], patterns: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        to_torch(make())
    assert all(pattern in str(caught.value) for pattern in patterns), caught.value


def test_torch_is_imported_where_it_is_used_alone() -> None:
    code = """
        import sys
        import fastmlp as fm
        assert "torch" not in sys.modules
        sys.modules["torch"] = None  # as if it were not installed
        try:
            fm.torch
        except ImportError as error:
            print(error)
    """
    assert 'pip install "fastmlp[torch]"' in output_of(code)
