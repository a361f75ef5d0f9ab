"""Of many trainings that are alike one is checked and compiled; the others take that over."""

from typing import Any, NamedTuple

from fastmlp import _core
from fastmlp._fit import Fit
from fastmlp._many_arguments import SINGLE
from fastmlp.early_stopping import EarlyStopping
from fastmlp.parameter import Parameter
from fastmlp.plan import Plan
from fastmlp.tracing import is_ours
from fastmlp.trainer import Trainer


class Likeness(NamedTuple):
    """What a training is, but for its numbers."""

    key: Any  # equal for trainings of which one can be done where another one can
    parameters: list[_core.Parameter]  # of the model; they correspond where keys are equal


class Pattern:
    """A training that has been checked, for others that are like it.

    Parameters
    ----------
    fit : Fit
        After `Fit.check`.
    parameters : list
        Those of its `Likeness`.
    """

    def __init__(self, fit: Fit, parameters: list[_core.Parameter]) -> None:
        self._fit = fit
        self._plan: Plan | None = fit.trainer.model._plan
        self._parameters = parameters

    def fit_of(
        self, trainer: Trainer, parameters: list[_core.Parameter], options: dict[str, Any]
    ) -> Fit | None:
        """That of another trainer, or None. `options` are those of `Trainer.fit`."""
        if not self._fit.is_shareable:
            return None
        fit = self._fit.for_other(trainer, options["seed"], options["early_stopping"])
        if self._plan is not None and trainer.model._plan is None:
            plan = self._plan.for_other(dict(zip(self._parameters, parameters, strict=True)))
            if plan is not None:
                trainer.model._take_plan(plan)
        return fit


def likeness(trainer: Trainer, options: dict[str, Any]) -> Likeness | None:
    """None: nobody knows.

    Trainings that are alike differ in the numbers of parameters, and in options of optimizers,
    which are checked where they are set. `options` are those of `fit`.
    """
    if type(trainer) is not Trainer or trainer.scheduler is not None or options["callbacks"]:
        return None
    if not all(group.is_current for group in trainer.optimizer._groups):
        return None
    met = _Met()
    own = [_plain(trainer.loss_fn, met), repr(trainer.loss_fn)]
    for module in trainer.model.modules():
        own += [met.number(module), _plain(module, met) if is_ours(module) else None]
    for name in SINGLE:
        value = options[name]
        kind = type(value)
        if name == "seed":
            value = None
        elif isinstance(value, EarlyStopping):
            value = tuple(value.options.values())
        own.append((kind, value))
    trained = tuple(met.number(parameter._native) for parameter in trainer.optimizer.parameters)
    own += [type(trainer.optimizer), trained]
    if None in own:
        return None
    try:
        hash(key := tuple(own))
    except TypeError:
        return None
    return Likeness(key, met.parameters)


def loss_key(loss_fn: Any) -> Any:
    """Equal for losses that are alike, but for the losses themselves where nobody knows."""
    plain = _plain(loss_fn, _Met())
    return id(loss_fn) if plain is None else plain


class _Met:
    """Modules and parameters by the order in which they are met: they may be met again."""

    def __init__(self) -> None:
        self.parameters: list[_core.Parameter] = []
        self._numbers: dict[int, int] = {}

    def number(self, thing: Any) -> int:
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self._numbers)
            if isinstance(thing, _core.Parameter):
                self.parameters.append(thing)
        return self._numbers[id(thing)]


_VALUES = (int, float, str, bool, type(None))
_NOT_LOOKED_AT = ("_seed", "_plan", "_direct")


def _plain(thing: Any, met: _Met) -> Any:
    """Its attributes, if all of them are plain values, parameters, or modules that come apart."""
    found: list[Any] = [type(thing)]
    for name, value in vars(thing).items():
        if name in _NOT_LOOKED_AT:
            continue
        if isinstance(value, Parameter):
            native = value._native
            kind = type(value), native.shape, native.dtype, native.device, native.requires_grad
            value = met.number(native), kind, value._precision
        elif hasattr(value, "_compiled"):
            value = "module", met.number(value)
        elif not isinstance(value, _VALUES):
            return None
        elif isinstance(value, float):
            value = value.hex()  # 0 and -0 are not alike
        found.append((name, value))
    return tuple(found)
