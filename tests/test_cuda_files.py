"""Files on a CUDA device, whose rows come there by and by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

ROWS, FEATURES = 22_000, 200  # 17 MB


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    values = np.random.default_rng(3).normal(size=(ROWS, FEATURES)).astype("float32")
    path = tmp_path_factory.mktemp("table") / "x.npy"
    np.save(path, values)
    return values, path


def trained(x: Any, t: Any, loss_fn: Any, outputs: int, **options: Any) -> list[Any]:
    model = fm.MLP((FEATURES, 4, outputs), seed=1, device="cuda")
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.01), loss_fn)
    history = trainer.fit(x, t, max_epoch=2, batch_size=500, seed=2, **options)
    found = trainer.evaluate(x, t)
    values = [np.asarray(parameter) for parameter in model.parameters()]
    return [np.asarray(history.loss), np.asarray(history.validation_loss), *found.values(), *values]


@pytest.mark.cuda
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"max_grad": 0.1}], ids=str)
def test_classes(options: dict[str, Any], table: tuple[Any, Path]) -> None:
    values, path = table
    t, x = np.arange(ROWS) % 3, np.load(path, mmap_mode="r")
    weights = np.arange(ROWS) % 5
    loss_fn = fm.CrossEntropyLoss(weight=[1, 2, 1], ignore_index=2)
    for weight in (None, weights):
        settings: dict[str, Any] = {"sample_weight": weight, "validation_split": 0.02} | options
        got, want = (trained(own, t, loss_fn, 3, **settings) for own in (x, values))
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.cuda
def test_targets_in_a_file(table: tuple[Any, Path]) -> None:
    values, path = table
    x = np.load(path, mmap_mode="r")
    got, want = (trained(own, own, fm.MSELoss(), FEATURES) for own in (x, values))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.cuda
def test_predictions(table: tuple[Any, Path]) -> None:
    values, path = table
    model = fm.MLP((FEATURES, 4, 3), seed=1, device="cuda")
    got = model.predict(np.load(path, mmap_mode="r"))
    np.testing.assert_array_equal(got, model.predict(values))
