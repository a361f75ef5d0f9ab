"""Compare two commits of fastmlp on this machine: python bench/compare.py A B [--suite ...]

Each commit is built from a git worktree into a temporary folder; `.` stands for the working tree
as it is. The benchmark's own files are those beside this one, for both.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

import isa
import report
from measure import Options, check, reference_loss, spread, take_turns
from peers import PEERS
from process import PeerError, WorkerProcess
from run import add_measuring_arguments, check_measuring_arguments
from shapes import Workload, select

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = [p.name for p in PEERS.values() if p.ours]


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, text=True, capture_output=True
    )
    return done.stdout.strip()


@contextmanager
def _source(commit: str, folder: Path):
    """A folder with the sources of that commit."""
    if commit == ".":
        yield ROOT
        return
    _git("worktree", "add", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def build(commit: str, folder: Path) -> Path:
    """Build and install a commit into a folder of its own, and return that."""
    target = folder / "site"
    with _source(commit, folder / "source") as source:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "-C", f"build-dir={folder / 'build'}"]
        subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


def _start(entry: str, workload: Workload, site: Path, options: Options) -> WorkerProcess:
    """A worker that imports fastmlp from that folder and nowhere else.

    `-S` leaves out the environment's own packages (an editable fastmlp would come first); NumPy's
    folder is added behind, the same for both commits.
    """
    path = os.pathsep.join([str(site), str(Path(np.__file__).parents[1])])
    python = (sys.executable, "-S")
    env = {"PYTHONPATH": path}
    worker = WorkerProcess(entry, workload.name, options.threads, python=python, env=env)
    worker.ask("load")
    if not Path(worker.ask("where")).is_relative_to(site):
        raise PeerError(f"fastmlp was imported from {worker.ask('where')}, not from {site}")
    worker.ask("prepare", options.seconds)
    return worker


def compare(entry: str, workload: Workload, sites: Sequence[Path], options: Options) -> list[str]:
    """One row of the table."""
    expected = reference_loss(workload, None)
    with ExitStack() as stack:
        workers = {}
        for label, site in zip("AB", sites, strict=True):
            workers[label] = _start(entry, workload, site, options)
            stack.callback(workers[label].close)
            check(workers[label], workload, expected)
        turns = take_turns(workers, options)
    if turns.failed:
        raise PeerError(str(turns.failed))
    a, b = (turns.times[label] for label in "AB")
    ratios = spread([x / y for x, y in zip(a, b, strict=True)])
    low, high = ratios["quartiles"]
    return [
        workload.name,
        entry,
        report.microseconds(median(a)),
        report.microseconds(median(b)),
        f"{ratios['median']:.3f}x",
        f"{low:.3f} to {high:.3f}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a", metavar="A", help="a commit, or . for the working tree")
    parser.add_argument("b", metavar="B", help="another")
    add_measuring_arguments(parser)
    args = parser.parse_args(argv)
    check_measuring_arguments(parser, args)
    options = Options(args.rounds, args.seconds, args.threads)
    isa.limit(args.isa)

    rows = [["workload", "entry", "A", "B", "A / B", "quartiles"]]
    status = 0
    with TemporaryDirectory(prefix="fastmlp-compare-") as folder:
        sites = []
        for label, commit in (("a", args.a), ("b", args.b)):
            print(f"building {commit}", file=sys.stderr, flush=True)
            sites.append(build(commit, Path(folder, label)))
        for workload in select(args.suite, args.workload):
            for entry in (name for name in ENTRIES if PEERS[name].does(workload.suite)):
                print(f"{workload.name}, {entry}", file=sys.stderr, flush=True)
                try:
                    rows.append(compare(entry, workload, sites, options))
                except PeerError as reason:
                    rows.append([workload.name, entry, "failed", "", "", ""])
                    print(reason, file=sys.stderr)
                    status = 1
    print(f"A = {args.a}, B = {args.b}: microseconds a step or call; above 1, B is the faster")
    print(report.table(rows))
    return status


if __name__ == "__main__":
    sys.exit(main())
