"""Models of every kind of operation, for those who export them; and what they are in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastmlp as fm
from activation_specs import ACTIVATIONS
from fastmlp import program

WIDTH = 5  # of the input of all


class _OwnForward(fm.Module):
    """Sums, numbers, functions, a dropout, an operation that nobody uses; no dimension at last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = fm.Linear(WIDTH, 7), fm.Linear(7, 7, bias=False)
        self.out = fm.Linear(7, 1)
        self.drop = fm.Dropout(0.4)

    def forward(self, x: Any) -> Any:
        h = fm.tanh(self.first(x))
        fm.relu(h)
        h = h + 0.5 * self.second(self.drop(h)) - 2
        return self.out(fm.silu(h)).squeeze(-1)


class _Shared(fm.Module):
    """A layer that serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = fm.Linear(WIDTH, WIDTH), fm.Linear(WIDTH, 3)

    def forward(self, x: Any) -> Any:
        return self.out(fm.relu(self.layer(fm.sigmoid(self.layer(x)))))


def _with(*layers: Any) -> Callable[[], fm.Module]:
    return lambda: fm.Sequential(*(layer() for layer in layers))


def _linear(inputs: int, outputs: int) -> Callable[[], fm.Module]:
    return lambda: fm.Linear(inputs, outputs)


MODELS: dict[str, Callable[[], fm.Module]] = {
    **{f"activation-{id_}": _with(row.module) for id_, row in ACTIVATIONS.items()},
    **{f"mlp-{id_}": _with(_linear(WIDTH, 4), row.module) for id_, row in ACTIVATIONS.items()},
    "mlp": lambda: fm.MLP([WIDTH, 8, 8, 3], activation="tanh"),
    "linear": _linear(WIDTH, 2),
    "no-bias": lambda: fm.Sequential(fm.Linear(WIDTH, 2, bias=False)),
    "layer-norm": _with(lambda: fm.LayerNorm(WIDTH), _linear(WIDTH, 4), lambda: fm.LayerNorm(4)),
    "layer-norm-bare": _with(lambda: fm.LayerNorm(WIDTH, elementwise_affine=False)),
    "batch-norm": _with(_linear(WIDTH, 6), lambda: fm.BatchNorm1d(6), fm.ReLU, _linear(6, 2)),
    "batch-norm-bare": _with(lambda: fm.BatchNorm1d(WIDTH, affine=False)),
    "batch-norm-of-batches": _with(lambda: fm.BatchNorm1d(WIDTH, track_running_stats=False)),
    "standardize": _with(lambda: fm.Standardize(WIDTH), _linear(WIDTH, 2)),
    "prelu": _with(fm.PReLU, _linear(WIDTH, 3), lambda: fm.PReLU(3)),
    "residual": _with(
        lambda: fm.Residual(fm.Linear(WIDTH, 9), fm.Tanh(), fm.Linear(9, WIDTH)),
        lambda: fm.Residual(fm.Linear(WIDTH, 4), fm.ReLU()),
    ),
    "flatten": _with(fm.Flatten, _linear(WIDTH, 3)),
    "dropout": _with(lambda: fm.Dropout(0.3), _linear(WIDTH, 3), lambda: fm.Dropout(0.3)),
    "dropout-alone": _with(lambda: fm.Dropout(0.3)),
    "own-forward": _OwnForward,
    "shared": _Shared,
}


def model_of(name: str, dtype: str = "float32", seed: int = 0) -> fm.Module:
    """A model with values of all kinds in its parameters and running statistics."""
    fm.manual_seed(seed)
    model = MODELS[name]().to(dtype=dtype)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.copy_(rng.normal(size=parameter.shape) / np.sqrt(parameter.shape[-1]))
    for module in model.modules():
        if isinstance(module, fm.Standardize):
            module.update(3 * rng.normal(size=(50, WIDTH)) + 1)
        if isinstance(module, fm.BatchNorm1d) and module.running_mean is not None:
            module.running_mean.copy_(rng.normal(size=module.num_features))
            module.running_var.copy_(rng.uniform(0.5, 2, size=module.num_features))
    return model


def in_numpy(given: program.Program, x: np.ndarray) -> np.ndarray:
    """What a program gives, in float64."""
    values = [np.asarray(x, np.float64)]
    for operation in given.operations:
        values.append(_apply(operation, values))
    return values[-1][:, 0] if given.squeeze else values[-1]


def _apply(operation: program.Operation, values: list[np.ndarray]) -> np.ndarray:
    x = values[operation.input]
    match operation:
        case program.Affine(_, weight, bias):
            return x @ weight.T.astype("f8") + (0 if bias is None else bias)
        case program.ColumnScale(_, scale, shift):
            return scale * x + shift
        case program.PReLU(_, slopes):
            return np.where(x > 0, x, slopes * x)
        case program.Sum(_, other):
            return x + values[other]
        case program.Normalization(_, axis, weight, bias, eps):
            mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
            y = (x - mean) / np.sqrt(variance + eps)
            return y * (1 if weight is None else weight) + (0 if bias is None else bias)
        case program.Function(_, name, constants):
            return _function(name, constants)(x)[0]
    raise TypeError(operation)


def _function(name: str, constants: tuple[float, float]) -> Any:
    for row in ACTIVATIONS.values():
        module = row.module()
        if module.native() == (name, *constants):
            return row.numpy
    raise KeyError(name, constants)
