"""Embeddings of categories with many values: a network with them, and how it is trained."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastmlp import _core
from fastmlp._hooks import Hooks, check_callbacks
from fastmlp._types import Array
from fastmlp.arithmetic import cat
from fastmlp.clipping import clip_grad_norm_
from fastmlp.losses import Loss
from fastmlp.modules import Module
from fastmlp.optim import Optimizer
from fastmlp.parameter import Parameter
from fastmlp.parameter_containers import ParameterList


class Embedded(Module):
    """A network whose last inputs are indices: each stands for a row of a table, which is learnt.

    Parameters
    ----------
    network : Module
        Takes the other inputs, and then the rows.
    sizes : sequence of (int, int)
        The rows and columns of each table.
    dtype : {"float32", "float64"}
    """

    def __init__(self, network: Module, sizes: Sequence[tuple[int, int]], dtype: str) -> None:
        super().__init__()
        self.network = network
        self.tables = ParameterList([Parameter(np.zeros(size, dtype)) for size in sizes])

    def forward(self, x: Any) -> Any:
        return self.network(cat([self._numbers(x), *self._rows(x, self.tables)], dim=1))

    def predict(self, x: Any, out: Any = None) -> Any:
        """The outputs, by one native pass."""
        tables = [np.asarray(table) for table in self.tables]
        inputs = np.concatenate([self._numbers(x), *self._rows(x, tables)], axis=1)
        return self.network.predict(inputs, out)

    def _numbers(self, x: Array) -> Array:
        return x[:, : x.shape[1] - len(self.tables)]

    def _rows(self, x: Array, tables: Any) -> Iterator[Any]:
        indices = np.asarray(x[:, x.shape[1] - len(self.tables) :], np.int64)
        return (table[indices[:, i]] for i, table in enumerate(tables))


def set_tables(model: Embedded, random_state: np.random.RandomState) -> None:
    """First values of a variance of 1, as the standardised numbers beside them have."""
    for table in model.tables:
        table[...] = random_state.normal(size=table.shape)
        table[0] = 0.0  # of values that no row of the training may have


class Stepwise:
    """Trains a model that is no native program, one step after the other, as a `Trainer` would.

    Parameters
    ----------
    model, optimizer, loss_fn
        As a `Trainer` takes them.
    """

    def __init__(self, model: Module, optimizer: Optimizer, loss_fn: Loss) -> None:
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        self._convergence: _core.Convergence | None = None
        self._has_modes = not model.training  # or both are the same

    def _train(self, on: bool) -> None:
        if self._has_modes:
            self.model.train(on)

    def _network(self) -> Any:
        return None

    def fit(
        self,
        x: Array,
        t: Array,
        max_epoch: int,
        *,
        sample_weight: Array | None,
        batch_size: int,
        max_grad: float | None,
        shuffle: bool,
        seed: int,
        callbacks: Any,
        validation_data: tuple[Array, Array, Array | None] | None = None,
        metrics: Sequence[Callable[[Array, Array], float]] = (),
        **others: Any,
    ) -> None:
        """As `Trainer.fit`, for arrays; `others` are options that say nothing here."""
        hooks: Any = Hooks(self, check_callbacks(callbacks), None, 0, max_epoch)  # type: ignore[arg-type]
        hooks.enter(None, [metric.__name__ for metric in metrics])
        random = np.random.RandomState(seed)
        counts = np.ones(len(x)) if sample_weight is None else sample_weight
        self._train(True)
        try:
            hooks.begin()
            for epoch in range(max_epoch):
                order = random.permutation(len(x)) if shuffle else np.arange(len(x))
                total = 0.0
                for first in range(0, len(x), batch_size):
                    rows = order[first : first + batch_size]
                    weights = None if sample_weight is None else sample_weight[rows]
                    total += self._step(x[rows], t[rows], weights, max_grad) * counts[rows].sum()
                loss: float | None = None
                measured: list[float] = []
                if validation_data is not None:
                    loss, measured = self._validate(*validation_data, metrics)
                mean = float(total / counts.sum())
                last = epoch + 1 == max_epoch
                if self._convergence is not None:
                    last |= self._convergence.add(mean)
                if hooks.end_epoch(epoch, mean, loss, measured, last) or last:
                    return
        finally:
            self._train(False)
            hooks.end()

    def _step(self, x: Array, t: Array, weights: Array | None, max_grad: float | None) -> float:
        if weights is not None and not weights.any():
            return 0.0
        loss = self.loss_fn(self.model(x), t, sample_weight=weights)
        self.optimizer.zero_grad()
        loss.backward()
        if max_grad is not None:
            clip_grad_norm_(self.model.parameters(), max_grad)
        self.optimizer.step()
        return float(loss)

    def _validate(
        self, x: Array, t: Array, weights: Array | None, metrics: Any
    ) -> tuple[float, list[float]]:
        self._train(False)
        y = np.asarray(self.model.predict(x))
        self._train(True)
        loss = float(self.loss_fn(y, t, sample_weight=weights))
        return loss, [float(metric(y, t)) for metric in metrics]
