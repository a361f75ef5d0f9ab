"""Measure one workload: each peer at its best, all checked to do the same work, in turns."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

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
    network = Network(problems.make(workload, data), np.float64)
    start = network.loss()
    network.train(workload.check)
    if start - network.loss() < 20 * workload.tolerance * network.loss():
        raise RuntimeError(f"{workload.name}: the loss moves too little to show a difference")
    return network.loss()


def spread(rounds: list[float]) -> dict[str, Any]:
    """The rounds with their median and quartiles."""
    low, _, high = quantiles(rounds, n=4, method="inclusive") if rounds[1:] else rounds * 3
    return {"median": median(rounds), "quartiles": [low, high], "rounds": rounds}


def check(worker: WorkerProcess, workload: Workload, expected: float | None) -> float:
    """The worker's deviation from the reference, or PeerError where that is too large."""
    deviation = worker.ask("check", expected)
    if not deviation <= workload.tolerance:  # NaN fails as well
        what = "output" if expected is None else "loss"
        raise PeerError(
            f"not the same work: its {what} is {deviation:.1e} from the float64 reference's, "
            f"more than {workload.tolerance:.0e}"
        )
    return deviation


def take_turns(
    workers: dict[str, WorkerProcess], options: Options, peak_from: str | None = None
) -> tuple[dict[str, list[float]], list[float]]:
    """Microseconds a step by round and worker, and the FMA peak of each round in GFLOP/s."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    peaks = []
    for _ in range(options.rounds):
        for name, worker in workers.items():
            times[name].append(worker.ask("measure", options.seconds))
        if peak_from:
            peaks.append(workers[peak_from].ask("peak", PEAK_SECONDS))
    return times, peaks


def _best_variant(variants: list[WorkerProcess], options: Options) -> tuple[WorkerProcess, dict]:
    """The fastest of one peer's processes and its settings; the others are closed."""
    settings = {}
    for worker in variants:
        settings[worker.threads] = worker.ask("prepare", options.seconds)
    trial = Options(rounds=3, seconds=options.seconds / 2)
    times, _ = take_turns({str(w.threads): w for w in variants}, trial)
    best = min(variants, key=lambda w: median(times[str(w.threads)]))
    for worker in variants:
        if worker is not best:
            worker.close()
    trials = {f"{n} threads": s["trials"] for n, s in settings.items()}
    return best, {"threads": best.threads, "mode": settings[best.threads]["mode"], "trials": trials}


def _thread_counts(peer: Peer, most: int) -> list[int]:
    return sorted({1, most}) if peer.tries_threads else [most]


def measure(workload: Workload, names: list[str], options: Options) -> dict[str, Any]:
    """All figures of one workload, as they are stored."""
    expected = reference_loss(workload, options.data)
    peers = [PEERS[n] for n in names if PEERS[n].does(workload.suite)]
    results: dict[str, dict[str, Any]] = {}
    ready: dict[str, WorkerProcess] = {}
    with ExitStack() as stack:
        variants = {}
        for peer in peers:
            variants[peer.name] = [
                WorkerProcess(peer.name, workload.name, n, options.data)
                for n in _thread_counts(peer, options.threads)
            ]
            for worker in variants[peer.name]:
                stack.callback(worker.close)
                worker.send("load")
        for name, workers in variants.items():
            try:
                about = [worker.receive() for worker in workers]
                best, settings = _best_variant(workers, options)
                results[name] = about[0] | settings
                results[name]["deviation"] = check(best, workload, expected)
                ready[name] = best
            except CannotDo as reason:
                results[name] = {"left_out": str(reason)}
            except PeerError as reason:
                results[name] = results.get(name, {}) | {"failed": str(reason)}
            for worker in workers:
                if worker is not ready.get(name):
                    worker.close()
        peak_from = "fastmlp" if "fastmlp" in ready and workload.suite in WITH_PEAK else None
        times, peaks = take_turns(ready, options, peak_from)
    for name, rounds in times.items():
        results[name]["us"] = spread(rounds)
    stored = {"name": workload.name, "suite": workload.suite, "flops": workload.flops}
    return (
        stored
        | {"reference_loss": expected, "peers": results}
        | _verdict(results, workload.flops, peaks)
    )


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
    if peaks:
        verdict["fma_peak_gflops"] = spread(peaks)
        gflops = flops / us["fastmlp"] / 1e3
        verdict["peak_share"] = gflops / median(peaks)
    return verdict
