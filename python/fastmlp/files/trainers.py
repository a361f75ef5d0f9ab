"""`Trainer.save` and `Trainer.load`: everything from which a training goes on with the same bits.

Tensors are called `model.<key>`, `optimizer.<parameter>.<state>`, `loss.<option>`,
`history.<curve>` and, of the best epoch so far, `best.<key>`; the rest is in the document.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import _checks, _core, seeds
from fastmlp._types import Array
from fastmlp.early_stopping import EarlyStopping
from fastmlp.files import architecture, parts, schedules
from fastmlp.files.container import Contents, entry, opened, pack
from fastmlp.files.models import fill, model_tensors, read_model
from fastmlp.losses import Loss
from fastmlp.metrics import check_metrics
from fastmlp.modules import Module
from fastmlp.writing import file_path, replace_file

_PREFIXES = ("model.", "optimizer.", "loss.", "history.", "best.")
_MOST_METRICS = 1000
_SEARCH = ("best", "best_epoch", "waited")
_CURVES = ("loss", "validation_loss", "learning_rate", "epoch_time", "report_step", "report_loss")


def save_trainer(trainer: Any, path: Any) -> None:
    """See `Trainer.save`."""
    name = file_path(path)
    optimizer, arrays = parts.describe_optimizer(trainer.optimizer, trainer.model)
    loss, options = parts.describe_loss(trainer.loss_fn)
    fit = trainer._under_way()
    document = {
        "kind": "trainer",
        "model": architecture.describe(trainer.model, fit.resting if fit else ()),
        "optimizer": optimizer,
        "loss": loss,
        "scheduler": trainer.scheduler and schedules.describe(trainer.scheduler),
        "scheduler_interval": trainer.scheduler_interval,
        "on_nonfinite": trainer.on_nonfinite,
        "metrics": [metric for metric in trainer._metrics if isinstance(metric, str)],
        "seed": trainer._next_seed(),
        "best_epoch": trainer._best_epoch,
        "early_stopping": None,
    }
    model, best = trainer.model, None
    search = None if fit is not None else trainer._resumed  # which no fit has used so far
    if fit is not None and fit.native is not None and fit.options is not None:
        search = fit.options, fit.native.state()
    if search is not None:
        wanted, state = search
        if wanted["restore_best"] and state["best_epoch"] >= 0:
            best = _at_its_best(model, state)
        if fit is not None and fit.ends:  # as it will leave things
            found = state["best_epoch"]
            document["best_epoch"] = None if found < 0 else found
            model, best = best or model, None
        else:
            numbers = {name: state[name] for name in _SEARCH}
            document["early_stopping"] = {"options": wanted, **numbers}
    tensors = model_tensors(model, "model.")
    for prefix, group in {
        "optimizer.": arrays,
        "loss.": options,
        "history.": trainer._history.state(),
        "best.": {} if best is None else model_tensors(best, ""),
    }.items():
        tensors |= {prefix + n: np.asarray(v) for n, v in group.items() if np.size(v)}
    replace_file(name, pack(tensors, document))


def _at_its_best(model: Module, state: dict[str, Any]) -> Module:
    """The model with the best values; the model itself stays as it is."""
    best = copy.deepcopy(model)
    native = _core.EarlyStopping(0, 0, 0.0, False, True)
    native.resume(state)
    if (network := best._compiled().network) is not None:
        native.prepare(network)
        native.restore()
    return best


def load_trainer(
    make: Callable[..., Any],
    path: Any,
    model: Any,
    loss_fn: Any,
    scheduler: Any,
    device: Any,
) -> Any:
    """See `Trainer.load`; `make` is the class."""
    name = file_path(path)
    for what, value, kind in (("model", model, Module), ("loss_fn", loss_fn, Loss)):
        if value is not None and not isinstance(value, kind):
            hint = _checks.origin(value)
            raise TypeError(f"{what}: expected a {kind.__name__}, got {_checks.show(value)}{hint}")
    schedules.check_given(scheduler)
    if device is not None:
        if model is not None:
            raise ValueError(f"device: expected none with model, got {device!r}")
        device = _checks.device("device", device)
    with opened(name) as contents:
        if contents.kind != "trainer":
            raise ValueError("expected a file of Trainer.save, got one of a model alone")
        return _read(contents, make, model, loss_fn, scheduler, device)


def _read(
    contents: Contents, make: Any, into: Module | None, loss_fn: Any, scheduler: Any, device: Any
) -> Any:
    document = contents.document
    assert document is not None
    if odd := sorted(name for name in contents.names if not name.startswith(_PREFIXES)):
        raise ValueError(f"{odd[0]!r}: expected no such tensor")
    # What does not need the model comes first: `into` changes last of all.
    loss = parts.make_loss(entry(document, "loss", dict), contents.arrays("loss."), loss_fn)
    history = _core.History(_history(contents))
    if (best_epoch := document.get("best_epoch")) is not None:
        best_epoch = _checks.integer("best_epoch", best_epoch, at_least=0, below=history.epochs)
    names = entry(document, "metrics", list)
    if len(names) > _MOST_METRICS or not all(isinstance(name, str) for name in names):
        raise ValueError(f"metrics: expected up to {_MOST_METRICS} names, got {len(names)}")
    metrics = check_metrics(names, True)
    seed = seeds.check_seed(entry(document, "seed", int))
    model = read_model(contents, None if into is None else copy.deepcopy(into), device)
    trainer = _assembled(document, contents, make, model, loss, scheduler)
    _search(document.get("early_stopping"), contents, model)
    if into is not None:  # everything fits
        model = read_model(contents, into, None)
        trainer = _assembled(document, contents, make, model, loss, scheduler)
    trainer._history.set_state(history.state())
    trainer._best_epoch, trainer._metrics, trainer._seed = best_epoch, metrics, seed
    trainer._resumed = _search(document.get("early_stopping"), contents, model)
    return trainer


def _assembled(
    document: dict[str, Any], contents: Contents, make: Any, model: Module, loss: Loss, given: Any
) -> Any:
    description = entry(document, "optimizer", dict)
    optimizer = parts.make_optimizer(description, model)
    schedule = None
    if document.get("scheduler") is not None:
        schedule = schedules.make(document["scheduler"], optimizer, given)
    elif given is not None:
        raise ValueError("scheduler: expected none, for the file has none")
    parts.load_optimizer(optimizer, description, contents, "optimizer.")
    return make(
        model,
        optimizer,
        loss,
        on_nonfinite=document.get("on_nonfinite"),
        scheduler=schedule,
        scheduler_interval=document.get("scheduler_interval"),
    )


def _history(contents: Contents) -> dict[str, Array]:
    state = contents.arrays("history.")
    for name, value in state.items():
        if value.ndim > 1 or value.dtype == np.float32:
            raise ValueError(f"history.{name}: expected a curve or a number")
    return {**{name: np.empty(0) for name in _CURVES}, **state}


def _search(
    search: Any, contents: Contents, model: Module
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Early stopping of the fit that is to go on: its options, and where it was."""
    there = any(name.startswith("best.") for name in contents.names)
    if search is None:
        if there:
            raise ValueError("early_stopping: expected a dict with the best values, got none")
        return None
    if not isinstance(search, dict):
        raise ValueError(f"early_stopping: expected a dict, got {_checks.show(search)}")
    options = EarlyStopping(**entry(search, "options", dict)).options
    state: dict[str, Any] = {"best": float(search.get("best", np.nan))}
    for name in _SEARCH[1:]:
        state[name] = _checks.integer(name, search.get(name), at_least=-1)
    if there != (options["restore_best"] and state["best_epoch"] >= 0):
        raise ValueError("early_stopping: expected values of the best epoch where there is one")
    if there:
        best = copy.deepcopy(model)
        fill(best, contents, "best.")
        native = _core.EarlyStopping(0, 0, 0.0, False, True)
        if (network := best._compiled().network) is not None:
            native.prepare(network)
        state |= native.snapshot()
    _core.EarlyStopping(0, 0, 0.0, False, True).resume(state)  # or an error
    return options, state
