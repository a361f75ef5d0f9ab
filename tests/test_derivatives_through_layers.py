"""`jacobian` and `input_gradient` through layers with memory of their own, folded ones and blocks.

All of them are derivatives of `predict`: torch's model is in evaluation mode.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error
from subprocesses import output_of
from test_input_derivatives import differences, sum_error, torch_jacobian
from test_normalization import LAYERS, _pair

EXACT = 1e-12
OWN_ROW = [name for name in LAYERS if "without statistics" not in name]


def with_running_statistics(ours: fm.Module, theirs: Any, torch: Any, columns: int) -> None:
    """Batches in training mode, where torch's model stays in evaluation mode afterwards."""
    rng = np.random.default_rng(5)
    for _ in range(3):
        x = rng.normal(2, 3, size=(11, columns))
        ours(x)
        theirs(torch.from_numpy(x))
    theirs.eval()


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("width", [3, 17, 70])
@pytest.mark.parametrize("name", OWN_ROW)
def test_every_layer_is_torchs(
    name: str, width: int, place: str, mode: str, torch: Any, device: str
) -> None:
    ours, theirs = _pair(torch, name, place, width, device)
    columns = width if place == "first" else 4
    with_running_statistics(ours, theirs, torch, columns)
    ours.train(mode == "training")
    state = copy.deepcopy(ours.state_dict())
    x = np.random.default_rng(6).normal(2, 3, size=(9, columns))
    want = torch_jacobian(torch, theirs, x)
    assert relative_error(ours.jacobian(x), want) < EXACT
    assert relative_error(ours.jacobian(x[4]), want[4]) < EXACT
    assert sum_error(ours, x, want) < EXACT
    leaf = torch.tensor(x, requires_grad=True)
    t = np.random.default_rng(7).normal(size=want.shape[:2])
    torch.nn.MSELoss()(theirs(leaf), torch.from_numpy(t)).backward()
    found = ours.input_gradient(x, t, fm.MSELoss())
    assert relative_error(found, leaf.grad.numpy()) < EXACT
    for key, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, state[key], err_msg=key)
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("name", OWN_ROW)
def test_float32(name: str, torch: Any, device: str) -> None:
    exact, theirs = _pair(torch, name, "middle", 20, "cpu")
    with_running_statistics(exact, theirs, torch, 4)
    ours = copy.deepcopy(exact).float().to(device)
    x = np.random.default_rng(6).normal(2, 3, size=(9, 4))
    jacobian = ours.jacobian(x)
    assert jacobian.dtype == np.float32
    assert relative_error(jacobian, torch_jacobian(torch, theirs, x)) < 1e-4


def _mixed(nn: Any) -> list[Any]:
    """Norms that fold and norms that stay, dropout, and slopes, one behind the other."""
    return [
        *(nn.BatchNorm1d(4), nn.Linear(4, 12), nn.BatchNorm1d(12), nn.GELU(), nn.Dropout(0.5)),
        *(nn.LayerNorm(12), nn.Linear(12, 9), nn.PReLU(9), nn.BatchNorm1d(9), nn.Softmax(1)),
    ]


@pytest.mark.parametrize("viewed", [False, True])
def test_norms_that_fold_and_norms_that_stay(viewed: bool, torch: Any, device: str) -> None:
    ours = fm.Sequential(*_mixed(fm), dtype="float64", device=device)
    theirs = torch.nn.Sequential(*_mixed(torch.nn)).double()
    rng = np.random.default_rng(0)
    for parameter in ours.parameters():
        parameter[...] = rng.normal(size=parameter.shape)
    theirs.load_state_dict(fm.nn.utils.to_torch(ours.state_dict()))
    ours[4].p = theirs[4].p = 0.0  # what it drops is not what torch drops
    with_running_statistics(ours, theirs, torch, 4)
    ours[4].p = 0.5
    view = ours[1].weight.data if viewed and device == "cpu" else None
    x = rng.normal(2, 3, size=(300, 4))
    want = torch_jacobian(torch, theirs, x)
    assert relative_error(ours.jacobian(x), want) < EXACT
    assert sum_error(ours, x, want) < EXACT
    for parameter in ours.parameters():
        parameter[...] = rng.normal(size=parameter.shape)
    if view is not None:
        view[...] *= 2
    theirs.load_state_dict(fm.nn.utils.to_torch(ours.state_dict()))
    assert relative_error(ours.jacobian(x), torch_jacobian(torch, theirs, x)) < EXACT


@pytest.mark.parametrize("centre", [1.0, 1e6])  # far from 0 it does not fold
@pytest.mark.parametrize("fold", [True, False])
def test_standardized_inputs(centre: float, fold: bool, device: str) -> None:
    rng = np.random.default_rng(1)
    x = centre + rng.normal(size=(40, 3)) * [1, 10, 0.1]
    layer = fm.Standardize.from_data(x, dtype="float64")
    rest = fm.MLP([3, 8, 2], "tanh", dtype="float64", seed=0)
    layers = [layer, *rest] if fold else [layer, fm.Tanh(), *rest]
    model = fm.Sequential(*layers).to(device)
    behind = rest if fold else fm.Sequential(*layers[1:])
    inside = (x - np.asarray(layer.mean)) / np.asarray(layer.scale)
    want = behind.jacobian(inside) / np.asarray(layer.scale)
    assert relative_error(model.jacobian(x), want) < EXACT * max(1, centre / 1e3)
    layer.update(x[:5] + 1)
    inside = (x - np.asarray(layer.mean)) / np.asarray(layer.scale)
    want = behind.jacobian(inside) / np.asarray(layer.scale)
    assert relative_error(model.jacobian(x), want) < EXACT * max(1, centre / 1e3)


