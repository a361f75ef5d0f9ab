"""The steps, each of which can run alone: what it runs, and how long it may take."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from typing import Any

from gpu.kernel_times import METRICS, launches, of_a_step
from gpu.report import TIMES
from on_device.binaries import Binaries
from on_device.check import Check

COUNTS = r"\d+ (passed|failed|skipped)|tests passed|tests failed"
UNPROVED = {"FASTMLP_CUDA_UNPROVED": "1"}  # what no device has shown to be right yet
PYTEST = ("-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider")
BEFORE_THE_END = 40  # seconds: a workload that has begun takes some time
SLOWEST = "cifar2"  # where nothing has been measured

Step = Callable[[Check, Binaries], None]


def device(check: Check, binaries: Binaries) -> None:
    """The device as fastmlp sees it, and the C++ programs."""
    seen = "import fastmlp.cuda as c; print(c.device_name(), 'of', c.device_count())"
    check.run("device, as fastmlp sees it", sys.executable, "-c", seen, limit=30, said=" of ")
    programs = (
        ("test_device", ()),
        ("test_groups", ("device",)),
        ("test_exchange", ("device",)),
        ("test_cuda_large_device", ()),
    )
    for name, arguments in programs:
        if path := binaries.program(name):
            check.run(f"C++: {name}", path, *arguments, limit=60, said=r"passed|failed|fine")
        else:
            check.add(f"C++: {name}", "left out: it is not among the programs")


def tests(check: Check, _: Binaries) -> None:
    """Python's tests of CUDA, in several processes where pytest-xdist is there."""
    several = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    command = (sys.executable, *PYTEST, *several)
    check.run("Python tests", *command, limit=150 if several else 280, said=COUNTS)


def _bench(check: Check, name: str, limit: float, *options: object) -> None:
    """Workloads of the benchmark; those that an earlier run of this record has are kept."""
    path = check.folder / f"{name}.json"
    arguments: list[object] = ["--json", path, "--commit", check.record["commit"]]
    if before := check.record["measured"].get(name + check.suffix):
        path.write_text(json.dumps(before))
        arguments.append("--resume")
    limit = min(limit, check.left())
    check.run(
        f"benchmark: {name}",
        *(sys.executable, "bench/run.py", "--device", "cuda", "--rounds", 3, "--seconds", 0.1),
        *("--for", f"{max(limit - BEFORE_THE_END, 1):.0f}", *arguments, *options),
        limit=limit,
    )
    check.measured(name, path)


PEERS = ("--peers", "torch-graph", "torch-compile", "jax")


def medium(check: Check, _: Binaries) -> None:
    _bench(check, "medium", 240, "--suite", "medium", *PEERS)


def large(check: Check, _: Binaries) -> None:
    """Without the network of 2048-4096x2-1024, which tells little more."""
    _bench(check, "large", 180, "--workload", "4096-4096-4096", *PEERS)


def tiny(check: Check, binaries: Binaries) -> None:
    """Tiny networks and ensembles of them."""
    _bench(check, "tiny", 150, "--suite", "tiny", "--peers", "torch-graph", "jax")
    many = (sys.executable, "bench/gpu/many.py")
    check.run("many networks", *many, limit=45, said="networks")
    if path := binaries.program("fastmlp_ensemble"):
        options = ("--suite", "ensemble", "--peers", "torch-graph", "jax", "--ensemble", path)
        _bench(check, "ensembles", 120, *options)


def predict(check: Check, _: Binaries) -> None:
    _bench(check, "predict", 120, "--suite", "predict", "--peers", "torch-graph", "jax")


def slowest(measured: dict[str, Any]) -> str:
    """The workload of medium or large size that is the farthest from its aim."""
    far: dict[str, float] = {}
    for stored in measured.values():
        for w in stored["workloads"]:
            us = w["peers"].get("fastmlp", {}).get("us")
            if us and w["suite"] in ("medium", "large") and w["name"] in TIMES:
                far[w["name"]] = us["median"] / TIMES[w["name"]]
    return max(far, key=lambda name: far[name]) if far else SLOWEST


def ncu(check: Check, _: Binaries) -> None:
    """The kernels of recorded steps of the slowest workload, with warm caches."""
    profiler = shutil.which("ncu")
    if not profiler:
        check.add("ncu", "left out: it is not there")
        return
    workload = slowest(check.record["measured"])
    output = check.run(
        f"ncu: {workload}",
        *(profiler, "--cache-control", "none", "--clock-control", "none"),
        *("--profile-from-start", "off", "--graph-profiling", "node", "--launch-count", 60),
        *("--metrics", ",".join([*METRICS.values(), "launch__block_size"]), "--csv"),
        *("--target-processes", "all", sys.executable, "bench/gpu/profiled.py", workload),
        limit=120,
    )
    if output and (found := launches(output)):
        note = "By ncu: a mean over some recorded steps, with caches as they are."
        kernels = of_a_step(found)
        check.record["profiles"][workload + check.suffix] = {"note": note, "kernels": kernels}
        check.save()
    elif output is not None:
        check.add(f"ncu: {workload}", "FAILED: it saw no kernel")


def racecheck(check: Check, binaries: Binaries) -> None:
    """A program and a few of the tests: the sanitizer takes its time."""
    sanitizer = shutil.which("compute-sanitizer")
    if not sanitizer:
        check.add("racecheck", "left out: compute-sanitizer is not there")
        return
    tool = (sanitizer, "--tool", "racecheck", "--error-exitcode", 9, "--target-processes", "all")
    few = ("tests/test_loop_equals_fit.py", "-k", "full_batches or Lion")
    said = COUNTS + "|RACECHECK SUMMARY"
    if program := binaries.program("test_device"):
        check.run("racecheck: test_device", *tool, program, limit=60, said=said)
    check.run("racecheck: Python tests", *tool, sys.executable, *PYTEST, *few, limit=120, said=said)


def unproved(check: Check, binaries: Binaries) -> None:
    """The tests again, with what is off until a device has run it."""
    before = check.env, check.suffix
    check.env, check.suffix = check.env | UNPROVED, UNPROVED_SUFFIX
    try:
        device(check, binaries)
        tests(check, binaries)
    finally:
        check.env, check.suffix = before


UNPROVED_SUFFIX = ", with FASTMLP_CUDA_UNPROVED=1"
STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (device, tests, medium, large, tiny, predict, ncu, racecheck, unproved)
}
