"""Optimizers and losses as JSON and tensors, and back: the tables of those a file can name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastmlp import distribution_losses, losses, optimizers
from fastmlp._types import Array
from fastmlp.files.container import Contents, entry
from fastmlp.lbfgs import LBFGS
from fastmlp.levenberg_marquardt import LevenbergMarquardt
from fastmlp.losses import Loss
from fastmlp.modules import Module
from fastmlp.optimizer import Optimizer
from fastmlp.parameter import Parameter
from fastmlp.whole_batch import WholeBatchOptimizer

OPTIMIZERS: dict[str, Any] = {
    **{
        name: getattr(optimizers, name)
        for name in ("SGD", "Adam", "AdamW", "RMSprop", "NAdam", "Adagrad", "Lion")
    },
    "LBFGS": LBFGS,
    "LevenbergMarquardt": LevenbergMarquardt,
}
# The options of their constructors.
LOSSES: dict[str, tuple[Any, tuple[str, ...]]] = {
    make.__name__: (make, ("reduction", *options))
    for make, options in {
        losses.MSELoss: (),
        losses.L1Loss: (),
        losses.HuberLoss: ("delta",),
        losses.SmoothL1Loss: ("beta",),
        losses.BCELoss: ("weight",),
        losses.BCEWithLogitsLoss: ("weight", "pos_weight"),
        losses.NLLLoss: ("weight", "ignore_index"),
        losses.CrossEntropyLoss: ("weight", "ignore_index", "label_smoothing"),
        distribution_losses.PoissonNLLLoss: ("log_input", "full", "eps"),
        distribution_losses.GaussianNLLLoss: ("full", "eps"),
        distribution_losses.KLDivLoss: ("log_target",),
        distribution_losses.QuantileLoss: ("quantiles",),
    }.items()
}


def describe_optimizer(
    optimizer: Optimizer, model: Module
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Its class, options, groups of named parameters and numbers; and its arrays, by name."""
    name = type(optimizer).__name__
    if OPTIMIZERS.get(name) is not type(optimizer):
        raise TypeError(
            f"optimizer: expected one of {', '.join(OPTIMIZERS)} to save, got a {name}; save its"
            " state_dict() beside the model"
        )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        if any(id(parameter) not in names for parameter in group["params"]):
            raise ValueError("optimizer: expected the model's parameters alone to save, got others")
        groups.append({**group, "params": [names[id(p)] for p in group["params"]]})
    numbers: list[dict[str, float]] = []
    arrays: dict[str, Array] = {}
    state = optimizer.state_dict()["state"]
    whole = isinstance(optimizer, WholeBatchOptimizer)
    for number in range(1 if whole else len(optimizer.parameters)):
        entries = state.get(number, {})
        numbers.append({n: _number(v) for n, v in entries.items() if np.ndim(v) == 0})
        arrays |= {f"{number}.{n}": np.asarray(v) for n, v in entries.items() if np.ndim(v) > 0}
    described = {
        "class": name,
        "options": dict(optimizer.defaults),
        "groups": groups,
        "state": numbers,
    }
    return described, arrays


def make_optimizer(description: dict[str, Any], model: Module) -> Optimizer:
    """The optimizer of a model as it was made, before its state is loaded."""
    name, options = entry(description, "class", str), entry(description, "options", dict)
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}")
    parameters = dict(model.named_parameters())
    groups = []
    for group in _groups(description):
        if unknown := [name for name in group["params"] if name not in parameters]:
            raise ValueError(f"optimizer: expected names of parameters, got {unknown[0]!r}")
        groups.append({**group, "params": [parameters[name] for name in group["params"]]})
    made: Optimizer = OPTIMIZERS[name](groups, **options)
    if set(made.defaults) != set(options):
        raise ValueError(f"optimizer: expected the options {', '.join(made.defaults)}")
    return made


def load_optimizer(
    optimizer: Optimizer, description: dict[str, Any], contents: Contents, prefix: str
) -> None:
    """Give an optimizer its state, and its groups what schedules keep there."""
    groups, first = [], 0
    for group in _groups(description):
        groups.append({**group, "params": [*range(first, first := first + len(group["params"]))]})
    whole = isinstance(optimizer, WholeBatchOptimizer)
    parameters, numbers = optimizer.parameters, entry(description, "state", list)
    count = 1 if whole else len(parameters)
    if len(numbers) != count or not all(isinstance(own, dict) for own in numbers):
        raise ValueError(f"optimizer: expected {count} states of numbers by name")
    state: dict[int, dict[str, Any]] = {i: dict(own) for i, own in enumerate(numbers)}
    for name in contents.names:
        if not name.startswith(prefix):
            continue
        number, _, short = name[len(prefix) :].partition(".")
        if not (number.isdecimal() and int(number) in state) or short in state[int(number)]:
            raise ValueError(f"{name!r}: expected no such tensor")
        if not whole:
            _check_alike(name, contents, parameters[int(number)])
        state[int(number)][short] = contents.array(name)
    used = {number: entries for number, entries in state.items() if entries}
    optimizer.load_state_dict({"state": used, "param_groups": groups})


def _number(value: Any) -> float:
    """As JSON has it."""
    return value if isinstance(value, bool | int) else float(value)


def _check_alike(name: str, contents: Contents, parameter: Parameter) -> None:
    found = contents.dtype(name), contents.shape(name)
    if found != (str(parameter.dtype), parameter.shape):
        raise ValueError(
            f"{name!r}: expected {parameter.dtype} of shape {parameter.shape}, as the parameter"
            f" has, got {found[0]} of {found[1]}"
        )


def _groups(description: dict[str, Any]) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = entry(description, "groups", list)
    for group in groups:
        params = entry(group, "params", list) if isinstance(group, dict) else []
        if not params or not all(isinstance(name, str) for name in params):
            raise ValueError("optimizer: expected groups with names of parameters")
    return groups


# Losses


def describe_loss(loss: Loss) -> tuple[dict[str, Any], dict[str, Array]]:
    """Its class and options; and those that are arrays, by name."""
    name = type(loss).__name__
    if name not in LOSSES or LOSSES[name][0] is not type(loss):
        return {"class": name, "own": True}, {}
    options = {option: loss.__dict__[option] for option in LOSSES[name][1]}
    arrays = {option: value for option, value in options.items() if isinstance(value, np.ndarray)}
    numbers = {option: value for option, value in options.items() if option not in arrays}
    return {"class": name, "options": numbers}, arrays


def make_loss(description: dict[str, Any], arrays: Mapping[str, Array], given: Loss | None) -> Loss:
    """The loss, or the given one in place of one that no file can make."""
    if given is not None:
        return given
    name = entry(description, "class", str)
    if description.get("own") is True:
        raise ValueError(
            f"the loss is a {name}, whose code is in no file: write"
            " fastmlp.Trainer.load(path, loss_fn=...)"
        )
    options = entry(description, "options", dict)
    if name not in LOSSES or {*options, *arrays} != set(LOSSES[name][1]) or options.keys() & arrays:
        raise ValueError(f"loss_fn: expected one of fastmlp's losses, got {name!r}")
    made: Loss = LOSSES[name][0](**options, **arrays)
    return made