BLOCKS: dict[str, Callable[[], list[fm.Module]]] = {
    "plain": lambda: [fm.Residual(fm.Linear(4, 6), fm.Tanh(), fm.Linear(6, 4))],
    "projection": lambda: [fm.Residual(fm.Linear(4, 7), fm.SiLU()), fm.Linear(7, 2)],
    "normed": lambda: [
        fm.Residual(fm.BatchNorm1d(4), fm.Mish(), fm.Linear(4, 9), fm.LayerNorm(9)),
        fm.Residual(fm.Linear(9, 9), fm.BatchNorm1d(9), fm.Softsign()),
        fm.Linear(9, 2),
    ],
    "only norms": lambda: [fm.BatchNorm1d(4), fm.LayerNorm(4)],
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks(kind: str, device: str) -> None:
    model = fm.Sequential(*BLOCKS[kind](), dtype="float64", device=device)
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        parameter[...] = rng.normal(size=parameter.shape)
    model(rng.normal(2, 3, size=(20, 4)))  # running statistics
    x = rng.normal(size=(7, 4))
    jacobian = model.jacobian(x)
    assert relative_error(jacobian, differences(model, x)) < 1e-7
    tracked = fm.tensor(x, requires_grad=True)
    dy = rng.normal(size=jacobian.shape[:2])
    model.eval()(tracked).backward(dy)
    assert relative_error(np.einsum("ro,roi->ri", dy, jacobian), tracked.grad) < EXACT


def test_flattened_inputs(torch: Any, device: str) -> None:
    layers = fm.MLP([12, 7, 5], "gelu", dtype="float64", seed=0)
    model = fm.Sequential(fm.Flatten(), layers).to(device)
    x = np.random.default_rng(3).normal(size=(6, 2, 3, 2))
    t = np.ones((6, 5))
    flat = x.reshape(6, 12)
    want = layers.jacobian(flat)
    assert want.shape == (6, 5, 12)
    np.testing.assert_array_equal(model.jacobian(x), want.reshape(6, 5, 2, 3, 2))
    np.testing.assert_array_equal(model.jacobian(flat), want)
    np.testing.assert_array_equal(model.jacobian(flat[2]), layers.jacobian(flat[2]))
    gradient = layers.input_gradient(flat, t, fm.MSELoss())
    np.testing.assert_array_equal(
        model.input_gradient(x, t, fm.MSELoss()), gradient.reshape(x.shape)
    )
    np.testing.assert_array_equal(
        model.input_gradient(x), layers.input_gradient(flat).reshape(x.shape)
    )


def test_statistics_of_the_batch(torch: Any, device: str) -> None:
    """Rows depend on each other: there are gradients of sums and losses, but no Jacobian a row."""
    ours, theirs = _pair(torch, "BatchNorm without statistics", "middle", 6, device)
    theirs.eval()
    x, t = np.random.default_rng(4).normal(size=(13, 4)), np.ones((13, 3))
    leaf = torch.tensor(x, requires_grad=True)
    torch.nn.MSELoss()(theirs(leaf), torch.from_numpy(t)).backward()
    assert relative_error(ours.input_gradient(x, t, fm.MSELoss()), leaf.grad.numpy()) < EXACT
    leaf = torch.tensor(x, requires_grad=True)
    theirs(leaf).sum().backward()
    assert relative_error(ours.input_gradient(x), leaf.grad.numpy()) < EXACT
    for rows in (x, x[:1], x[0]):
        with pytest.raises(ValueError, match=r"model.*depend on each other.*BatchNorm1d"):
            ours.jacobian(rows)
    with pytest.raises(ValueError, match="x: expected more than one row"):
        ours.input_gradient(x[0])


def test_more_normed_rows_than_one_pass_takes() -> None:
    model = fm.Sequential(
        *(fm.Linear(5, 400), fm.LayerNorm(400), fm.PReLU(400), fm.Linear(400, 16)), dtype="float64"
    )
    x = np.random.default_rng(8).normal(size=(900, 5))
    jacobian = model.jacobian(x)
    for rows in (slice(0, 1), slice(-10, None), slice(300, 401)):
        assert relative_error(model.jacobian(x[rows]), jacobian[rows]) < EXACT
    assert relative_error(model.input_gradient(x), jacobian.sum(axis=1)) < EXACT


def test_the_bits_do_not_depend_on_the_strategy() -> None:
    code = """
        import hashlib
        import numpy as np
        import fastmlp as fm
        model, x = fm.MLP([5, 9, 3], "tanh", seed=0), np.linspace(-1, 1, 100).reshape(20, 5)
        derivatives = [model.jacobian(x), model.input_gradient(x, x[:, :3], fm.MSELoss())]
        print(*(hashlib.sha256(d.tobytes()).hexdigest() for d in derivatives))
    """
    found = {output_of(code, FASTMLP_STRATEGY=strategy) for strategy in ("lanes", "dense")}
    assert len(found) == 1
