"""torch's functions take tensors and parameters, and are recorded with torch's own derivatives."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from test_tensor_methods import assert_same

CALLS = [
    "torch.max(y, dim=1)", "torch.max(y, 1)[1]", "torch.max(y)", "torch.min(y, dim=-1)",
    "torch.argmax(y, dim=1)", "torch.argmax(input=y, dim=1)", "torch.softmax(y, 1)",
    "torch.softmax(y, dim=-1)", "torch.log_softmax(y, 1)", "torch.sigmoid(y)", "torch.round(y)",
    "torch.sum(y)", "torch.sum(y, dim=0)", "torch.mean(y)", "F.softmax(y, dim=1)",
    "torch.nn.Softmax(dim=1)(y)", "F.one_hot(y.argmax(1), 3)", "torch.stack([y, y])",
    "torch.cat((y, other), dim=1)", "torch.cat([other, y])", "torch.eq(y, other)",
    "torch.eq(y.argmax(1), classes)", "torch.tensor(y.tolist())", "torch.from_numpy(y.numpy())",
    "torch.where(y > 0, 1.0, 0.0)", "torch.where(y > 0, y, other)", "torch.clamp(y, 0, 1)",
    "torch.topk(y, 2)", "torch.sort(y, descending=True)", "torch.isnan(y).any()", "torch.norm(y)",
    "torch.allclose(y, other)", "torch.equal(y, y)", "torch.numel(y)", "torch.flatten(y)",
    "torch.squeeze(y)", "torch.unsqueeze(y, 0)", "torch.transpose(y, 0, 1)", "torch.exp(y)",
    "torch.abs(other - y)", "torch.mm(y, other.t())", "torch.matmul(other.t(), y)",
    "torch.bincount(y.argmax(1))",
    "torch.std(y)", "torch.unique(y.argmax(1))", "torch.zeros_like(y)", "torch.ones_like(y)",
    "torch.linalg.norm(y)", "other.eq(y)", "other == y", "other > y", "y == other", "y < other",
    "other.copy_(y.detach())", "other.type_as(y)", "other.view_as(y)", "other.add_(y.detach())",
    "other[y.argmax(1)]",
    "(y.argmax(1) == classes).sum().item()", "(classes == y.argmax(1)).sum().item()",
    "(y.argmax(1) == classes).float().mean().item()", "classes.eq(y.argmax(1)).sum().item()",
    "torch.max(y.data, 1)[1].eq(classes).sum().item()", "torch.no_grad()(lambda: y.argmax(1))()",
    "torch.max(y, 1).indices.numpy()", "torch.softmax(y, 1).max(1)[0].tolist()",
    "torch.sigmoid(y).detach().numpy() > 0.5",
    "torch.argmax(torch.log_softmax(y, dim=1), dim=1)", "torch.chunk(y, 2)", "torch.atleast_2d(y)",
    "torch.cdist(y, other)", "torch.vstack((y, other))", "torch.numel(y.T)",
    "torch.corrcoef(y)", "torch.nonzero(y > 0)", "torch.count_nonzero(y > 0)", "torch.median(y)",
    "torch.sum(torch.pow(y - other, 2), dim=[0, 1])", "torch.lt(y, 0.5)",
    "torch.broadcast_tensors(y, other)",
]  # fmt: skip


def _scope(torch: Any, dtype: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    draw = {"dtype": getattr(torch, dtype), "generator": generator}
    return {
        "torch": torch,
        "F": torch.nn.functional,
        "other": torch.randn(6, 3, **draw),
        "classes": torch.randint(0, 3, (6,), generator=generator),
        "x": torch.randn(6, 2, **draw),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("call", CALLS)
def test_as_of_torch_tensors(torch: Any, call: str, dtype: str) -> None:
    model = fm.Linear(2, 3, dtype=dtype)
    scope = _scope(torch, dtype)
    output = model(scope["x"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?!.*beta|.*The given NumPy array)")
        found = eval(call, scope | {"y": output})
    want = eval(call, _scope(torch, dtype) | {"y": torch.tensor(output)})
    assert_same(found, want)
    for tensor in found if isinstance(found, tuple) else [found]:
        if isinstance(tensor, torch.Tensor):
            assert type(tensor) is torch.Tensor
            assert not tensor.requires_grad
    np.testing.assert_array_equal(output, model.predict(scope["x"]))


def test_memory_is_shared(torch: Any) -> None:
    y = fm.Linear(2, 3)(np.ones((4, 2), "float32"))
    weight = fm.Linear(2, 3).weight
    weight.requires_grad = False
    for ours in (weight, weight.data, y.detach(), fm.zeros(2, 2), y.detach()[:, 1]):
        alias = torch.narrow(ours, 0, 0, 2)
        assert alias.data_ptr() == np.asarray(ours).ctypes.data
        assert alias.dtype == torch.float32
    backwards = fm.tensor([1.0, 2.0])[::-1]
    assert torch.cumsum(backwards, 0).tolist() == [2, 3]
    kept = torch.narrow(fm.Linear(2, 1)(np.ones((1000, 2), "float32")), 0, 0, 999)
    want = kept.clone()
    for _ in range(10):
        fm.Linear(2, 1)(np.zeros((1000, 2), "float32"))
    assert torch.equal(kept, want)


# Functions of torch that fastmlp has none of its own for: of y (6, 3), w (3, 3), both recorded.
RECORDED = [
    "torch.einsum('bi,ij,bj->b', y, w, y)", "torch.einsum('nd,md->nm', [y, y])",
    "torch.cdist(y, other)", "torch.erf(y) * 2", "torch.addmm(y[0], other, w)",
    "torch.triu(y.T @ y, 1) + w", "torch.diag(w).exp()", "torch.topk(y, 2).values ** 2",
    "torch.sort(y, dim=1, descending=True)[0][:, 0]", "torch.median(y)", "torch.var_mean(y, 0)[0]",
    "torch.kthvalue(y, 1).values", "torch.logdet(w @ w.T + torch.eye(3).type_as(other))",
    "F.triplet_margin_loss(y, y * 1.5, y.flip(0))", "F.layer_norm(y, (3,))", "torch.cumprod(y, 1)",
    "F.multi_margin_loss(y, classes)", "torch.nn.CosineEmbeddingLoss()(y, y + 1, torch.ones(6))",
    "torch.norm(w, p='nuc')", "torch.linalg.norm(w, 2)", "torch.linalg.svdvals(w)",
    "torch.softmax(y, 1, dtype=torch.float64)", "torch.std(y, axis=0)", "torch.max(y, axis=1)[0]",
    "torch.where(y > 0)[0].sum() * y", "torch.zeros(3, 3).type_as(other).index_add(0, classes, y)",
    "F.scaled_dot_product_attention(y[None], y[None], y[None])", "F.linear(y, w, y[0])",
    "F.linear(y, w[0])", "F.linear(other, w)",
]  # fmt: skip


@pytest.mark.parametrize("call", RECORDED)
def test_gradients_as_of_torch(torch: Any, call: str) -> None:
    scope = _scope(torch, "float64")
    model, twin = fm.Linear(2, 3, dtype="float64"), torch.nn.Linear(2, 3, dtype=torch.float64)
    twin.load_state_dict(fm.nn.utils.to_torch(model.state_dict()))
    matrix = np.arange(9.0).reshape(3, 3) ** 2 / 10
    weight, theirs = fm.Parameter(matrix), torch.tensor(matrix, requires_grad=True)
    found = eval(call, scope | {"y": model(scope["x"]), "w": weight})
    want = eval(call, scope | {"y": twin(scope["x"]), "w": theirs})
    assert isinstance(found, fm.Tensor)
    np.testing.assert_allclose(found, want.detach(), rtol=1e-12, atol=1e-12)
    weight.fill_(7)  # later changes leave the graph alone
    found.pow(2).sum().backward(retain_graph=True)
    want.pow(2).sum().backward()
    pairs = [(model.weight, twin.weight), (model.bias, twin.bias), (weight, theirs)]
    for ours, other in pairs:
        assert (ours.grad is None) == (other.grad is None)
        if ours.grad is not None:
            np.testing.assert_allclose(ours.grad, other.grad, rtol=1e-10, atol=1e-12)
    (found * 1).sum().backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        found.sum().backward()


def test_what_has_no_gradient_says_so(torch: Any) -> None:
    model, x = fm.Linear(2, 3), torch.randn(6, 2)
    with pytest.raises(RuntimeError, match=r"functional\.softmax"):
        torch.softmax(model(x), 1, dtype=torch.float16).backward(torch.ones(6, 3))
    loss = model(x).sum()
    for call in (torch.autograd.backward, lambda y: torch.autograd.grad(y, [model.weight])):
        with pytest.raises(RuntimeError, match=r"loss\.backward"):
            call(loss)
    assert model.weight.grad is None
    with fm.no_grad():
        quiet = torch.median(model(x))
    with pytest.raises(RuntimeError, match="element 0"):
        quiet.backward()
    theirs = torch.ones(6, 3, requires_grad=True)
    with pytest.warns(UserWarning, match="no gradient flows back"):
        torch.cdist(theirs, model(x)).sum().backward()
    assert theirs.grad is not None
    copied = copy.deepcopy(torch.median(model(x)))
    assert copied.item() == torch.median(model(x)).item()
    rows = torch.zeros(6, 3)
    with pytest.warns(UserWarning, match="value: .*no gradient flows back"):
        rows[:] = model(x)
    assert torch.equal(rows, torch.from_numpy(model.predict(x)))


METHODS = [
    "y.lerp_(other, 0.25)", "y.addcmul_(other, other, value=0.5)", "y.masked_fill_(other > 0, 2)",
    "y.addcdiv_(other, other.abs() + 1, value=-0.1)", "y.sqrt_().relu_()", "y.tanh_().neg_()",
    "y.scatter_(1, classes[:, None], 0.5)", "y.erf()", "y.repeat_interleave(2, dim=0)", "y.tril()",
    "y.logical_and(other > 0)", "y.new_zeros(2, 3)", "y.unique()", "y.quantile(0.5)",
    "y.tile(2, 1)", "y.is_floating_point()", "y.diag()", "(y > 0).nonzero()",
    "y.nonzero(as_tuple=True)[1]",
    "y.diagonal()", "y.diagonal(1)", "y.diagonal(-4)", "y.mT", "[v.long() for v in y.argmax(1)]",
    "y.is_leaf", "y.grad_fn is None", "y.half().float()", "y.fill_diagonal_(3)",

]  # fmt: skip


@pytest.mark.parametrize("call", METHODS)
def test_methods_of_torch(torch: Any, call: str) -> None:
    """In place they change our memory; parameters have them, too."""
    scope = _scope(torch, "float64")
    values = scope["x"][:, :1] + scope["other"]
    for one in (fm.tensor(values), fm.Parameter(values.numpy())):
        theirs = values.clone()
        with fm.no_grad(), torch.no_grad():
            found, want = eval(call, scope | {"y": one}), eval(call, scope | {"y": theirs})
        for a, b in zip(found, want, strict=True) if isinstance(want, list) else [(found, want)]:
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12)
            assert tuple(np.shape(a)) == tuple(np.shape(b))
        np.testing.assert_allclose(np.asarray(one), theirs, rtol=1e-12)
        assert (found is one) == (want is theirs)
    backwards = fm.tensor(values)[::-1]
    assert backwards.tanh_() is backwards
    np.testing.assert_allclose(backwards, np.tanh(values.numpy()[::-1]), rtol=1e-12)


INITIALIZERS = {
    "normal_": (0.0, 0.1),
    "uniform_": (-1.0, 1.0),
    "constant_": (0.25,),
    "zeros_": (),
    "ones_": (),
    "kaiming_uniform_": (),
    "xavier_uniform_": (),
    "xavier_normal_": (),
    "kaiming_normal_": (),
    "eye_": (),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_torchs_initialisers(torch: Any, name: str) -> None:
    model = fm.Linear(2, 3)
    loss = fm.MSELoss()(model(np.ones((4, 2))), np.zeros((4, 3)))
    model.weight.fill_(0.125)
    result = getattr(torch.nn.init, name)(model.weight, *INITIALIZERS[name])
    assert result is model.weight
    assert not model.weight.eq(0.125).all()
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


def test_initialisers_draw_as_torch_does(torch: Any) -> None:
    """Where torch lets them: `normal_`, `uniform_`, `kaiming_uniform_`."""
    for name in ("normal_", "uniform_", "kaiming_uniform_"):
        initialise = getattr(torch.nn.init, name)
        weight = fm.Linear(2, 3).weight
        torch.manual_seed(3)
        initialise(weight)
        torch.manual_seed(3)
        np.testing.assert_array_equal(weight.numpy(), initialise(torch.empty(3, 2)).numpy())


def test_what_is_read_only_stays(torch: Any) -> None:
    y = fm.Linear(2, 3)(np.ones((4, 2)))
    want = y.clone()
    for call in (
        lambda: torch.relu_(y),
        lambda: torch.nn.init.zeros_(y),
        lambda: torch.nn.init.zeros_(tensor=y),
        lambda: torch.erf(torch.ones(4, 3), out=y),
        lambda: torch.nn.functional.celu_(y),
    ):
        with pytest.raises(ValueError, match=r"read-only.*clone"):
            call()
    np.testing.assert_array_equal(y, want)
    writable = y.detach().clone()
    assert torch.relu_(writable) is writable
    assert torch.erf(torch.ones(4, 3), out=writable) is writable
    np.testing.assert_array_equal(writable, torch.erf(torch.ones(4, 3)))
    with pytest.raises(TypeError, match="str"):
        torch.cumsum(fm.tensor([1.0]), "a")


def test_data_of_torch(torch: Any) -> None:
    data = torch.utils.data
    x, t = fm.randn(6, 2), fm.zeros(6, dtype="int64")
    loader = data.DataLoader(data.TensorDataset(x, t), batch_size=4)
    sizes = [(tuple(a.shape), tuple(b.shape)) for a, b in loader]
    assert sizes == [((4, 2), (4,)), ((2, 2), (2,))]
    for made in (torch.tensor(x), torch.as_tensor(x), torch.from_numpy(x)):
        assert torch.equal(made, torch.from_numpy(x.numpy()))
    assert torch.zeros(2, dtype=torch.long, device=fm.device("cpu")).device.type == "cpu"
    weight = fm.Linear(2, 3).weight
    for convert in (torch.tensor, torch.as_tensor, torch.from_dlpack, np.asarray):
        np.testing.assert_array_equal(convert(weight), weight.numpy())
    first, second = data.random_split(data.TensorDataset(x, t), [4, 2])
    assert (len(first), len(second)) == (4, 2)


@pytest.mark.cuda
def test_parameters_on_a_device(torch: Any) -> None:
    weight = fm.Linear(2, 3).to("cuda").weight
    assert torch.norm(weight).item() == pytest.approx(float(weight.norm()))
    before = weight.clone()
    for name in ("normal_", "xavier_uniform_", "constant_"):
        assert getattr(torch.nn.init, name)(weight, 1.0) is weight
        assert not weight.eq(before).all()
        before = weight.clone()
    assert weight.eq(1).all()


def test_no_grad_of_torch(torch: Any) -> None:
    """Updates by hand, as tutorials write them, with torch's `no_grad` about them."""
    model, other = fm.Linear(2, 3), fm.Linear(2, 3)
    model(fm.ones(4, 2)).sum().backward()
    weight, second = model.weight, other.weight
    want = weight.numpy() - 0.1 * (weight.grad.numpy() + 0.01 * weight.numpy())
    with torch.no_grad():
        weight -= 0.1 * (weight.grad + 0.01 * weight)
        np.testing.assert_allclose(weight.numpy(), want, rtol=1e-6)
        second.copy_(0.75 * second + 0.25 * weight)
        second.mul_(0.5).add_(0.5 * weight, alpha=2)
        assert not (second * 2).requires_grad
        collected = torch.zeros(4, 3)
        collected[:2] = model(fm.ones(2, 2))
        collected += model(fm.ones(4, 2))
        collected.copy_(model(fm.ones(4, 2)))
    assert (second * 2).requires_grad
    with pytest.raises(RuntimeError, match="no_grad"):
        weight -= 0.1 * weight
