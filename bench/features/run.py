"""Time layers, schedules, early stopping and Jacobians beside PyTorch and JAX.

python bench/features/run.py [--case NAME ...] [--rounds N] [--seconds S] [--isa avx2] [--json FILE]
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import isa
from features.cases import CASES, Case
from machine import machine
from measure import Options, take_turns
from peers import PEERS, CannotDo
from process import PeerError, WorkerProcess, cores
from report import microseconds, table

WORKER = Path(__file__).with_name("worker.py")
SIDES = ("fastmlp", "torch", "jax")
WAYS = {
    "train": {"fastmlp": ("fit", "five lines"), "torch": ("foreach", "fused"), "jax": ("scan",)},
    "jacobian": {"fastmlp": ("jacobian",), "torch": ("jacrev",), "jax": ("jit",)},
}
CHECKED = 2e-3  # how far two libraries' losses may be apart in float32 after a few updates


def start(case: Case, options: Options) -> dict[str, WorkerProcess]:
    """A process for each way and number of threads."""
    workers: dict[str, WorkerProcess] = {}
    for side in SIDES:
        if not PEERS[side].installed():
            continue
        counts = {options.threads} if side == "fastmlp" else {1, options.threads}
        for way in WAYS[case.kind][side]:
            for threads in sorted(counts):
                worker = WorkerProcess(side, case.name, threads, script=WORKER, limit=120)
                try:
                    worker.ask("prepare", way, options.seconds)
                except CannotDo:
                    worker.close()
                    continue
                workers[f"{side} {way}, {threads} thr"] = worker
    return workers


def check(case: Case, workers: dict[str, WorkerProcess]) -> dict[str, float]:
    """The loss of each; PeerError where they do not do the same work."""
    losses = {name: worker.ask("loss") for name, worker in workers.items()}
    known = {name: loss for name, loss in losses.items() if loss is not None}
    reference = next(loss for name, loss in known.items() if name.startswith("torch"))
    if case.check or case.kind == "jacobian":
        for name, loss in known.items():
            if not abs(loss / reference - 1) < CHECKED:
                raise PeerError(f"{case.name}: {name} has {loss}, PyTorch {reference}")
    return known


def measure(case: Case, options: Options) -> dict[str, Any]:
    workers = start(case, options)
    try:
        losses = check(case, workers)
        turns = take_turns(workers, options)
    finally:
        for worker in workers.values():
            worker.close()
    if turns.failed:
        raise PeerError(f"{case.name}: {turns.failed}")
    return {"name": case.name, "losses": losses, "us": turns.times}


def row(result: dict[str, Any]) -> list[str]:
    """The best of each library, and how many times faster fastmlp is than PyTorch and than JAX."""
    best: dict[str, float] = {}
    for name, rounds in result["us"].items():
        side = "five lines" if "five lines" in name else name.split()[0]
        best[side] = min(best.get(side, float("inf")), median(rounds))
    ratios = [
        f"{best[side] / best['fastmlp']:.2f}x" if side in best else "-" for side in ("torch", "jax")
    ]
    sides = ("fastmlp", "five lines", "torch", "jax")
    cells = [microseconds(best[side]) if side in best else "-" for side in sides]
    return [result["name"], *cells, *ratios]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--isa", choices=isa.CHOICES)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if missing := [side for side in SIDES[:2] if not PEERS[side].installed()]:
        parser.error(f"{' and '.join(missing)} must be installed")
    options = Options(args.rounds, args.seconds, args.threads)
    isa.limit(args.isa)
    results = []
    rows = [["case", "fastmlp", "five lines", "PyTorch", "JAX", "to PyTorch", "to JAX"]]
    for name in args.case:
        results.append(measure(CASES[name], options))
        rows.append(row(results[-1]))
        print("  ".join(rows[-1]), file=sys.stderr)
    print("microseconds an update, or a call\n" + table(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "cases": results}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
