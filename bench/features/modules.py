"""Networks and loops that fastmlp and PyTorch write alike: `nn` and `optim` are those of either."""

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import numpy as np

from features.cases import Case, affine_weights

LOSSES = {"mse": "MSELoss", "bce": "BCELoss", "cross_entropy": "CrossEntropyLoss"}
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}
ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def layers(case: Case, nn: Any, residual: Any) -> list[Any]:
    """`residual(*layers)` makes x + layers(x)."""

    def between() -> list[Any]:
        norm = {"batch_norm": nn.BatchNorm1d, "layer_norm": nn.LayerNorm}.get(case.block)
        made = [norm(case.width)] if norm else []
        made.append(getattr(nn, ACTIVATIONS[case.activation])())
        return [*made, nn.Dropout(case.dropout)] if case.dropout else made

    def linear() -> Any:
        return nn.Linear(case.width, case.width)

    made = [nn.Linear(case.inputs, case.width), *between()]
    for _ in range(case.blocks if case.block == "residual" else case.blocks - 1):
        if case.block == "residual":
            made.append(residual(linear(), *between(), linear()))
        else:
            made += [linear(), *between()]
    made.append(nn.Linear(case.width, case.outputs))
    return [*made, nn.Sigmoid()] if case.loss == "bce" else made


def set_weights(case: Case, model: Any, linear: type, assign: Any) -> None:
    own = [m for m in model.modules() if isinstance(m, linear)]
    for layer, (weight, bias) in zip(own, affine_weights(case), strict=True):
        assign(layer.weight, weight)
        assign(layer.bias, bias)


class Loop:
    """The loop of every tutorial, a Python line for each part of a step."""

    def __init__(self, model: Any, optimizer: Any, loss_fn: Any, batches: list[Any]) -> None:
        self.parts = model, optimizer, loss_fn
        self.order = cycle(batches)
        self.scheduler: Any = None

    def run(self, n: int) -> None:
        model, optimizer, loss_fn = self.parts
        scheduler = self.scheduler
        for x, t in islice(self.order, n):
            loss = loss_fn(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()


def split(case: Case, x: Any, t: Any) -> tuple[list[Any], tuple[Any, Any]]:
    """Batches, and what is left for validation."""
    starts = range(0, case.rows, case.batch)
    batches = [(x[at : at + case.batch], t[at : at + case.batch]) for at in starts]
    return batches, (x[case.rows :], t[case.rows :])


class Calls:
    """One call again and again."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def reset(self) -> None:
        pass

    def run(self, n: int) -> None:
        call = self.call
        for _ in range(n):
            call()

    def loss(self) -> float:
        """A number that stands for all of its result."""
        return float((np.asarray(self.call(), np.float64) ** 2).mean())
