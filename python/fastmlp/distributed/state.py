"""What a trainer remembers, from rank 0 to the others, unless they have the same."""

import hashlib
from typing import Any

import numpy as np

from fastmlp._types import Array
from fastmlp.distributed.messages import Messages

_TIMES = "epoch_time"  # which are each process's own


class Place:
    """In the place of an array."""

    def __init__(self, array: Array) -> None:
        self.shape, self.dtype = array.shape, array.dtype.str

    def __repr__(self) -> str:
        return f"{self.shape} {self.dtype}"


def state_of(trainer: Any) -> dict[str, Any]:
    return {
        "trainer": trainer.state_dict(),
        "resumed": trainer._resumed,
        "best_epoch": trainer._best_epoch,
        "metrics": [metric for metric in trainer._metrics if isinstance(metric, str)],
    }


def digest(trainer: Any) -> str:
    """Equal where two processes go on alike."""
    state = state_of(trainer)
    state["trainer"] = {key: value for key, value in state["trainer"].items() if key != "seed"}
    arrays: list[Array] = []
    found = hashlib.blake2b(repr(_taken_apart(state, arrays, "")).encode())
    for array in arrays:
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def share(trainer: Any, messages: Messages) -> None:
    """All trainers become rank 0's. The arrays are sent one by one."""
    arrays: list[Array] = []
    skeleton = None
    if messages.rank == 0:
        skeleton = _taken_apart(state_of(trainer), arrays, None)
    skeleton = messages.from_first(skeleton)
    if messages.rank == 0:
        for array in arrays:
            messages.array_from_first(array)
        return
    state = _put_together(skeleton, messages)
    trainer.load_state_dict(state["trainer"])
    trainer._resumed, trainer._best_epoch = state["resumed"], state["best_epoch"]
    trainer._metrics = tuple(state["metrics"])


def _taken_apart(value: Any, arrays: list[Array], omitted: str | None) -> Any:
    """The same with places for arrays. `omitted` is not None where times are left out."""
    if isinstance(value, dict):
        return {
            key: _taken_apart(part, arrays, omitted)
            for key, part in value.items()
            if omitted is None or key != _TIMES
        }
    if isinstance(value, list | tuple):
        return type(value)([_taken_apart(part, arrays, omitted) for part in value])
    if isinstance(value, np.ndarray):
        arrays.append(np.array(value, order="C", subok=False))
        return Place(arrays[-1])
    return value


def _put_together(value: Any, messages: Messages) -> Any:
    if isinstance(value, dict):
        return {key: _put_together(part, messages) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_put_together(part, messages) for part in value])
    if isinstance(value, Place):
        return messages.array_from_first(np.empty(value.shape, np.dtype(value.dtype)))
    return value
