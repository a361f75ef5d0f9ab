"""Rare events, four ways to make them count: python examples/weights.py [--epochs N]"""

import argparse
from typing import Any

import numpy as np

import fastmlp as fm

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
epochs = parser.parse_args().epochs

# One row in twenty is an event, and the two kinds overlap.
rng = np.random.default_rng(0)
event = rng.uniform(size=2000) < 0.05
x = rng.normal(size=(2000, 2)) + 1.5 * event[:, None]
t = event.astype(int)
rarity = len(t) / (2 * np.bincount(t))


def focal(y: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """A loss of one's own, Lin et al.'s (2017): the surer a right answer, the less it counts."""
    p = np.exp(y - y.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    own, weight = p[np.arange(len(t)), t], rarity[t] / len(t)
    value = -(weight * (1 - own) ** 2 * np.log(own)).sum()
    slope = weight * (2 * (1 - own) * own * np.log(own) - (1 - own) ** 2)
    return value, slope[:, None] * (np.eye(2)[t] - p)


def report(name: str, loss_fn: Any, **options: Any) -> None:
    model = fm.MLP([2, 8, 2], activation="tanh", seed=0)
    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), loss_fn)
    trainer.fit(x, t, max_epoch=epochs, batch_size=100, seed=0, **options)
    found = model.predict(x).argmax(axis=1) == 1
    print(f"{name:20} finds {found[event].mean():4.0%} of the events,", end=" ")
    print(f"with an alarm in {found[~event].mean():3.0%} of the other rows")


report("no weights", fm.CrossEntropyLoss())
report("weights of classes", fm.CrossEntropyLoss(weight=rarity))
report("weights of rows", fm.CrossEntropyLoss(), sample_weight=rarity[t])
report("a loss of one's own", fm.FunctionLoss(focal))
