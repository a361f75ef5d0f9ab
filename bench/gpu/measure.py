"""Measure one workload on a GPU: each peer at its best, all checked for the same work, in turns."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from gpu.ensemble import Program
from gpu.workloads import label
from measure import Options, check, reference_losses, spread, take_turns
from peers import CUDA_PEERS, CannotDo
from process import PeerError, WorkerProcess, cores
from shapes import Workload

SCRIPT = Path(__file__).parents[1] / "device_worker.py"
ANSWER_SECONDS = 420  # PyTorch may tune for minutes
BANDWIDTH_SECONDS = 0.2
MARGIN = 10  # by so many tolerances the loss must fall, so that a deviation shows
EMULATED = " (emulated)"  # follows the name of whoever ran on no GPU

Result = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What a run has for all its workloads."""

    peers: tuple[str, ...]
    emulated: bool
    options: Options
    ensemble: Path | None = None  # the program of many models at once


def _start(peer: str) -> WorkerProcess:
    env = {
        "JAX_PLATFORMS": "cuda",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the peers share the memory
        "TORCHINDUCTOR_AUTOTUNE_NUM_CHOICES_DISPLAYED": "0",
    }
    worker = WorkerProcess(peer, None, cores(), env=env, script=SCRIPT, limit=ANSWER_SECONDS)
    worker.send("load")
    return worker


def probe(names: Iterable[str]) -> tuple[dict[str, Result], dict[str, str]]:
    """The facts about the peers that find the device, and why others do not."""
    facts, left_out, started = {}, {}, {}
    for name in names:
        if CUDA_PEERS[name].installed():
            started[name] = _start(name)
        else:
            left_out[name] = "not installed"
    for name, worker in started.items():
        try:
            facts[name] = worker.receive()
        except (CannotDo, PeerError) as reason:
            left_out[name] = str(reason)
        worker.close()
    return facts, left_out


@cache
def _losses(workload: Workload) -> tuple[float, float]:
    return reference_losses(workload, None)


def _expected(workload: Workload) -> float | None:
    """The float64 reference's loss; None where the worker finds out itself."""
    if workload.suite == "predict" or workload.models > 1:
        return None
    start, end = _losses(replace(workload, precision="float32", tolerance=0.0))
    if start - end < MARGIN * workload.tolerance * end:
        raise RuntimeError(f"{label(workload)}: the loss moves too little to show a difference")
    return end


def _open(name: str, workload: Workload, setup: Setup) -> WorkerProcess | Program:
    if workload.models > 1 and CUDA_PEERS[name].ours:
        return Program(setup.ensemble, workload, setup.emulated)
    return _start(name)


def _get_ready(
    worker: WorkerProcess | Program,
    workload: Workload,
    expected: float | None,
    seconds: float,
    first_only: bool = False,
) -> Result:
    """The facts about a peer that can and does do the work, or why it is not timed."""
    result: Result = {}
    try:
        result |= worker.receive()
        worker.ask("take", asdict(workload))
        result |= worker.ask("prepare", seconds, first_only)
        result["deviation"] = check(worker, workload, expected)
    except CannotDo as reason:
        return {"left_out": str(reason)}
    except PeerError as reason:
        return result | {"failed": str(reason)}
    return result


def _bandwidth(workers: Iterable[WorkerProcess | Program]) -> float | None:
    """GB/s that a copy within the device reads and writes, by the first library that tells."""
    for worker in workers:
        try:
            if found := worker.ask("copy_bandwidth", BANDWIDTH_SECONDS):
                return found
        except PeerError:
            continue
    return None


def measure(workload: Workload, setup: Setup) -> Result:
    """All figures of one workload, as they are stored."""
    expected = _expected(workload)
    results: dict[str, Result] = {}
    ready: dict[str, WorkerProcess | Program] = {}
    bandwidth = None
    with ExitStack() as stack:
        started = {name: _open(name, workload, setup) for name in setup.peers}
        for worker in started.values():
            stack.callback(worker.close)
        for name, worker in started.items():
            ours = CUDA_PEERS[name].ours
            shown = name + EMULATED if ours and setup.emulated else name
            task = workload, expected, setup.options.seconds
            results[shown] = _get_ready(worker, *task)
            if worker.ended():  # by one of its modes, perhaps: once more, with the first alone
                others = {"all but the first": results[shown]["failed"]}
                worker = _open(name, workload, setup)
                stack.callback(worker.close)
                results[shown] = _get_ready(worker, *task, True) | {"failed_modes": others}
            if "failed" not in results[shown] and "left_out" not in results[shown]:
                ready[shown] = worker
            else:
                worker.close()
        turns = take_turns(ready, setup.options)
        if workload.suite == "predict":
            bandwidth = _bandwidth(ready[name] for name in turns.times)
    for name, rounds in turns.times.items():
        results[name]["us"] = spread(rounds)
    for name, reason in turns.failed.items():
        results[name]["failed"] = reason
    return {
        "name": label(workload),
        "suite": workload.suite,
        "precision": workload.precision,
        "flops": workload.flops,
        "reference_loss": expected,
        "peers": results,
        **verdict(workload, results, bandwidth),
    }


def verdict(workload: Workload, results: dict[str, Result], bandwidth: float | None) -> Result:
    """How fastmlp stands: its ratio to the fastest peer, and how near it is to the hardware."""
    us = {name: r["us"]["median"] for name, r in results.items() if "us" in r and "failed" not in r}
    ours = us.pop("fastmlp", None)
    found: Result = {}
    peers = {name: t for name, t in us.items() if name in CUDA_PEERS}
    if peers:
        fastest = found["fastest_peer"] = min(peers, key=peers.get)
        if ours is not None:
            found["ratio"] = peers[fastest] / ours
    if ours is not None and workload.suite in ("medium", "large"):
        found["tflops"] = workload.flops / ours / 1e6
    if ours is not None and bandwidth is not None:
        found["copy_gb_s"] = bandwidth
        found["bandwidth_share"] = workload.weight_bytes / ours / 1e3 / bandwidth
    return found
