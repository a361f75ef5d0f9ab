"""Problems for losses with weights: networks that run in each way, their data, weights of rows."""

import numpy as np
import pytest

import fastmlp as fm
from specs import Loss

ROWS = 13
PLACES = ("lanes", "dense", pytest.param("cuda", marks=pytest.mark.cuda))


def model_of(place: str, outputs: int, head: str = "identity") -> fm.Sequential:
    """A network that runs in this way."""
    sizes = [4, 6, outputs] if place != "dense" else [4, 700, outputs]
    model = fm.MLP(sizes, "tanh", output_activation=head, dtype="float64", seed=3)
    if place == "cuda":
        return model.to("cuda")
    forced = fm.show_config("dicts")["strategy"]
    if forced == "automatic" and head not in ("softmax", "log_softmax"):
        assert model._compiled().network.strategy(ROWS) == place
    return model


def x_of(rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, 4))


def targets_of(loss: Loss, columns: int, rows: int = ROWS) -> np.ndarray:
    return loss.targets(np.random.default_rng(6), rows, columns)


WEIGHTS = np.array([1, 0, 2, 0.5, 3, 1, 0, 0, 0.25, 1, 7, 1, 2])
