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


TIMES = {  # microseconds a step, or a call
    "xor": 0.8, "xor-deep": 2.0, "circles": 3.0, "boston": 5.0, "spiral": 2.0, "temperature": 1.5,
    "cifar2": 15.0, "cifar2, tf32": 10.0, "cifar2, bf16": 8.0,
    "784-512-512-10": 20.0, "784-512-512-10, tf32": 12.0, "784-512-512-10, bf16": 12.0,
    "100-256x3-1": 20.0, "100-256x3-1, tf32": 16.0, "100-256x3-1, bf16": 16.0,
    "4096-4096-4096": 1750.0, "4096-4096-4096, bf16": 175.0,
    "2-10-3 b1": 6.0, "3072-512-2 b1": 8.0, "8192-8192-8192 b1": 140.0,
    "xor x4096": 4.0, "spiral x4096": 15.0,
}  # fmt: skip


def aims(stored: Result) -> list[list[str]]:
    """Each aim, what was measured, and whether that reaches it; and whether no peer is faster."""
    ratios = {w["name"]: w.get("ratio") for w in stored["workloads"]}
    rows = [["aim", "measured", "reached", "ahead of every peer"]]
    for workload, most in TIMES.items():
        ratio = ratios.get(workload)
        ahead = "-" if ratio is None else f"{'yes' if ratio > 1 else 'no'} ({ratio:.2f}x)"
        aim = f"{workload}: {report.microseconds(most)} us"
        us = _us(stored, workload, "fastmlp")
        if us is None:
            rows.append([aim, NOT_MEASURED, "-", ahead])
        else:
            rows.append([aim, report.microseconds(us), "yes" if us <= most else "no", ahead])
    return rows
