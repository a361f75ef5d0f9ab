"""THE TABLE of layers that fastmlp and torch share, read in both directions."""

from typing import Any, NamedTuple

import torch

import fastmlp
from fastmlp import _core
from fastmlp.torch.layers import Standardize

# The arguments of each layer, under the names that both give them. `bias` is whether there is one.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "Linear": ("in_features", "out_features", "bias"),
    "Dropout": ("p", "inplace"),
    "Flatten": ("start_dim", "end_dim"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine", "bias"),
    "BatchNorm1d": ("num_features", "eps", "momentum", "affine", "track_running_stats", "bias"),
    "PReLU": ("num_parameters", "init"),
    "LeakyReLU": ("negative_slope", "inplace"),
    "Hardtanh": ("min_val", "max_val", "inplace"),
    "GELU": ("approximate",),
    "Softplus": ("beta", "threshold"),
    "Softmax": ("dim",),
    "LogSoftmax": ("dim",),
    **dict.fromkeys(("ELU", "CELU"), ("alpha", "inplace")),
    **dict.fromkeys(
        ("ReLU", "ReLU6", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "SELU"), ("inplace",)
    ),
    **dict.fromkeys(("Identity", "Sigmoid", "Tanh", "LogSigmoid", "Softsign"), ()),
}

# The options of activations that work element by element.
ELEMENTWISE = {
    name: tuple(option for option in options if option != "inplace")
    for name, options in _OPTIONS.items()
    if getattr(getattr(fastmlp, name), "native_name", None) in _core.ACTIVATIONS or name == "ReLU6"
}


class Row(NamedTuple):
    """A layer of torch's, the same one of ours, and the arguments of both."""

    theirs: Any
    ours: Any
    options: tuple[str, ...]


ROWS = (
    *(
        Row(getattr(torch.nn, name), getattr(fastmlp, name), options)
        for name, options in _OPTIONS.items()
    ),
    Row(Standardize, fastmlp.Standardize, ("num_features",)),
)
_OF_THEIRS = {row.theirs: row for row in ROWS}
_OF_OURS = {row.ours: row for row in ROWS}


def row_of(module: Any) -> Row | None:
    """The row of a module of either library; None if none has its `forward`."""
    for kind in type(module).__mro__:
        row = _OF_THEIRS.get(kind) or _OF_OURS.get(kind)
        if row is not None:
            return row if runs_as(module, kind) else None
    return None


def runs_as(module: Any, kind: type) -> bool:
    """Whether a module is of the kind, and of its `forward`."""
    same = isinstance(module, kind) and type(module).forward is kind.forward  # type: ignore[attr-defined]
    return same and "forward" not in vars(module)


def options_of(module: Any, row: Row) -> dict[str, Any]:
    """The values of its arguments. Those of a bias that there cannot be are left out."""
    options = {name: getattr(module, name) for name in row.options if name != "bias"}
    if "bias" in row.options and module.weight is not None:
        options["bias"] = module.bias is not None
    return options
