"""Time fastmlp beside the libraries that people would use instead.

python bench/run.py [--suite tiny|medium|large|predict|all] [--peers ...] [--json FILE]
python bench/run.py --device cuda [...], which has options of its own
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import isa
import report
import runs
from machine import machine
from measure import Options, measure
from peers import PEERS
from process import cores
from shapes import SUITES, WORKLOADS, select


def add_measuring_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure and for how long: the same for `run.py` and `compare.py`."""
    parser.add_argument(
        "--suite", nargs="+", choices=(*SUITES, "all"), default=["all"], help="default: all"
    )
    parser.add_argument(
        "--workload", nargs="+", choices=tuple(WORKLOADS), default=(), metavar="NAME",
        help=f"instead of a suite: {', '.join(map(repr, WORKLOADS))}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each peer (7)")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a round (0.2)")
    parser.add_argument("--threads", type=int, default=cores(), help="the most threads (all cores)")
    add_isa_argument(parser)


def add_isa_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--isa", choices=isa.CHOICES, help="keep all libraries to it (ONNX Runtime has no switch)"
    )


def check_measuring_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.rounds < 1 or args.threads < 1 or not args.seconds > 0:
        parser.error("--rounds, --seconds and --threads must be positive")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu",
        help="cpu; cuda has options of its own: --device cuda --help",
    )  # fmt: skip


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    _add_device(parser)
    add_measuring_arguments(parser)
    default = [p.name for p in PEERS.values() if not p.ours and not p.asked_only]
    parser.add_argument(
        "--peers", nargs="*", default=default,
        choices=[p.name for p in PEERS.values() if not p.ours],
        help="beside fastmlp (all but torch-compile, which is slow to start)",
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=int, default=1, help="measure everything so many times (1); medians, spread"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--data", type=Path, metavar="NPZ", help="real images for cifar2: x_train and y_train"
    )
    args = parser.parse_args(argv)
    check_measuring_arguments(parser, args)
    if args.runs < 1:
        parser.error("--runs must be positive")
    if args.data and not args.data.is_file():
        parser.error(f"--data: {args.data} is no file")
    return args


def _versions(workloads: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each library that answered, and fastmlp's instruction set."""
    versions = {}
    for w in workloads:
        for name, result in w["peers"].items():
            if "version" in result:
                known = ("version", "isa")
                versions[name] = {key: result[key] for key in known if key in result}
    return versions


def main(argv: Sequence[str] | None = None) -> int:
    device = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_device(device)
    chosen, others = device.parse_known_args(argv)
    if chosen.device == "cuda":
        from gpu.main import main as main_on_gpu

        return main_on_gpu(others)
    args = _arguments(argv)
    wanted = [p for p in PEERS.values() if p.ours or p.name in args.peers]
    names = [p.name for p in wanted if p.installed()]
    if missing := [p.name for p in wanted if p.name not in names]:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
    options = Options(args.rounds, args.seconds, args.threads, args.data)
    isa.limit(args.isa)
    about = machine(args.isa, names)
    print(f"{about['cpu']}, {about['cores']} cores, load {about['load_average']:.2f}")
    if args.isa:
        print(isa.summary(about["isa"]))
    of_runs = f", of {args.runs} runs (least to largest)" if args.runs > 1 else ""
    print(f"medians of {args.rounds} rounds of {args.seconds} s, peers taking turns{of_runs}\n")

    measured = []
    workloads = select(args.suite, args.workload)
    for k in range(1, args.runs + 1):
        run = f"run {k}/{args.runs} " if args.runs > 1 else ""
        measured.append([])
        for i, workload in enumerate(workloads, 1):
            print(f"{run}[{i}/{len(workloads)}] {workload.name}", file=sys.stderr, flush=True)
            measured[-1].append(measure(workload, names, options))
    stored = runs.merge(measured)
    for suite in SUITES:
        if rows := [w for w in stored if w["suite"] == suite]:
            print(report.suite_table(suite, rows) + "\n")
    versions = _versions(stored)
    print(", ".join(f"{n} {' '.join(map(str, v.values()))}" for n, v in versions.items()))
    print(report.summary(stored))
    if args.json:
        everything = {
            "machine": about,
            "options": {"rounds": args.rounds, "seconds": args.seconds, "threads": args.threads},
            "versions": versions,
            "workloads": stored,
            **({"runs": measured} if args.runs > 1 else {}),
        }
        args.json.write_text(json.dumps(everything, indent=1) + "\n")
    return int(any("failed" in r for w in stored for r in w["peers"].values()))


if __name__ == "__main__":
    sys.exit(main())
