"""The tables of a GPU's figures, as text and as Markdown, and how they stand to the aims."""

from collections.abc import Iterable
from typing import Any

import report
from gpu.workloads import SUITES

Result = dict[str, Any]
NOT_MEASURED = "not measured"


def markdown_table(rows: list[list[str]]) -> str:
    """The first column to the left and the others to the right."""
    header, *lines = rows
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *lines))


def heading(stored: Result) -> list[str]:
    """What was measured on what."""
    device = stored["device"]
    lines = [
        f"Device: {device['name']}",
        *(f"{key}: {device[key]}" for key in ("driver", "clocks") if device.get(key)),
        f"Host: {stored['machine']['cpu']}, {stored['machine']['cores']} cores",
        f"Commit: {stored['commit']}; measured {stored['date']}",
    ]
    if device["emulated"]:
        lines.insert(0, "EMULATED: the kernels ran on the host's processor. No figure is a GPU's.")
    lines += [f"Left out: {name}: {reason}" for name, reason in stored["left_out"].items()]
    rounds, seconds = stored["options"]["rounds"], stored["options"]["seconds"]
    return [*lines, f"Medians of {rounds} rounds of {seconds} s, peers taking turns"]


def _suites(stored: Result) -> Iterable[tuple[str, list[Result]]]:
    emulated = ", EMULATED on the host's processor" if stored["device"]["emulated"] else ""
    for suite in SUITES:
        if rows := [w for w in stored["workloads"] if w["suite"] == suite]:
            yield report.TITLES[suite] + emulated, rows


def text(stored: Result) -> str:
    parts = ["\n".join(heading(stored))]
    for title, rows in _suites(stored):
        notes = "\n".join(f"  {line}" for line in report.notes_of(rows))
        parts.append(f"{title}\n{report.table(report.suite_rows(rows))}\n{notes}")
    if not stored["device"]["emulated"]:
        parts.append(report.table(aims(stored)))
    return "\n\n".join([*parts, _versions(stored), _summary(stored)])


def markdown(stored: Result) -> str:
    """For bench/gpu/RESULTS.md."""
    parts = ["\n".join(f"- {line}" for line in heading(stored))]
    for title, rows in _suites(stored):
        notes = "\n".join(f"- {line}" for line in report.notes_of(rows))
        parts += [f"### {title[0].upper()}{title[1:]}", markdown_table(report.suite_rows(rows))]
        parts.append(f"<details><summary>How each did its best</summary>\n\n{notes}\n\n</details>")
    if not stored["device"]["emulated"]:
        parts += ["### The aims", markdown_table(aims(stored))]
    return "\n\n".join([*parts, _versions(stored), _summary(stored)])


def _versions(stored: Result) -> str:
    found = (f"{name} {facts['version']}" for name, facts in stored["versions"].items())
    return "Versions: " + (", ".join(found) or "none")


def _summary(stored: Result) -> str:
    if stored["device"]["emulated"]:
        return "Nothing was compared: no figure is a GPU's."
    return report.summary(stored["workloads"])


# --- the aims, for an H200


def _us(stored: Result, workload: str, peer: str) -> float | None:
    """Never an emulated time, whose peer has another name."""
    for w in stored["workloads"]:
        result = w["peers"].get(peer, {})
        if w["name"] == workload and "us" in result and "failed" not in result:
            return result["us"]["median"]
    return None


def _times_faster(stored: Result, workload: str, peers: tuple[str, ...]) -> float | None:
    """The fastest of these peers' time through fastmlp's."""
    ours = _us(stored, workload, "fastmlp")
    theirs = [us for peer in peers if (us := _us(stored, workload, peer)) is not None]
    return min(theirs) / ours if ours is not None and theirs else None


TORCH = ("torch", "torch-compile", "torch-graph")
TINY = ("xor", "xor-deep", "circles", "boston", "spiral", "temperature")
FACTORS = (
    *((f"{name}: 10x JAX's scan", name, ("jax",), 10.0) for name in TINY),
    ("xor x4096: 100x PyTorch's vmap", "xor x4096", TORCH, 100.0),
    ("spiral x4096: 100x PyTorch's vmap", "spiral x4096", TORCH, 100.0),
    ("cifar2: 3x the best peer", "cifar2", (*TORCH, "jax"), 3.0),
    ("784-512-512-10: 3x the best peer", "784-512-512-10", (*TORCH, "jax"), 3.0),
    (
        "4096-4096-4096, bf16: 1.4x PyTorch compiled",
        "4096-4096-4096, bf16",
        ("torch-compile", "torch-graph"),
        1.4,
    ),
)
TIMES = (("cifar2", 15.0), ("784-512-512-10", 20.0))  # microseconds a step
SHARES = (("4096-4096-4096 b1", 0.8), ("8192-8192-8192 b1", 0.8))  # of the copy bandwidth


def aims(stored: Result) -> list[list[str]]:
    """Each aim, what was measured, and whether that reaches it."""
    rows = [["aim", "measured", "reached"]]

    def add(aim: str, value: float | None, form: str, reached: bool) -> None:
        if value is None:
            rows.append([aim, NOT_MEASURED, "-"])
        else:
            rows.append([aim, form.format(value), "yes" if reached else "no"])

    for aim, workload, peers, factor in FACTORS:
        value = _times_faster(stored, workload, peers)
        add(aim, value, "{:.2f}x", value is not None and value >= factor)
    for workload, most in TIMES:
        value = _us(stored, workload, "fastmlp")
        aim = f"{workload}: {most:.0f} us a step"
        add(aim, value, "{:.1f} us", value is not None and value < most)
    shares = {w["name"]: w.get("bandwidth_share") for w in stored["workloads"]}
    for workload, least in SHARES:
        value = shares.get(workload)
        aim = f"{workload}: {least:.0%} of the copy bandwidth"
        add(aim, value, "{:.0%}", value is not None and value >= least)
    return rows
