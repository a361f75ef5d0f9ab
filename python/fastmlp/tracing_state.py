"""What `forward` must not do while it is traced, because it runs once and not for each batch.

It may read attributes of modules, for it is traced again when one of them is set. What it sets
itself, and random numbers that it draws, would stay as they are in the first run.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from fastmlp import _core
from fastmlp.symbolic import Symbolic, Tree, UncompilableError, refuse

_UNWATCHED = ("_plan", "_direct", "_native", "_hooks", "_count")
# Where random numbers come from: how to get the state, and to set it.
_RANDOM = {
    "random": ("getstate", "setstate"),
    "numpy.random": ("get_state", "set_state"),
    "torch": ("get_rng_state", "set_rng_state"),
}


@contextmanager
def watched(root: Tree, of_call: bool) -> Iterator[list[str]]:
    """Record gradients meanwhile, and warn of what has an effect once alone.

    A trace that fails has no effect: where the model is called, `forward` runs as it stands. So it
    does with `of_call` if it has effects, which is slower, but right.
    """
    attributes = _attributes(root)
    contents = {
        place: (value, _items(value))
        for place, value in attributes.items()
        if type(value) in (list, dict) or isinstance(value, np.ndarray)
    }
    draws = _random_states()
    try:
        with recording():
            effects: list[str] = []
            yield effects
        effects += _effects(root, attributes, contents, draws, of_call)
        for effect in effects:
            warnings.warn(
                f"{effect}. {_AS_IT_STANDS if of_call else _ONCE}", UserWarning, stacklevel=2
            )
        if effects and of_call:
            raise UncompilableError(effects[0])
    except Exception:
        _restore(root, attributes, contents)
        for library, state in draws.items():
            getattr(sys.modules[library], _RANDOM[library][1])(state)
        raise


@contextmanager
def recording() -> Iterator[None]:
    """Record gradients meanwhile, whatever we or torch were told."""
    with ExitStack() as stack:
        stack.callback(_core.set_recording, _core.set_recording(True))
        if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "enable_grad"):
            stack.enter_context(torch.enable_grad())
        yield


_ONCE = "It is traced, and runs once, not for each batch, until a module changes."
_AS_IT_STANDS = (
    "So it runs for each call, one operation after another, which takes longer; predict and a"
    " Trainer trace it, and run it once."
)


def _effects(
    root: Tree, attributes: Any, contents: Any, draws: dict[str, Any], of_call: bool
) -> Iterator[str]:
    """What the trace has changed."""
    for (module, name), value in _attributes(root).items():
        if attributes.get((module, name)) is not value:
            what = f"{name!r} of a {type(_module(root, module)).__name__}"
            empty = isinstance(value, Symbolic) and not of_call
            held = ", to a value that holds no numbers" if empty else ""
            yield f"forward sets the attribute {what}{held}"
    for (_, name), (held, before) in contents.items():
        if not _same(_items(held), before):
            yield f"forward changes what the attribute {name!r} holds"
    after = _random_states()
    for library, state in draws.items():
        if _bytes(state) != _bytes(after[library]):
            yield f"forward draws random numbers from {library}; Dropout draws new ones each time"


def check_recording() -> None:
    """UncompilableError is a part of forward under no_grad()."""
    if not _core.recording():
        refuse(
            "a part of it under no_grad()",
            "requires_grad_(False) of those layers keeps their weights as they are",
        )


def _attributes(root: Tree) -> dict[tuple[int, str], Any]:
    return {
        (id(module), name): value
        for module in root.modules()
        for name, value in module.__dict__.items()
        if name not in _UNWATCHED
    }


def _module(root: Tree, number: int) -> Any:
    return next(module for module in root.modules() if id(module) == number)


def _items(value: Any) -> Any:
    """What an attribute holds now: a copy of an array, or keys and values."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def _same(items: Any, before: Any) -> bool:
    if isinstance(items, np.ndarray):
        return bool(items.tobytes() == before.tobytes())
    return len(items) == len(before) and all(
        key == known and value is held
        for (key, value), (known, held) in zip(items, before, strict=True)
    )


def _restore(root: Tree, attributes: dict[tuple[int, str], Any], contents: Any) -> None:
    """Let modules hold what they held."""
    known = {id(module): module for module in root.modules()}
    for number, name in _attributes(root).keys() - attributes.keys():
        del known[number].__dict__[name]
    for (number, name), value in attributes.items():
        if number in known and known[number].__dict__.get(name, known) is not value:
            known[number].__dict__[name] = value
    for value, before in contents.values():
        if _same(_items(value), before):
            continue
        if isinstance(value, np.ndarray):
            value[...] = before
        else:
            value.clear()
            value.update(before) if isinstance(value, dict) else value.extend(v for _, v in before)


def _random_states() -> dict[str, Any]:
    """Those of libraries that have been imported."""
    return {
        library: getattr(module, _RANDOM[library][0])()
        for library in _RANDOM
        if hasattr(module := sys.modules.get(library), _RANDOM[library][0])
    }


def _bytes(state: Any) -> Any:
    """A state in a form that compares."""
    if isinstance(state, tuple):  # in which a tuple is one of plain numbers, hundreds of them
        return tuple(part if isinstance(part, tuple) else _bytes(part) for part in state)
    if hasattr(state, "tobytes"):
        return state.tobytes()
    return state.tolist() if hasattr(state, "tolist") else state
