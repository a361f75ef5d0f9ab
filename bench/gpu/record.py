"""The record of all runs on devices: their data in bench/gpu/runs, and RESULTS.md of them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import report as tables
from gpu import report
from gpu.workloads import WORKLOADS, label

Run = dict[str, Any]

INTRODUCTION = """\
# On a GPU

What ran on a device, and what came of it; the newest first. `scripts/gpu_check` writes this file
from `runs/`, to which it adds a run. What is newer than the newest commit here has run on the
emulated device alone, and nothing is known of its speed. `python bench/gpu/model.py` prints what a
model of the kernels says of each workload."""


def new(commit: str, date: str, device: str) -> Run:
    """A run of which nothing is known yet."""
    about: Run = {"commit": commit, "date": date, "device": device}
    return about | {"facts": [], "notes": [], "parts": [], "measured": {}, "profiles": {}}


def load(folder: Path) -> list[Run]:
    """All runs, the newest first."""
    runs = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sorted(runs, key=lambda run: run["date"], reverse=True)


def write(results: Path) -> None:
    """RESULTS.md of the runs in the folder beside it."""
    results.write_text(render(load(results.parent / "runs")))


def render(runs: Iterable[Run]) -> str:
    return "\n\n".join([INTRODUCTION, *map(_section, runs)]) + "\n"


def merged(measured: Iterable[Run]) -> Run:
    """Several measurements as one: of a workload the figures beside the most peers."""
    stored = list(measured)
    found: dict[str, Run] = {}
    for one in stored:
        for workload in one["workloads"]:
            before = found.get(workload["name"])
            if before is None or len(before["peers"]) <= len(workload["peers"]):
                found[workload["name"]] = workload
    order = [label(w) for w in WORKLOADS]
    options = [one["options"] for one in stored]
    versions: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for one in stored:
        versions |= one["versions"]
        left_out |= one["left_out"]
    return {
        **stored[-1],
        "date": min(one["date"] for one in stored),
        "options": {key: min(o[key] for o in options) for key in ("rounds", "seconds")},
        "versions": versions,
        "left_out": left_out,
        "workloads": sorted(found.values(), key=lambda w: order.index(w["name"])),
    }


def _section(run: Run) -> str:
    text = [f"## {run['date']}, commit {run['commit']}, {run['device']}"]
    if run["facts"]:
        text.append("\n".join(f"- {fact}" for fact in run["facts"]))
    text += run["notes"]
    if run["parts"]:
        rows = [["part", "", "seconds"]]
        for name, state, seconds, _ in run["parts"]:
            rows.append([name, state, "" if seconds is None else f"{seconds:.0f}"])
        text.append(report.markdown_table(rows))
    for name, state, _, detail in run["parts"]:
        if detail:
            text.append(f"{name}: {state}\n\n```\n{detail}\n```")
    if run["measured"]:
        body = report.markdown(merged(run["measured"].values()))
        text += ["### Measured", body.replace("\n### ", "\n#### ")]
    for title, profile in run["profiles"].items():
        text += [f"### Profile: {title}", profile["note"], _profile(profile["kernels"])]
    return "\n\n".join(text)


def _profile(kernels: Iterable[Run]) -> str:
    rows = [["kernel", "blocks", "registers", "us", "of SM's peak", "of memory's peak"]]
    total = 0.0
    for k in kernels:
        total += k["us"]
        numbers = f"{k['blocks']}", f"{k['registers']}", f"{k['us']:.1f}"
        rows.append([f"`{k['name']}`", *numbers, f"{k['sm']:.0f}%", f"{k['memory']:.0f}%"])
    rows.append(["all of a step", "", "", tables.microseconds(total), "", ""])
    return report.markdown_table(rows)
