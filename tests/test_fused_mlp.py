"""FusedMLP beside the nn.Sequential of the same sizes: results, derivatives, what is an error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")
nn = torch.nn

from fastmlp.torch import FusedMLP, from_torch  # noqa: E402 - after torch is known to be there
from fastmlp.torch.table import ELEMENTWISE  # noqa: E402
from fused_pairs import F64, SIZES, assert_close, input_of, is_native, pair_of, passes_of  # noqa: E402


@pytest.mark.parametrize("rows", [1, 3, 33, 500])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-12), (torch.float32, 2e-5)])
def test_results_and_gradients_are_torchs(
    dtype: Any, tolerance: float, sizes: tuple[int, ...], rows: int
) -> None:
    for activation in ("relu", "tanh", "gelu"):
        fused, plain = pair_of(sizes, activation, dtype=dtype)
        x = input_of(fused, rows)
        assert is_native(fused(x))
        assert_close(passes_of(fused, x), passes_of(plain, x), tolerance)
        with torch.no_grad():
            torch.testing.assert_close(fused(x), plain(x), rtol=tolerance, atol=tolerance)


# Where torch's own kernels round a constant to float32.
ROUNDED = ("Hardsigmoid", "Hardswish", "CELU")
OPTIONS = {
    "LeakyReLU": lambda: nn.LeakyReLU(0.2, inplace=True),
    "Hardtanh": lambda: nn.Hardtanh(-0.7, 1.5),
    "ELU": lambda: nn.ELU(0.6),
    "CELU": lambda: nn.CELU(1.4),
    "Softplus": lambda: nn.Softplus(beta=2.0, threshold=3.0),
    "GELU": lambda: nn.GELU(approximate="tanh"),
    "ReLU": lambda: nn.ReLU(inplace=True),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_of_every_activation(name: str) -> None:
    fused, plain = pair_of((3, 5, 2), OPTIONS.get(name, getattr(nn, name))(), dtype=F64)
    x = input_of(fused, 4)
    assert is_native(fused(x))
    assert_close(passes_of(fused, x), passes_of(plain, x), 1e-7 if name in ROUNDED else 1e-12)

    def of(x: Any, *_: Any) -> Any:
        return fused(x)

    inputs = (x, *fused.parameters())
    assert torch.autograd.gradcheck(of, inputs)
    if name == "Hardsigmoid":
        with pytest.raises(RuntimeError, match="hardsigmoid_backward is not implemented"):
            torch.autograd.gradgradcheck(of, inputs)
    else:
        assert torch.autograd.gradgradcheck(of, inputs)


@pytest.mark.parametrize("last", ["sigmoid", "softmax", "log_softmax", nn.LogSoftmax(dim=-1)])
@pytest.mark.parametrize("bias", [True, False])
def test_output_activations(last: Any, bias: bool) -> None:
    fused, plain = pair_of((3, 6, 4), "silu", output_activation=last, bias=bias, dtype=F64)
    x = input_of(fused, 7)
    assert repr(fused)[len("FusedMLP") :] == repr(plain)[len("Sequential") :]
    assert_close(passes_of(fused, x), passes_of(plain, x), 1e-12)


def test_activations_of_either_library() -> None:
    for activation in ("relu", fm.ReLU, fm.ReLU(), nn.ReLU, nn.ReLU()):
        assert repr(FusedMLP([2, 3, 1], activation)[1]) == "ReLU()"
    assert repr(FusedMLP([2, 3, 1], fm.LeakyReLU(0.3))[1]) == "LeakyReLU(negative_slope=0.3)"
    assert repr(FusedMLP([2, 3, 1], "gelu_tanh")[1]) == "GELU(approximate='tanh')"


def test_states_and_first_values_are_those_of_the_sequential() -> None:
    torch.manual_seed(3)
    fused = FusedMLP([4, 8, 2])
    torch.manual_seed(3)
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert list(fused.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.is_contiguous()
    for one, other in ((fused, plain), (plain, fused)):
        with torch.no_grad():
            one[0].weight.mul_(2)
        assert not other.load_state_dict(one.state_dict()).missing_keys
        assert torch.equal(one[0].weight, other[0].weight)
    ours = from_torch(fused)
    assert list(ours.state_dict()) == list(fused.state_dict())
    x = torch.ones(3, 4)
    np.testing.assert_allclose(ours.predict(x), fused(x).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[::2],
        lambda x: x[:, :3],
        lambda x: x.t().contiguous().t(),
        lambda x: x[0],
        lambda x: x.reshape(3, 4, -1),
        lambda x: x.reshape(2, 3, 2, -1).transpose(0, 1),
        lambda x: x[:1].expand(5, -1),
        lambda x: x[:0],
        lambda x: x[:, None][:0],
    ],
)
def test_inputs_of_every_form(view: Callable[[Any], Any]) -> None:
    columns = view(torch.zeros(12, 6)).shape[-1]
    fused, plain = pair_of((columns, 8, 3), dtype=F64)
    x = torch.randn(12, 6, dtype=F64, requires_grad=True)
    results = []
    for model in (fused, plain):
        model.zero_grad()
        x.grad = None
        y = model(view(x))
        y.sum().backward()  # a gradient that is expanded
        results.append([y, x.grad, *(p.grad for p in model.parameters())])
    assert_close(*results, 1e-12)


def test_gradients_only_where_they_are_wanted() -> None:
    for frozen in ({"0.weight"}, {"0.weight", "0.bias"}, {"2.weight", "4.bias"}, {"4.weight"}):
        fused, plain = pair_of((3, 6, 5, 2), dtype=F64)
        for model in (fused, plain):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name not in frozen)
        x = input_of(fused, 5).detach()
        for model in (fused, plain):
            model(x).square().sum().backward()
        for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None)
            if ours.grad is not None:
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    fused.requires_grad_(False)
    assert not fused(x).requires_grad
    assert fused(x.requires_grad_()).requires_grad


def test_without_gradients() -> None:
    fused, plain = pair_of(dtype=F64)
    x = input_of(fused, 6)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y = fused(x)
            assert not y.requires_grad
            torch.testing.assert_close(y, plain(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_what_changes_before_backward_is_an_error_as_in_torch(sizes: Any) -> None:
    for change in (
        lambda model, x: model[0].weight.add_(1),
        lambda model, x: model[-1].weight.zero_(),
        lambda model, x: x.zero_(),
    ):
        fused, _ = pair_of(sizes, dtype=F64)
        x = input_of(fused, 4).detach()
        y = fused(x)
        with torch.no_grad():
            change(fused, x)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


@pytest.mark.parametrize("sizes", SIZES)
def test_a_graph_serves_twice_where_it_is_kept(sizes: Any) -> None:
    fused, _ = pair_of(sizes, dtype=F64)
    y = fused(input_of(fused, 9)).sum()
    y.backward(retain_graph=True)
    once = [p.grad.clone() for p in fused.parameters()]
    y.backward()
    for parameter, grad in zip(fused.parameters(), once, strict=True):
        assert torch.equal(parameter.grad, 2 * grad)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    z = fused(input_of(fused, 9))
    with torch.no_grad():
        z.mul_(3)  # the output is the caller's


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda model: model(torch.zeros(3, 2)), "dtype"),
        (lambda model: model(torch.zeros(3, 2, dtype=torch.int64)), "dtype|Long"),
        (lambda model: model(torch.zeros(3, 3, dtype=F64)), "shape|size"),
        (lambda model: model(torch.zeros((), dtype=F64)), "dim|both arguments"),
        (lambda model: model(torch.zeros(3, 2, dtype=F64, device="meta")), "device|meta|Tensor"),
    ],
)
def test_wrong_inputs_have_torchs_errors(call: Callable[[Any], Any], match: str) -> None:
    fused, plain = pair_of(dtype=F64)
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
        call(plain)
    with pytest.raises(type(theirs.value), match=match):
        call(fused)
    with pytest.raises(TypeError, match="Tensor"):
        fused(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("arguments", "error", "patterns"),
    [
        (("relu",), TypeError, ["sizes", "relu"]),
        ((5,), TypeError, ["sizes", "5"]),
        (([5],), ValueError, ["sizes", "at least two", "1"]),
        (([5, 0],), ValueError, ["sizes[1]", "0"]),
        (([5, 2.0],), TypeError, ["sizes[1]", "2.0"]),
        (([2, 3, 1], "rule"), ValueError, ["activation", "rule"]),
        (([2, 3, 1], 3), TypeError, ["activation", "3"]),
        (([2, 3, 1], "softmax"), ValueError, ["activation", "element", "Softmax"]),
        (([2, 3, 1], nn.PReLU()), ValueError, ["activation", "PReLU"]),
        (([2, 3, 1], nn.Linear(3, 3)), ValueError, ["activation", "Linear"]),
        (([2, 3, 1], fm.PReLU()), TypeError, ["activation", "PReLU"]),
    ],
)
def test_wrong_arguments(arguments: Any, error: type[Exception], patterns: list[str]) -> None:
    with pytest.raises(error) as caught:
        FusedMLP(*arguments)
    assert all(pattern in str(caught.value) for pattern in patterns), caught.value
    with pytest.raises(TypeError, match="bias"):
        FusedMLP([2, 1], bias=1)
    with pytest.raises(ValueError, match="output_activation"):
        FusedMLP([2, 1], output_activation="rule")
