"""Wide weights that stay packed between predictions: same bits, and the values of now."""

from collections.abc import Callable

import numpy as np
import pytest

import fastmlp as fm

# Weights beyond half of a core's L2 cache, and no width a multiple of a vector's.
SIZES = (700, 1030, 513, 3)
MANY = 20  # predictions, after which there are copies


def _model(dtype: str = "float32") -> fm.Sequential:
    return fm.MLP(SIZES, activation="tanh", seed=0, dtype=dtype)


def _rows(rows: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, SIZES[0])).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 7, 8, 12, 13, 24, 25, 31, 64, 100, 129, 300])
def test_bits_of_the_first_prediction(rows: int, dtype: str) -> None:
    """Which has read the weights where they lie."""
    model, x = _model(dtype), _rows(rows, dtype)
    first = model.predict(x)
    for _ in range(MANY):
        np.testing.assert_array_equal(model.predict(x), first)
    np.testing.assert_array_equal(model.predict(x[:1]), first[:1])
    np.testing.assert_array_equal(_model(dtype).predict(x), first)


def _assign(model: fm.Sequential) -> None:
    model[0].weight = model[0].weight * 2


def _write_through_a_view(model: fm.Sequential) -> None:
    model[0].weight[:] *= 2


def _step(model: fm.Sequential) -> None:
    optimizer = fm.SGD(model.parameters(), lr=0.1)
    loss = fm.MSELoss()(model(_rows(5)), np.ones((5, 3), np.float32))
    loss.backward()
    optimizer.step()


def _fit(model: fm.Sequential) -> None:
    trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.MSELoss())
    trainer.fit(_rows(8), np.ones((8, 3), np.float32), max_epoch=2, batch_size=4)


def _load(model: fm.Sequential) -> None:
    model.load_state_dict(fm.MLP(SIZES, activation="tanh", seed=1).state_dict())


@pytest.mark.parametrize("change", [_assign, _write_through_a_view, _step, _fit, _load])
def test_new_values_are_seen(change: Callable[[fm.Sequential], None]) -> None:
    model, x = _model(), _rows(6)
    before = model.predict(x)
    for _ in range(MANY):
        model.predict(x)
    change(model)
    after = [model.predict(x) for _ in range(MANY)]
    fresh = _model()
    fresh.load_state_dict(model.state_dict())
    assert not np.array_equal(before, after[0])
    for y in after:
        np.testing.assert_array_equal(y, fresh.predict(x))


def test_a_view_that_stays() -> None:
    """Writes through it cannot be seen, so that nothing is kept."""
    model, x = _model(), _rows(6)
    weight = model[0].weight
    before = [model.predict(x) for _ in range(MANY)]
    weight *= 2
    after = [model.predict(x) for _ in range(MANY)]
    assert not np.array_equal(before[0], after[0])
    fresh = _model()
    fresh.load_state_dict(model.state_dict())
    for y in after:
        np.testing.assert_array_equal(y, fresh.predict(x))


def test_during_a_fit() -> None:
    """A callback's predictions are of the weights of that moment."""
    model, x, t = _model(), _rows(8), np.ones((8, 3), np.float32)
    seen: list[np.ndarray] = []

    def keep(*_: object) -> None:
        seen.extend([model.predict(x) for _ in range(MANY)][-3:])

    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
    trainer.fit(x, t, max_epoch=3, batch_size=8, callbacks=[keep], progress=False)
    for epoch in range(3):
        np.testing.assert_array_equal(seen[3 * epoch], seen[3 * epoch + 2])
    assert not np.array_equal(seen[0], seen[3])
    np.testing.assert_array_equal(model.predict(x), seen[-1])
