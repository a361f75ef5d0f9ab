"""Functions that run in several processes at once, as ranks of torch.distributed with gloo."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

SECONDS = 60  # generous: it only ends what hangs


class Outcome(NamedTuple):
    """What a rank returned or raised; neither where it was killed."""

    value: Any = None
    error: str | None = None
    kind: str | None = None


def run(size: int, function: Callable[..., Any], *args: Any) -> list[Outcome]:
    """function(rank, *args) in each of `size` processes.

    Raises
    ------
    TimeoutError
        If one of them does not end; none of them is left then.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastmlp.distributed"])
    with tempfile.TemporaryDirectory() as folder:
        pairs = [context.Pipe(duplex=False) for _ in range(size)]
        processes = [
            context.Process(target=_rank, args=(sender, folder, rank, size, function, args))
            for rank, (_, sender) in enumerate(pairs)
        ]
        try:
            for process in processes:
                process.start()
            for _, sender in pairs:
                sender.close()
            return _outcomes([receiver for receiver, _ in pairs])
        finally:
            for process in processes:
                if process.is_alive():
                    process.join(1)
                if process.is_alive():
                    process.kill()
                process.join()


def values(size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What the ranks return; all have to."""
    outcomes = run(size, function, *args)
    assert [outcome.error for outcome in outcomes] == [None] * size
    return [outcome.value for outcome in outcomes]


def _outcomes(receivers: list[Connection]) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    end = time.monotonic() + SECONDS
    while len(found) < len(receivers):
        waiting = [receivers[i] for i in range(len(receivers)) if i not in found]
        ready = wait(waiting, max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError(f"{len(waiting)} of {len(receivers)} ranks hang; others: {found}")
        for receiver in ready:
            try:
                outcome = receiver.recv()
            except EOFError:  # killed
                outcome = Outcome()
            found[receivers.index(receiver)] = outcome
    return [found[rank] for rank in range(len(receivers))]


def _rank(
    sender: Connection,
    folder: str,
    rank: int,
    size: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    import torch
    import torch.distributed as dist

    import fastmlp as fm

    torch.set_num_threads(1)
    fm.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{os.path.join(folder, 'store')}",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=SECONDS),
        )
        sender.send(Outcome(function(rank, *args)))
    except BaseException as error:
        sender.send(Outcome(error=str(error), kind=type(error).__name__))
    finally:
        sender.close()
