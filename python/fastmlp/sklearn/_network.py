"""The network of an estimator: how it is built, where it begins, and its weights as arrays."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks
from fastmlp._types import Array
from fastmlp.activations import Activation, as_activation
from fastmlp.containers import Sequential
from fastmlp.layers import Dropout, Linear
from fastmlp.modules import Module
from fastmlp.normalization import BatchNorm1d, LayerNorm
from fastmlp.sklearn._embeddings import Embedded

# Of single values; "logistic" is scikit-learn's name for the sigmoid.
OF_ROWS = {"softmax", "log_softmax"}
WHOLE = ("lbfgs", "lm")  # solvers that look at all rows, in float64
ACTIVATIONS = {"logistic", *Activation.by_name} - OF_ROWS


class Architecture(NamedTuple):
    """What a network is made of: plain values, so that a pickle can hold them."""

    sizes: tuple[int, ...]  # inputs, units of the hidden layers, outputs
    activations: tuple[Any, ...]  # of the hidden layers
    dropout: tuple[float, ...]  # after each hidden layer
    batch_norm: bool
    layer_norm: bool
    dtype: str
    embeddings: tuple[tuple[int, int], ...] = ()  # rows and columns of the tables


def one_per_layer(name: str, value: Any, layers: int) -> list[Any]:
    """The values of the hidden layers: a list of so many, or one for all of them."""
    if isinstance(value, str | Activation) or not hasattr(value, "__iter__"):
        return [value] * layers
    values = list(value)
    if len(values) != layers:
        raise ValueError(
            f"{name}: expected one value for each of the {layers} hidden layers, got {len(values)}"
        )
    return values


def check_activation(value: Any) -> Any:
    """Its name, or an activation of single values."""
    if isinstance(value, Activation):
        _checks.choice("activation", value.native_name, sorted(Activation.by_name.keys() - OF_ROWS))
        return value
    if not isinstance(value, str):
        raise TypeError(f"activation: expected names or activations, got {_checks.show(value)}")
    return _checks.choice("activation", value, sorted(ACTIVATIONS))


def architecture_of(
    settings: SimpleNamespace, sizes: list[int], embeddings: list[tuple[int, int]]
) -> Architecture:
    """That of an estimator's settings, checked."""
    layers = len(sizes) - 2
    activations = one_per_layer("activation", settings.activation, layers)
    dropout = one_per_layer("dropout", settings.dropout, layers)
    if any(not 0 <= p < 1 for p in dropout):
        raise ValueError(f"dropout: expected numbers from 0 to below 1, got {dropout}")
    if settings.solver in WHOLE and (settings.batch_norm or any(dropout)):
        raise ValueError(
            "solver: expected 'adam', 'adamw' or 'sgd' with dropout or batch_norm, whose loss"
            f" is another one at each step, got {settings.solver!r}"
        )
    return Architecture(
        tuple(int(size) for size in sizes),
        tuple(check_activation(value) for value in activations),
        tuple(float(p) for p in dropout),
        bool(settings.batch_norm),
        bool(settings.layer_norm),
        "float64" if settings.solver in WHOLE else settings.dtype,
        tuple(embeddings),
    )


def build(architecture: Architecture) -> Module:
    """A network whose weights are zeros, and which gives the outputs before their activation."""
    sizes, dtype = architecture.sizes, architecture.dtype
    model: Module = Sequential()
    for i, (width, following) in enumerate(pairwise(sizes)):
        model.add_module(f"linear{i}", Linear._zeros(width, following, dtype))
        if i == len(sizes) - 2:
            break
        if architecture.batch_norm:
            model.add_module(f"batch_norm{i}", BatchNorm1d(following, dtype=dtype))
        if architecture.layer_norm:
            model.add_module(f"layer_norm{i}", LayerNorm(following, dtype=dtype))
        kind = deepcopy(architecture.activations[i])
        kind = "sigmoid" if kind == "logistic" else kind
        model.add_module(f"activation{i}", as_activation("activation", kind))
        if architecture.dropout[i] > 0:
            model.add_module(f"dropout{i}", Dropout(architecture.dropout[i]))
    if architecture.embeddings:
        model = Embedded(model, architecture.embeddings, dtype)
    if architecture.batch_norm or any(architecture.dropout):
        model.eval()  # others have one program for the training and for predictions
    return model


def glorot(
    architecture: Architecture, random_state: np.random.RandomState
) -> Iterator[tuple[Array, Array]]:
    """The first weights (in x out) and biases of each layer, as scikit-learn draws them.

    Uniform within the root of 6 / (in + out), of 2 / (in + out) for the logistic function (Glorot
    and Bengio, 2010).
    """
    kinds = [*architecture.activations, *(architecture.activations[-1:] or ("relu",))]
    for (fan_in, fan_out), kind in zip(pairwise(architecture.sizes), kinds, strict=True):
        factor = 2.0 if kind == "logistic" else 6.0
        bound = np.sqrt(factor / (fan_in + fan_out))
        weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
        yield weights, random_state.uniform(-bound, bound, fan_out)


def layers_of(model: Module) -> list[Linear]:
    return [module for module in model.modules() if isinstance(module, Linear)]


def view(parameter: Any) -> Array:
    """A parameter's own memory, as it lies there: weights in x out."""
    return np.asarray(parameter.numpy().T)


def arrays_of(model: Module) -> dict[str, Array]:
    """Copies of all that a model has learnt, by name, as arrays of NumPy's own."""
    return {name: np.array(value) for name, value in model.state_dict().items()}


def plain(value: Any) -> Any:
    """Dicts, lists, numbers and arrays of NumPy's own alone."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return np.array(value) if isinstance(value, np.ndarray) else value
