"""Tensors, parameters and gradients have the methods that torch's tensors have."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

VALUES: dict[str, np.ndarray] = {
    "matrix": np.random.default_rng(0).normal(size=(4, 3)).round(1),
    "ties": np.array([[1.0, 0, 1, 0], [2, 2, 0, 1]]),
    "cube": np.random.default_rng(1).normal(size=(2, 3, 4)),
    "vector": np.array([0.5, -1.5, 2.5, 0.0, -0.0]),
    "special": np.array([1.0, np.nan, -np.inf, np.inf, 0.0]),
    "one": np.array([[2.5]]),
    "number": np.array(-3.5),
}
READS = [
    "x.size()", "x.size(0)", "x.size(-1)", "x.size(dim=-1)", "x.size()[-1]", "x.dim()",
    "x.ndim", "x.numel()", "x.nelement()", "x.ndimension()", "x.shape", "len(x)", "x.is_cuda",
    "x.tolist()", "x.float()", "x.double()", "x.long()", "x.int()", "x.bool()", "x.cpu()",
    "x.contiguous()", "x.clone()", "x.detach()", "x.data", "x.detach().cpu().numpy()",
    "x.data.numpy()", "x.type()", "x.to('cpu')", "x.to(x)", "x.to(x.long())", "x.to(x.dtype)",
    "x.type_as(x.int())", "x.type('torch.LongTensor')", "x.to('cpu', non_blocking=True)",
    "x.to('cpu', copy=True)", "x.eq(0)", "x.ne(0.5)", "x.gt(0)", "x.ge(0)", "x.lt(0)",
    "x.le(x)", "x.eq(x).all()", "(x > 0).float()", "(x > 0).float().sum()",
    "(x > 0).sum().item()", "(x == x).all().item()", "(x > 0).long()",
    "(x > 0).float().mean().item()", "(x > 0).sum().float()", "~(x > 0)", "(x > 0) & (x < 1)",
    "(x > 0).any()", "(x > 0).any(dim=0)", "(x > 0).all(0, True)",
    "(x > 0).all(dim=-1, keepdim=True)", "(x > 0).any(dim=-1)", "(x > 0).any().item()",
    "x.argmax()", "x.argmax(0)", "x.argmax(dim=1)", "x.argmax(dim=-1, keepdim=True)",
    "x.argmax(1, True)", "x.argmax(axis=-1)", "x.argmin()", "x.argmin(dim=-1)", "x.argmin(-2)",
    "x.argmin(dim=0, keepdim=True)", "x.argmax().item()", "x.argmax(-1).float()",
    "x.argsort(stable=True)", "x.argsort(dim=0, stable=True)",
    "x.argsort(dim=-1, descending=True, stable=True)", "x.argsort(stable=True, dim=-2)",
    "x.sort(stable=True)", "x.sort(dim=0, descending=True, stable=True)", "x.sort()[0]",
    "x.sort(descending=True).values", "x.sort(-1)[0]", "x.sort(1, True)[0]",
    "x.sort(dim=-2).values", "x.topk(2)[0]", "x.topk(1, dim=0).values", "x.topk(1)[1].size()",
    "x.topk(2, dim=-1, largest=False).values", "x.topk(1, 1, True, True)[0]", "x.topk(0)[0]",
    "x.isnan()", "x.isinf()", "x.isfinite()", "x.isnan().any()", "x.round()", "x.floor()",
    "x.ceil()", "x.sign()", "float(x)", "int(x)", "bool(x)", "x.item()", "f'{x:.3f}'",
    "'%.2f' % x", "float(x.flatten()[0])", "int(x[0])", "[v.tolist() for v in x]",
    "x.requires_grad", "x.grad", "str(x.device)", "x.data.requires_grad", "x.norm()",
    "x.norm(p=1)", "x.norm().item()", "x.std()", "x.std(unbiased=False)", "x.clone().norm(2)",
]  # fmt: skip
WRITES = [
    "x.fill_(0.5)", "x.zero_()", "x.add_(1)", "x.add_(x)", "x.add_(x, alpha=-2)", "x.sub_(0.5)",
    "x.sub_(x, alpha=0.5)", "x.mul_(2)", "x.mul_(x)", "x.div_(2)", "x.clamp_(-0.5, 0.5)",
    "x.clamp_(min=0)", "x.clamp_(max=0)", "x.copy_(x + 1)", "x.data.fill_(3)",
    "x.data.zero_()", "x.detach().add_(1)", "x.data.mul_(0.5).add_(1)", "x.data.clamp_(0, 1)",
    "x.add_(1).mul_(2).sub_(3)", "x.fill_(x.flatten()[0])",
]  # fmt: skip
PARAMETERS = [
    expression
    for expression in READS
    if not any(word in expression for word in ("==", "f'", "%", "bool(", "requires"))
    and expression not in ("x.grad", "[v.tolist() for v in x]")
]


def _outcome(expression: str, x: Any) -> Any:
    """What it gives, or that it fails."""
    try:
        return eval(expression, {"x": x})
    except (TypeError, ValueError, IndexError, RuntimeError):
        return "fails"


def assert_same(found: Any, want: Any) -> None:
    if isinstance(want, tuple):  # of torch, or a shape
        assert isinstance(found, tuple)
        assert len(found) == len(want)
        for one, other in zip(found, want, strict=True):
            assert_same(one, other)
    elif hasattr(want, "dtype"):
        dtype = str(found.dtype).removeprefix("torch.")
        assert dtype == str(want.dtype).removeprefix("torch.")
        assert tuple(found.shape) == tuple(want.shape)
        tolerance = 2e-6 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(np.asarray(found), np.asarray(want), rtol=tolerance)
    else:
        assert type(found) is type(want)
        if isinstance(want, float | list):
            np.testing.assert_allclose(found, want, rtol=1e-6)
        else:
            assert found == want


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("expression", READS)
def test_as_torch(torch: Any, expression: str, dtype: str) -> None:
    compared = 0
    for name, values in VALUES.items():
        values = values.astype(dtype)
        if name == "number" and ("topk" in expression or "(-1, 0)" in expression):
            continue
        if name == "special" and any(
            word in expression for word in ("long", "int", "Long", "sign")
        ):
            continue  # what NaN becomes as an integer nobody says
        want = _outcome(expression, torch.tensor(values))
        found = _outcome(expression, fm.tensor(values))
        compared += not isinstance(want, str) or want != "fails"
        assert_same(found, want)
    assert compared, "torch itself refuses all"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("expression", WRITES)
def test_in_place_as_torch(torch: Any, expression: str, dtype: str) -> None:
    for name, values in VALUES.items():
        theirs, ours = torch.tensor(values.astype(dtype)), fm.tensor(values.astype(dtype))
        want = eval(expression, {"x": theirs})
        found = eval(expression, {"x": ours})
        assert_same(found, want)
        assert_same(ours, theirs)
        assert (found is ours) == (want is theirs)
        if name in ("matrix", "vector") and "flatten" not in expression:
            parameter = fm.Parameter(values.astype(dtype))
            with fm.no_grad():
                result = eval(expression, {"x": parameter})
            assert_same(parameter, theirs)
            assert (result is parameter) == (want is theirs)


@pytest.mark.parametrize("expression", PARAMETERS)
def test_parameters_as_torch(torch: Any, expression: str) -> None:
    for name in ("matrix", "ties", "vector", "one"):
        values = VALUES[name].astype("float32")
        theirs = torch.nn.Parameter(torch.tensor(values), requires_grad=False)
        parameter = fm.Parameter(values, requires_grad=False)
        gradient = fm.Parameter(np.zeros(values.shape, "float32"))
        gradient.grad = values
        want = _outcome(expression, theirs)
        assert_same(_outcome(expression, parameter), want)
        assert_same(_outcome(expression, gradient.grad), _outcome(expression, theirs.data))


INTEGERS = [
    "x.float()", "x.double()", "x.bool()", "x.argmax(1)", "x.sort(dim=0)", "x.eq(1)", "x.type()",
    "x.topk(1).values", "x.fill_(7)", "x.add_(1)", "x.mul_(x)", "x.clamp_(0, 1)", "x.zero_()",
    "x.float().norm()", "x.add_(0.5)", "x.div_(2)", "(x == 1).sum()",
    "x.copy_(2.5)", "x.any()", "x.all(1)", "x.float().mean().item()", "x[0].tolist()",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("expression", INTEGERS)
def test_integers_as_torch(torch: Any, expression: str, dtype: str) -> None:
    values = np.array([[0, 1, 3], [2, 1, 0]]).astype(dtype)
    want = _outcome(expression, torch.tensor(values))
    if dtype == "bool" and isinstance(want, str) and want == "fails":
        pytest.skip("NumPy computes with truth values")
    if dtype == "uint8" and expression in ("x.any()", "x.all(1)"):
        pytest.skip("torch gives uint8, for old times' sake")
    assert_same(_outcome(expression, fm.tensor(values)), want)


def _model_and_loss() -> tuple[Any, Any, Any]:
    model = fm.Sequential(fm.Linear(2, 4), fm.Tanh(), fm.Linear(4, 3))
    x = fm.randn(5, 2)
    y = model(x)
    return model, y, fm.MSELoss()(y, np.zeros((5, 3)))


def test_recorded_outputs() -> None:
    """What gives the tensor itself keeps the graph; a detached one may be changed."""
    model, y, loss = _model_and_loss()
    for same in (y.float(), y.cpu(), y.contiguous(), y.to("cpu"), y.to(y), y.to(fm.float32)):
        assert same is y
    assert np.shares_memory(y.data, y)
    want = y.tolist()
    for apart in (y.detach(), y.clone().detach(), (y * 2).detach(), y.detach().clone()):
        assert type(apart) is fm.Tensor
        assert not np.shares_memory(apart, y)
        apart[apart > 0] = 1
        apart.numpy()[0] = 7
        assert apart.fill_(1).eq(1).all()
    assert y.tolist() == want
    assert not any(alias.requires_grad for alias in (y.detach(), y.data))
    plain = fm.zeros(2)
    assert np.shares_memory(plain.detach(), plain)

    def assign(target: Any) -> None:
        target[0] = 1

    def add(target: Any) -> None:
        target += 1

    for wrong in (
        lambda: y.fill_(1),
        lambda: y.data.add_(1),
        lambda: y.copy_(0),
        lambda: assign(y),
        lambda: assign(y.data),
        lambda: add(y.data),
    ):
        with pytest.raises(ValueError, match="clone"):
            wrong()
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad_(False)
    loss.backward()
    assert f"{loss:.4f}" == f"{loss.item():.4f}" == f"{loss.data.item():.4f}"
    assert all(type(p.grad) is fm.Tensor for p in model.parameters())


@pytest.mark.parametrize(
    "expression",
    [
        "y.sigmoid()", "y.tanh()", "y.relu()", "y.softmax(dim=1)", "y.softmax(-1)",
        "y[0].softmax(0)",
        "y.log_softmax(1)", "y.softmax(1).argmax(1)", "y[1].softmax(dim=0).argmax().item()",
        "y.sigmoid().round().eq(1).sum().item()", "y.detach().sigmoid() > 0.5",
    ],
)  # fmt: skip
def test_activations(torch: Any, expression: str) -> None:
    y = fm.Linear(2, 3, dtype="float64")(fm.randn(5, 2))
    assert_same(eval(expression, {"y": y}), eval(expression, {"y": torch.tensor(y)}))
    assert y.softmax(1).requires_grad


def test_updates_by_hand() -> None:
    model, _, loss = _model_and_loss()
    loss.backward()
    want = [p.numpy() - 5 * 0.1 * p.grad.numpy() for p in model.parameters()]
    for p in model.parameters():
        p.data -= 0.1 * p.grad.data
        p.data.sub_(p.grad.data * 0.1)
        p.data.add_(p.grad.data, alpha=-0.1)
        p.data = p.data - 0.1 * p.grad.data
        p.add_(p.grad, alpha=-0.1)
    for p, values in zip(model.parameters(), want, strict=True):
        np.testing.assert_allclose(p.numpy(), values, rtol=1e-5, atol=1e-6)


def test_tracked_inputs() -> None:
    model = fm.Linear(2, 1)
    x = fm.tensor([[1.0, 2.0]]).requires_grad_()
    assert x.requires_grad
    model(x).backward()
    assert type(x.grad) is fm.Tensor
    np.testing.assert_array_equal(x.grad, np.asarray(model.weight))
    x.grad.zero_()
    assert x.grad.norm() == 0
    assert not x.requires_grad_(False).requires_grad
    assert x.grad is None
    x.requires_grad = True
    model(x).backward()
    np.testing.assert_array_equal(x.grad, np.asarray(model.weight))
    for wrong, error in (
        (lambda: fm.tensor([1, 2]).requires_grad_(), TypeError),
        (lambda: x.requires_grad_(1), TypeError),
        (lambda: setattr(x, "requires_grad", None), TypeError),
    ):
        with pytest.raises(error, match="requires_grad"):
            wrong()


def test_parameters_are_written_through() -> None:
    model, _, loss = _model_and_loss()
    weight = model[0].weight
    assert weight.data.fill_(0.5).norm() == pytest.approx(np.sqrt(8) / 2)
    np.testing.assert_array_equal(np.asarray(weight), np.full((4, 2), 0.5))
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()
    weight.data[0, 0] = 7
    assert weight[0, 0].item() == 7
    weight.data = np.ones((4, 2))
    assert weight.detach().all()
    weight.data.T[1] = 3
    assert weight.tolist() == [[1, 3]] * 4
    assert weight.T.shape == (2, 4)
    weight.normal_(0, 0.1)
    assert 0 < weight.norm() < 1
    weight.uniform_(2, 3)
    assert (weight.ge(2) & weight.lt(3)).all()
    assert not np.shares_memory(weight.clone(), np.asarray(weight))
    assert weight.float() is weight.cpu() is weight.requires_grad_(False) is weight
    assert not weight.requires_grad


def test_gradients_are_written_through() -> None:
    model, _, loss = _model_and_loss()
    loss.backward()
    weight = model[0].weight
    before = weight.grad.clone()
    assert before.norm() > 0
    weight.grad.mul_(2)
    np.testing.assert_array_equal(weight.grad, 2 * before)
    weight.grad.data.zero_()
    fm.SGD(model[0].parameters(), lr=1).step()
    assert not weight.grad.any()
    for parameter in model.parameters():
        parameter.grad = parameter.grad.data.clamp_(-0.1, 0.1)


def test_random_numbers_start_from_the_seed() -> None:
    drawn = []
    for _ in range(2):
        fm.manual_seed(3)
        drawn.append([fm.empty(3, 2).normal_(1, 2), fm.Parameter(np.ones(4)).data.uniform_(-1, 1)])
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, other)
    assert drawn[0][0].std() > 0


def test_state_dicts_are_of_tensors() -> None:
    model = fm.Sequential(fm.Linear(3, 2), fm.BatchNorm1d(2))
    state = model.state_dict()
    assert [tuple(value.size()) for value in state.values()][:2] == [(2, 3), (2,)]
    for twin in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
        for name, value in state.items():
            assert type(twin[name]) is fm.Tensor
            np.testing.assert_array_equal(twin[name].numpy(), value)
    state["0.weight"].fill_(1)
    assert not model[0].weight.eq(1).all()
    model.load_state_dict(state)
    assert model[0].weight.eq(1).all()


@pytest.mark.parametrize(
    "call",
    [
        "np.sort(x)", "np.sort(x, axis=0)", "np.argsort(x, axis=0)", "np.argmax(x, axis=1)",
        "np.unique(x)", "np.median(x)", "np.std(x)", "np.std(x, axis=0)", "np.var(x)", "np.size(x)",
        "np.any(x > 0, axis=0)", "np.all(x > 0)", "np.argmin(x)", "np.percentile(x, 30)",
        "np.histogram(x)[0]", "np.mean(x, axis=0, keepdims=True)", "np.round(x, 1)", "x.size",
        "np.linalg.norm(x)", "np.concatenate([x, x])", "np.isnan(x)", "np.clip(x, 0, 1)",
        "x.argmax(axis=1)", "x.argmax(axis=-1, keepdims=True)", "x.any(axis=0, keepdims=True)",
        "x.argsort(axis=0, kind='stable')", "x.std(axis=0, ddof=0)", "x.size / 2", "np.cov(x)",
        "x.all(axis=(0, 1))", "np.array_equal(x, x)", "np.diff(x)",
    ],
)  # fmt: skip
def test_numpy_means_its_own(call: str) -> None:
    values = VALUES["matrix"]
    found = eval(call, {"x": fm.tensor(values), "np": np})
    np.testing.assert_allclose(found, eval(call, {"x": values, "np": np}), rtol=1e-14)


def test_numpys_sort_in_place() -> None:
    x = fm.tensor([3.0, 1.0, 2.0])
    x.sort(axis=0)
    assert x.tolist() == [1, 2, 3]
    order = fm.tensor([3.0, 1.0, 2.0])
    assert order.sort().values.tolist() == [1, 2, 3]
    assert order.tolist() == [3, 1, 2]


def test_devices() -> None:
    place = fm.device("cuda" if fm.cuda.is_available() else "cpu")
    model = fm.Linear(2, 1).to(place)
    assert model(fm.zeros(3, 2).to(place)).size() == (3, 1)
    assert next(model.parameters()).device.type == place.type
    assert (fm.device("cuda:1").index, fm.device("cuda", 0), fm.device("cpu").index) == (
        1,
        "cuda:0",
        None,
    )
    if place == "cpu":
        for call in (lambda: fm.zeros(2).cuda(), lambda: fm.zeros(2, device="cuda")):
            with pytest.raises(RuntimeError, match="CUDA"):
                call()


@pytest.mark.cuda
def test_on_a_device() -> None:
    model = fm.Linear(2, 3).to("cuda")
    weight = model.weight
    assert weight.is_cuda
    assert weight.device == weight.device.type == "cuda"
    for copied in (weight.cpu(), weight.detach(), weight.data, weight.to("cpu")):
        assert type(copied) is fm.Tensor
        assert not copied.is_cuda
    with pytest.raises(ValueError, match="read-only"):
        weight.data.fill_(1)
    for change, want in (
        (lambda: weight.fill_(0.5), 0.5),
        (lambda: weight.add_(1), 1.5),
        (lambda: weight.clamp_(0, 1), 1),
        (lambda: weight.zero_(), 0),
        (lambda: setattr(weight, "data", np.ones((3, 2))), 1),
    ):
        change()
        assert weight.eq(want).all()
    assert weight.cuda() is weight
    y = model(fm.ones(4, 2).cuda())
    assert y.argmax(1).size() == (4,)
    fm.MSELoss()(y, np.zeros((4, 3))).backward()
    assert weight.grad.norm() > 0
