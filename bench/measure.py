"""Measure one workload: each peer at its best, all checked to do the same work, in turns."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np

import problems
from peers import PEERS, CannotDo, Peer
from process import PeerError, WorkerProcess
from reference import Network
from shapes import Workload

PEAK_SECONDS = 0.1
WITH_PEAK = ("medium", "large")


@dataclass(frozen=True)
class Options:
    rounds: int = 7
    seconds: float = 0.2
    threads: int = 1  # the most; peers try one thread as well
    data: Path | None = None


def reference_loss(workload: Workload, data: Path | None) -> float | None:
    """The loss of the float64 reference after the check's updates; None for a prediction."""
    if workload.suite == "predict":
        return None
    start, end = reference_losses(workload, data)
    if start - end < 20 * workload.tolerance * end:
        raise RuntimeError(f"{workload.name}: the loss moves too little to show a difference")
    return end


def reference_losses(workload: Workload, data: Path | None) -> tuple[float, float]:
    """Before and after the check's updates."""
    network = Network(problems.make(workload, data), np.float64)
    start = network.loss()
    network.train(workload.check)
    return start, network.loss()


def spread(rounds: list[float]) -> dict[str, Any]:
    """The rounds with their median and quartiles."""
    low, _, high = quantiles(rounds, n=4, method="inclusive") if rounds[1:] else rounds * 3
    return {"median": median(rounds), "quartiles": [low, high], "rounds": rounds}


def check(worker: WorkerProcess, workload: Workload, expected: float | None) -> float:
    """The worker's deviation from the reference, or PeerError where that is too large."""
    deviation = worker.ask("check", expected)
    if not deviation <= workload.tolerance:  # NaN fails as well
        what = "output" if workload.suite == "predict" else "loss"
        raise PeerError(
            f"not the same work: its {what} is {deviation:.1e} from the float64 reference's, "
            f"more than {workload.tolerance:.0e}"
        )
    return deviation


class Turns(NamedTuple):
    times: dict[str, list[float]]  # microseconds a step, of each worker in each round
    failed: dict[str, str]  # a worker that failed in any round has no times
    peaks: list[float]  # FMA peak of each round, GFLOP/s


def take_turns(
    workers: dict[str, WorkerProcess], options: Options, peak_from: str | None = None
) -> Turns:
    """Measure the workers one after the other, again and again; `peak_from` does the FMA loop."""
    turns = Turns({name: [] for name in workers}, {}, [])
    for _ in range(options.rounds):
        for name in list(turns.times):
            try:
                turns.times[name].append(workers[name].ask("measure", options.seconds))
                if name == peak_from:
                    turns.peaks.append(workers[name].ask("peak", PEAK_SECONDS))
            except PeerError as reason:
                turns.failed[name] = str(reason)
                del turns.times[name]
    return turns


def _best_variant(variants: list[WorkerProcess], options: Options) -> tuple[WorkerProcess, dict]:
    """The fastest of one peer's processes and its settings; the others are closed."""
    settings = {worker.threads: worker.ask("prepare", options.seconds) for worker in variants}
    best = variants[0]
    if len(variants) > 1:
        trial = Options(rounds=3, seconds=options.seconds / 2)
        turns = take_turns({str(w.threads): w for w in variants}, trial)
        if turns.failed:
            raise PeerError(*turns.failed.values())
        best = min(variants, key=lambda w: median(turns.times[str(w.threads)]))
    for worker in variants:
        if worker is not best:
            worker.close()
    trials = {f"{n} threads": s["trials"] for n, s in settings.items()}
    return best, {"threads": best.threads, "mode": settings[best.threads]["mode"], "trials": trials}


def _start(peer: Peer, workload: Workload, options: Options) -> list[WorkerProcess]:
    """The peer's processes, which begin to import the library all at once."""
    counts = {1, options.threads} if peer.tries_threads else {options.threads}
    workers = [WorkerProcess(peer.name, workload.name, n, options.data) for n in sorted(counts)]
    for worker in workers:
        worker.send("load")
    return workers


def _get_ready(
    workers: list[WorkerProcess], workload: Workload, expected: float | None, options: Options
) -> tuple[WorkerProcess | None, dict[str, Any]]:
    """The process to be timed, if the peer can and does do the work, and the facts about it."""
    result: dict[str, Any] = {}
    try:
        for worker in workers:
            result |= worker.receive()
        best, settings = _best_variant(workers, options)
        result |= settings
        result["deviation"] = check(best, workload, expected)
    except CannotDo as reason:
        return None, {"left_out": str(reason)}
    except PeerError as reason:
        return None, result | {"failed": str(reason)}
    return best, result


def measure(workload: Workload, names: list[str], options: Options) -> dict[str, Any]:
    """All figures of one workload, as they are stored."""
    expected = reference_loss(workload, options.data)
    results: dict[str, dict[str, Any]] = {}
    ready: dict[str, WorkerProcess] = {}
    with ExitStack() as stack:
        started = {}
        for peer in (PEERS[name] for name in names):
            if peer.does(workload.suite):
                started[peer.name] = _start(peer, workload, options)
                for worker in started[peer.name]:
                    stack.callback(worker.close)
        for name, workers in started.items():
            best, results[name] = _get_ready(workers, workload, expected, options)
            if best:
                ready[name] = best
            else:
                for worker in workers:
                    worker.close()
        peak_from = "fastmlp" if "fastmlp" in ready and workload.suite in WITH_PEAK else None
        turns = take_turns(ready, options, peak_from)
    for name, rounds in turns.times.items():
        results[name]["us"] = spread(rounds)
    for name, reason in turns.failed.items():
        results[name]["failed"] = reason
    return {
        "name": workload.name,
        "suite": workload.suite,
        "flops": workload.flops,
        "reference_loss": expected,
        "peers": results,
        **_verdict(results, workload.flops, turns.peaks),
    }


def _verdict(results: dict[str, Any], flops: int, peaks: list[float]) -> dict[str, Any]:
    """How fastmlp stands: its ratio to the fastest peer, and its share of the FMA peak."""
    us = {name: r["us"]["median"] for name, r in results.items() if "us" in r}
    others = {name: t for name, t in us.items() if not PEERS[name].ours}
    verdict: dict[str, Any] = {}
    if others:
        fastest = verdict["fastest_peer"] = min(others, key=others.get)
        if "fastmlp" in us:
            verdict["ratio"] = others[fastest] / us["fastmlp"]
    if "fastmlp-loop" in us and "torch" in us:
        verdict["loop_to_torch"] = us["torch"] / us["fastmlp-loop"]
    if peaks and "fastmlp" in us:
        verdict["fma_peak_gflops"] = spread(peaks)
        gflops = flops / us["fastmlp"] / 1e3
        verdict["peak_share"] = gflops / median(peaks)
    return verdict
