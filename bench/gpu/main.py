"""Time fastmlp on a GPU beside PyTorch and JAX there: python bench/run.py --device cuda"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gpu import report
from gpu.measure import Setup, measure, probe
from gpu.workloads import PRECISIONS, SUITES, WORKLOADS, label, select
from machine import machine
from measure import Options
from peers import CUDA_PEERS

ROOT = Path(__file__).resolve().parents[2]
SAME = ("device", "commit", "options", "left_out")  # or --resume would mix what does not belong


def _output_of(*command: str) -> str:
    """What a program prints, if it is there and runs."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _commit() -> str:
    commit = _output_of("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    return commit + ("-dirty" if _output_of("git", "status", "--porcelain", "-uno") else "")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py --device cuda", description=__doc__.splitlines()[0]
    )
    names = tuple(dict.fromkeys(w.name for w in WORKLOADS))
    peers = [p.name for p in CUDA_PEERS.values() if not p.ours]
    add = parser.add_argument
    add("--suite", nargs="+", choices=(*SUITES, "all"), default=["all"], help="default: all")
    add("--workload", nargs="+", choices=names, default=(), metavar="NAME",
        help=f"instead of a suite: {', '.join(map(repr, names))}")  # fmt: skip
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS,
        help="of medium and large networks (all); the others have float32 alone")  # fmt: skip
    add("--peers", nargs="*", choices=peers, default=peers, help="beside fastmlp (all)")
    add("--rounds", type=int, default=7, help="rounds of each peer (7)")
    add("--seconds", type=float, default=0.2, help="length of a round (0.2)")
    add("--json", type=Path, metavar="FILE", help="write all figures there, after each workload")
    add("--resume", action="store_true", help="keep the workloads that the JSON file has already")
    add("--for", type=float, dest="limit", default=float("inf"), metavar="SECONDS",
        help="begin no workload after that time")  # fmt: skip
    add("--commit", default=_commit(), metavar="NAME", help="what was built (what git tells)")
    add("--ensemble", type=Path, metavar="PROGRAM", help="that of bench/gpu/ensemble.cpp")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    args = parser.parse_args(argv)
    if args.rounds < 1 or not args.seconds > 0:
        parser.error("--rounds and --seconds must be positive")
    if args.resume and not args.json:
        parser.error("--resume needs --json")
    return args


def _device(facts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """As fastmlp names it, or else a peer."""
    named = facts.get("fastmlp") or next(iter(facts.values()), {})
    found: dict[str, Any] = {
        "name": named.get("device", "none"),
        "emulated": bool(named.get("emulated")),
    }
    if not found["emulated"]:
        asked = "driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit"
        query = f"--query-gpu={','.join(asked)}", "--format=csv,noheader", "--id=0"
        if printed := _output_of("nvidia-smi", *query):
            found["driver"], found["clocks"] = printed.split(", ", 1)
    return found


def main(argv: Sequence[str]) -> int:
    args = _arguments(argv)
    names = [p.name for p in CUDA_PEERS.values() if p.ours or p.name in args.peers]
    facts, left_out = probe(names)
    device = _device(facts)
    for name, reason in left_out.items():
        print(f"no {name}: {reason}", file=sys.stderr)
    if device["emulated"]:
        print("emulated: no figure of fastmlp is a GPU's", file=sys.stderr)
    stored: dict[str, Any] = {
        "device": device,
        "machine": machine(),
        "commit": args.commit,
        "date": datetime.now(timezone.utc).isoformat(" ", "minutes"),
        "options": {"rounds": args.rounds, "seconds": args.seconds, "peers": names},
        "versions": facts,
        "left_out": left_out,
        "workloads": [],
    }
    if args.resume and args.json.is_file():
        before = json.loads(args.json.read_text())
        if differ := [key for key in SAME if before[key] != stored[key]]:
            print(f"--resume: {args.json} has another {' and '.join(differ)}", file=sys.stderr)
            return 2
        stored = before
    options = Options(args.rounds, args.seconds)
    setup = Setup(tuple(facts), device["emulated"], options, args.ensemble)
    known = {w["name"] for w in stored["workloads"]}
    wanted = select(args.suite, args.workload, args.precision) if facts else []
    wanted = [w for w in wanted if label(w) not in known]
    end = time.monotonic() + args.limit
    for i, workload in enumerate(wanted, 1):
        if time.monotonic() > end:
            print(f"left for later: {len(wanted) - i + 1} workloads", file=sys.stderr)
            break
        print(f"[{i}/{len(wanted)}] {label(workload)}", file=sys.stderr, flush=True)
        stored["workloads"].append(measure(workload, setup))
        if args.json:
            args.json.write_text(json.dumps(stored, indent=1) + "\n")
    print(report.markdown(stored) if args.markdown else report.text(stored))
    failed = any("failed" in r for w in stored["workloads"] for r in w["peers"].values())
    return int(failed or "fastmlp" in left_out)
