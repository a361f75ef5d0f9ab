"""What `forward` must not do while it is traced, because it runs once and not for each batch.

It may read attributes of modules, for it is traced again when one of them is set. What it sets
itself, and random numbers that it draws, would stay as they are in the first run.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fastmlp import _core
from fastmlp.symbolic import Symbolic, Tree, refuse


@contextmanager
def watched(root: Tree) -> Iterator[None]:
    """Record gradients meanwhile, and warn of what has an effect once alone."""
    attributes = _attributes(root)
    draws = _random_states()
    with ExitStack() as stack:
        stack.callback(_core.set_recording, _core.recording())
        _core.set_recording(True)
        if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "enable_grad"):
            stack.enter_context(torch.enable_grad())
        yield
    for (module, name), value in _attributes(root).items():
        if attributes.get((module, name)) is not value:
            what = f"{name!r} of a {type(_module(root, module)).__name__}"
            held = ", to a value that holds no numbers" if isinstance(value, Symbolic) else ""
            _warn(f"forward sets the attribute {what}{held}")
    for library, before, after in zip(_LIBRARIES, draws, _random_states(), strict=True):
        if before is not None and before != after:
            _warn(f"forward draws random numbers from {library}; Dropout draws new ones each time")


def check_recording() -> None:
    """TypeError where a part of forward is under no_grad()."""
    torch = sys.modules.get("torch")
    off = torch is not None and hasattr(torch, "is_grad_enabled") and not torch.is_grad_enabled()
    if off or not _core.recording():
        refuse(
            "a part of it under no_grad()",
            "requires_grad_(False) of those layers keeps their weights as they are",
        )


def _attributes(root: Tree) -> dict[tuple[int, str], Any]:
    return {
        (id(module), name): value
        for module in root.modules()
        for name, value in module.__dict__.items()
        if name not in ("_plan", "_steps", "_count")
    }


def _module(root: Tree, number: int) -> Any:
    return next(module for module in root.modules() if id(module) == number)


_LIBRARIES = ("random", "numpy.random", "torch")


def _random_states() -> tuple[Any, ...]:
    """Those of libraries that have been imported."""
    modules: list[Any] = [sys.modules.get(name) for name in _LIBRARIES]
    plain, numpy, torch = modules
    keys = numpy.get_state() if numpy else None
    return (
        plain.getstate() if plain else None,
        keys and (keys[1].tobytes(), keys[2]),
        torch.get_rng_state().numpy().tobytes() if hasattr(torch, "get_rng_state") else None,
    )


def _warn(what: str) -> None:
    warnings.warn(
        f"{what}. It is traced, and runs once, not for each batch, until a module changes.",
        UserWarning,
        stacklevel=2,
    )
