"""What `Trainer` checks before it trains, and what it undoes and tells afterwards; evaluation."""

import sys
import warnings
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp._data import Data, is_on_device, to_host
from fastmlp._rows import stay
from fastmlp._types import Array
from fastmlp.distribution_losses import GaussianNLLLoss
from fastmlp.function_loss import FunctionLoss
from fastmlp.history import History, Training
from fastmlp.losses import Loss
from fastmlp.metrics import Metric, measured, native_metrics
from fastmlp.modules import Module
from fastmlp.optim import Optimizer

KINDS: dict[str, type] = {"model": Module, "optimizer": Optimizer, "loss_fn": Loss}


def check_kind(name: str, value: Any, kind: type) -> None:
    if isinstance(value, kind):
        return
    hint = _checks.origin(value)
    if isinstance(value, type):
        hint = f"; write {value.__name__}({'...' if kind is Optimizer else ''})"
    elif isinstance(value, tuple(KINDS.values())):
        hint = f"; the order is {', '.join(KINDS)}"
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    raise TypeError(f"{name}: expected {article} {kind.__name__}, got {_checks.show(value)}{hint}")


def native_options(
    batch_size: Any,
    max_grad: Any,
    accumulate: Any,
    eval_interval: Any,
    shuffle: Any,
    allow_nonfinite: Any,
) -> dict[str, Any]:
    """The options that go to the native training as they are, checked."""
    if batch_size is None:
        batch_size = sys.maxsize  # the core takes no more rows than there are
    if max_grad is not None:
        max_grad = _checks.real("max_grad", max_grad, above=0)
    return {
        "batch_size": _checks.integer("batch_size", batch_size, at_least=1),
        "max_grad": max_grad,
        "accumulate": _checks.integer("accumulate", accumulate, at_least=1),
        "eval_interval": _checks.integer("eval_interval", eval_interval, at_least=1),
        "shuffle": _checks.flag("shuffle", shuffle),
        "allow_nonfinite": _checks.flag("allow_nonfinite", allow_nonfinite),
    }


def to_training(model: Module, stack: ExitStack) -> list[Module]:
    """All of its modules in training mode, until the stack is closed; returns those that rest."""
    plan = model._plan
    if plan is not None and plan.trains and plan.structure == _core.structure():
        return []  # the walk takes as long as many steps
    resting = [module for module in model.modules() if not module.training]
    stack.callback(_rest, resting)  # before the change: Ctrl-C may come in between
    for module in resting:
        module.training = True
    return resting


def _rest(modules: list[Module]) -> None:
    """Back to evaluation, what was there before; what a callback has put there stays."""
    interrupt = None
    for module in modules:
        while module.training:
            try:
                module.training = False
            except KeyboardInterrupt as error:  # this, too, is undone in full
                interrupt = error
    if interrupt is not None:
        raise interrupt


def nonfinite_loss(trainer: Training, history: History, first: int, validated: bool) -> str | None:
    """What to tell of a loss from epoch `first` on that is no number any more."""
    if trainer.on_nonfinite == "ignore":
        return None
    told = [("loss", history._losses)]
    if validated:
        told.append(("validation loss", history._validation_losses))
    for what, numbers in told:
        if (at := numbers.first_nonfinite(first)) is not None:
            return (
                f"the {what} became {numbers.values(at)[0]} in epoch {at}; a smaller learning rate"
                f" may help (the optimizer's is {getattr(trainer.optimizer, 'lr', None)}), or"
                " max_grad"
            )
    return None


def tell(trainer: Training, problem: str) -> None:
    """Raise or warn, as the trainer's user wishes."""
    if trainer.on_nonfinite == "raise":
        raise FloatingPointError(problem)
    # The training is done, whether or not there is a stream to write to.
    with suppress(ValueError, OSError, AttributeError):
        warnings.warn(problem, RuntimeWarning, stacklevel=3)


def evaluated(trainer: Training, data: Data, metrics: tuple[Metric, ...]) -> dict[str, float]:
    """The loss and these metrics of the model's predictions."""
    loss_fn = trainer.loss_fn
    if loss_fn.reduction == "none":
        raise ValueError(
            "loss_fn: expected a loss with reduction 'mean' or 'sum' to evaluate, got 'none'"
        )
    if (found := _evaluated_by_parts(trainer, data, metrics)) is not None:
        return found
    x, t, sample_weight = data
    y = to_host("x", trainer.model.predict(x))
    if y.ndim != 2 or not len(y):
        raise ValueError(f"x: expected shape (rows, features), got outputs of {y.shape}")
    t = to_host("t", t)
    loss = loss_fn(_seen_in_training(loss_fn, y), t, sample_weight=sample_weight)
    return {"loss": float(loss), **measured(metrics, loss_fn, y, t, sample_weight)}


def _evaluated_by_parts(
    trainer: Training, data: Data, metrics: tuple[Metric, ...]
) -> dict[str, float] | None:
    """The same bits for data that stay where they are; None where all outputs are wanted at once.

    So they are by functions, of which nobody knows more.
    """
    if not any(map(stay, data)) or is_on_device(data[1]):
        return None
    loss_fn, plan = trainer.loss_fn, trainer.model._compiled(data[0])
    if isinstance(loss_fn, FunctionLoss) or not all(isinstance(metric, str) for metric in metrics):
        return None
    if plan.network is None or plan.by_call or plan.squeeze:
        return None
    known = [
        (name, native)
        for name, native in native_metrics(metrics, loss_fn, data[1])
        if isinstance(native, _core.Metric)
    ]
    loss, values = plan.network.evaluate(loss_fn, data, known)
    return {"loss": loss, **dict(zip((name for name, _ in known), values, strict=True))}


def _seen_in_training(loss_fn: Loss, y: Array) -> Array:
    """As a training sees them: variances below 0 count as the least one."""
    if not isinstance(loss_fn, GaussianNLLLoss) or y.shape[1] % 2:
        return y
    means, variances = np.split(y, 2, axis=1)
    return np.concatenate([means, np.maximum(variances, 0)], axis=1)
