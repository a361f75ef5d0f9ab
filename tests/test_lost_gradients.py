"""Where a graph ends without a word, the model or loss that gets the values says so."""

import warnings
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
T = np.zeros((6, 2), "float32")


@pytest.fixture
def nets() -> dict[str, Any]:
    g, q = fm.Linear(2, 2), fm.Linear(2, 2)
    y = g(X)
    leaf = fm.tensor(X, requires_grad=True)
    buffer = fm.tensor(X)
    return {"np": np, "fm": fm, "g": g, "q": q, "y": y, "x": X, "leaf": leaf, "buffer": buffer}


OF_OTHERS = [
    "[y[0], y[1]]",
    "list(y)",
    "fm.tensor(y)",
    "fm.tensor([y[0, 0], 1.0])",
    "fm.tensor((y.sum(), y.mean())) * 2",
    "fm.from_numpy(np.asarray(y))",
]
LOST = [
    "np.concatenate([x, y])",
    "np.hstack([x, y])[:, 2:]",
    "np.stack([y, x])[0]",
    "np.asarray(y)",
    "np.asarray(y)[1:]",
    "y.numpy()",
    "y.numpy().reshape(-1, 2)",
    "y.astype('float64')",
    "np.sort(y, 0)",
    "np.sort(y, 0) + 1",
    "np.fmax(y, 0)",
    "np.add.accumulate(y)",
    "np.einsum('ij->ij', y)",
    "np.add(y, 1, dtype='float64')",
    "np.sum(y[None], axis=0, dtype='float64')",
    "np.asarray(y * 2)",
    "np.flip(leaf)",
    "np.tile(g.weight, (3, 1))",
    "np.add(x, y, out=buffer)",
    "exec('buffer[1:] = y[1:]') or buffer",
    "exec('buffer[1:3][:] = y[1:3]') or buffer",
]
KEPT = [
    "y",
    "y * 2",
    "fm.cat([x, y])",
    "np.exp(y)",
    "y.detach()",
    "y.detach().numpy()",
    "np.asarray(y.detach())[1:]",
    "y.detach()[1:] * 2",
    "np.concatenate([x, y.detach()])",
    "(y > 0).astype('float32')",
    "np.argsort(y, 0)",
    "np.asarray(g.weight)",
    "fm.tensor(y.detach())",
    "fm.as_tensor(y)",
    "fm.tensor(y, requires_grad=True)",
    "g.weight.detach() * 2",
    "leaf",
    "np.add(x, y.detach(), out=buffer)",
    "exec('buffer[1:] = y.detach()[1:]') or buffer",
]


@pytest.mark.parametrize("code", LOST)
def test_a_model_and_a_loss_warn(nets: dict[str, Any], code: str) -> None:
    value = eval(code, nets)
    for call in (
        lambda: nets["q"](value),
        lambda: fm.MSELoss()(value, np.zeros(np.shape(value))),
        lambda: nets["q"](X).sum() + value,
    ):
        with pytest.warns(UserWarning, match=r"fm\.cat.*detach") as caught:
            call()
        assert caught[0].filename == __file__
    assert not isinstance(value, fm.Tensor) or not value.requires_grad
    if isinstance(value, fm.Tensor):
        with pytest.raises(RuntimeError, match="NumPy"):
            value.sum().backward()


@pytest.mark.parametrize("code", OF_OTHERS)
def test_a_model_warns_of_other_libraries_and_copies(
    nets: dict[str, Any], code: str, torch: Any
) -> None:
    value = eval(code, {**nets, "torch": torch})
    with pytest.warns(UserWarning, match=r"fm\.cat.*detach") as caught:
        nets["q"](value)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("code", KEPT)
def test_no_warning_without_a_reason(nets: dict[str, Any], code: str) -> None:
    value = eval(code, nets)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nets["q"](value)
        fm.MSELoss()(value, np.zeros(np.shape(value)))


@pytest.mark.parametrize("code", LOST)
def test_no_warning_where_nothing_is_recorded(nets: dict[str, Any], code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fm.no_grad():
            nets["q"](eval(code, nets))
        nets["q"].predict(eval(code, nets))


def test_a_warning_as_an_error_leaves_all_as_it_was(nets: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            nets["q"](nets["y"].numpy())
    nets["y"].sum().backward()
