"""Time networks of every size on batches of every size, beside the fastest peers.

python bench/sweep.py --json sweep.json --plots .          # about 25 minutes on two cores
python bench/sweep.py --peers --json sweep.json --plots .  # only fastmlp, with each strategy forced
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import grid
import isa
import report
from machine import machine
from measure import Options, check, reference_loss, take_turns
from peers import PEERS
from process import PeerError, WorkerProcess, cores
from run import add_isa_argument
from shapes import Workload

ROUNDS, SECONDS = 5, 0.02
LONG = 2e9  # operations a step from which fewer rounds do
MOST_LANES_WIDTH = 128  # far beyond what lanes are for
DEFAULT_PEERS = ("torch", "jax", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Entry:
    """A process that measures one peer in one way, and the shapes that it is worth trying on."""

    name: str
    peer: str
    threads: int
    env: dict[str, str] = field(default_factory=dict)
    least_flops: float = 0
    most_flops: float = float("inf")
    most_width: float = float("inf")

    def measures(self, workload: Workload) -> bool:
        in_range = self.least_flops <= workload.flops <= self.most_flops
        return in_range and workload.sizes[0] <= self.most_width


def entries(kind: str, peers: Sequence[str], threads: int) -> list[Entry]:
    """fastmlp first; whether a peer gains from threads is left open only in the middle."""
    ours = [
        Entry("fastmlp", "fastmlp", threads),
        Entry("fastmlp-dense", "fastmlp", threads, {"FASTMLP_STRATEGY": "dense"}),
        Entry(
            "fastmlp-lanes", "fastmlp", threads, {"FASTMLP_STRATEGY": "lanes"},
            most_width=MOST_LANES_WIDTH,
        ),
    ]  # fmt: skip
    theirs = []
    for name in peers:
        if name == "numpy" and kind == "training":
            continue  # never the fastest
        if not PEERS[name].does("predict" if kind == "prediction" else "sweep"):
            continue
        if name in ("torch", "onnxruntime") and threads > 1:
            theirs.append(Entry(f"{name}-1", name, 1, most_flops=3e8))
            theirs.append(Entry(f"{name}-{threads}", name, threads, least_flops=1e5))
        else:
            theirs.append(Entry(name, name, threads))
    return ours + theirs


class Sweeper:
    """The processes of one kind of work, which take one shape after the other."""

    def __init__(self, kind: str, peers: Sequence[str], threads: int, stack: ExitStack):
        self.kind = kind
        self.entries = entries(kind, peers, threads)
        self.workers = {}
        for entry in self.entries:
            worker = WorkerProcess(entry.peer, None, entry.threads, env=entry.env)
            stack.callback(worker.close)
            worker.send("load")
            self.workers[entry.name] = worker
        self.versions = {name: worker.receive() for name, worker in self.workers.items()}

    def measure(self, width: int, batch: int) -> grid.Shape:
        workload = grid.workload(self.kind, width, batch)
        expected = reference_loss(workload, None)
        options = Options(3 if workload.flops > LONG else ROUNDS, SECONDS)
        shape: grid.Shape = {
            "kind": self.kind,
            "width": width,
            "batch": batch,
            "flops": workload.flops,
            "failed": {},
        }
        ready: dict[str, WorkerProcess] = {}
        us = 0.0  # fastmlp's time
        for entry in self.entries:
            if not entry.measures(workload):
                continue
            worker = self.workers[entry.name]
            try:
                worker.ask("take", asdict(workload))
                worker.ask("prepare", SECONDS, *_plan(entry, workload, us))
                check(worker, workload, expected)
                if entry.name == "fastmlp":
                    shape["strategy"] = worker.ask("strategy")
                    us = worker.ask("measure", SECONDS)
                ready[entry.name] = worker
            except PeerError as reason:
                shape["failed"][entry.name] = str(reason)
        turns = take_turns(ready, options)
        shape["failed"] |= turns.failed
        shape["us"] = {name: median(times) for name, times in turns.times.items()}
        return grid.verdict(shape)


def _plan(entry: Entry, workload: Workload, us: float) -> list[Any]:
    """The modes to try, and the steps at once where a search for them would cost compilations."""
    if entry.peer == "torch" and workload.suite == "sweep" and workload.flops > 1e8:
        return [["fused"]]
    if entry.peer == "jax" and workload.suite == "sweep":
        epoch = workload.steps_per_epoch
        steps = min(workload.length, SECONDS * 1e6 / max(2 * us, 1.0))
        return [["unroll 1"], max(1, int(steps) // epoch) * epoch]
    return []


def pending(args: argparse.Namespace, done: list[grid.Shape]) -> Iterator[tuple[str, int, int]]:
    """What was asked for and is not done."""
    known = {(s["kind"], s["width"], s["batch"]) for s in done}
    for shape in product(args.kind, args.widths, args.batches):
        if shape not in known:
            yield shape


def sweep(args: argparse.Namespace, stored: dict[str, Any]) -> bool:
    """Measure what is missing; whether that is all now."""
    end = time.monotonic() + args.for_seconds
    shapes = stored["shapes"]
    waiting = list(pending(args, shapes))
    with ExitStack() as stack:
        sweeper = None
        for i, (kind, width, batch) in enumerate(waiting):
            if time.monotonic() > end:
                print(f"{len(waiting) - i} shapes are left: go on with --resume", file=sys.stderr)
                return False
            if sweeper is None or sweeper.kind != kind:
                stack.close()
                sweeper = Sweeper(kind, args.peers, args.threads, stack)
                stored["versions"] |= sweeper.versions
            shapes.append(sweeper.measure(width, batch))
            print(_line(shapes[-1]), file=sys.stderr, flush=True)
    return True


def _line(shape: grid.Shape) -> str:
    times = ", ".join(f"{name} {report.microseconds(t)}" for name, t in shape["us"].items())
    return f"{shape['kind']} {shape['width']}x{shape['batch']}: {times}"


def summary(shapes: list[grid.Shape]) -> str:
    """The shapes that fall short, of one kind."""
    text = [f"{shapes[0]['kind']}: {len(shapes)} shapes (width x batch)"]
    slower = grid.slower_than_peers(shapes)
    if any("ratio" in s for s in shapes):
        text += [f"  slower than the fastest peer: {len(slower)}"]
    text += [f"    {_name(s)}: {s['ratio']:.2f}x, {s['fastest_peer']}" for s in slower]
    steep = [cliff for cliff in grid.cliffs(shapes) if cliff[0] > grid.CLIFF]
    text += [f"  cliffs above {grid.CLIFF}x: {len(steep)}"]
    for excess, small, large in steep:
        times = (report.microseconds(s["us"]["fastmlp"]) for s in (small, large))
        text += [f"    {_name(small)} to {_name(large)}: {excess:.2f}x ({' to '.join(times)} us)"]
    wrong = grid.wrong_choices(shapes)
    text += [f"  the other strategy is more than {grid.SLOWER}x faster: {len(wrong)}"]
    text += [
        f"    {_name(s)}: {s['strategy']} takes {report.microseconds(s['us']['fastmlp'])} us, "
        f"{s['better_strategy']} is {s['choice_loss']:.2f}x faster"
        for s in wrong
    ]
    failed = [(s, name, why) for s in shapes for name, why in s["failed"].items()]
    text += [f"  {_name(s)}: {name} FAILED: {why}" for s, name, why in failed]
    return "\n".join(text)


def _name(shape: grid.Shape) -> str:
    return f"{shape['width']}x{shape['batch']}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", nargs="+", choices=grid.KINDS, default=grid.KINDS)
    for name, values in (("widths", grid.WIDTHS), ("batches", grid.BATCHES)):
        parser.add_argument(
            f"--{name}", type=int, nargs="+", choices=values, default=values, metavar="N",
            help=f"of {', '.join(map(str, values))} (all)",
        )  # fmt: skip
    parser.add_argument(
        "--peers", nargs="*", choices=DEFAULT_PEERS, default=DEFAULT_PEERS,
        help="none: only fastmlp, for the choice of strategies",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=cores(), help="the most threads (all cores)")
    add_isa_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", required=True, help="all figures")
    parser.add_argument("--resume", action="store_true", help="measure what FILE lacks")
    parser.add_argument(
        "--for", dest="for_seconds", type=float, default=float("inf"), metavar="SECONDS",
        help="stop after that time; --resume goes on",
    )  # fmt: skip
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw heat maps there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    args.peers = [name for name in args.peers if PEERS[name].installed()]
    isa.limit(args.isa)
    if args.resume and args.json.exists():
        stored = grid.read(args.json)
    else:
        about = machine(args.isa, args.peers)
        stored = {"machine": about, "threads": args.threads, "versions": {}, "shapes": []}
    complete = sweep(args, stored)
    args.json.write_text(json.dumps(stored, indent=1) + "\n")
    if not complete:
        return 0
    for kind in args.kind:
        print(summary([s for s in stored["shapes"] if s["kind"] == kind]))
    if args.plots:
        import heatmaps

        for path in heatmaps.draw_all(stored, args.plots):
            print(path)
    return int(any(s["failed"] for s in stored["shapes"]))


if __name__ == "__main__":
    sys.exit(main())
