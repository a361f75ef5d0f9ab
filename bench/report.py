"""The table, and what it leaves out."""

from collections.abc import Iterable
from typing import Any

TITLES = {
    "tiny": "tiny networks, training: microseconds a step",
    "medium": "medium networks, training: microseconds a step",
    "large": "large networks, training: microseconds a step",
    "predict": "prediction: microseconds a call from Python",
    "ensemble": "many tiny networks at once, training: microseconds a step of all",
}


def microseconds(value: float) -> str:
    """About three digits, without an exponent."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def table(rows: list[list[str]]) -> str:
    """Text columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cell(result: dict[str, Any] | None) -> str:
    if not result or "left_out" in result:
        return "-"
    return microseconds(result["us"]["median"]) if "us" in result else "failed"


def _figure(workload: dict[str, Any], key: str, form: str) -> str:
    """Of several runs: the median, and the least and the largest."""
    if key not in workload:
        return "-"
    text = form.format(workload[key])
    if ends := workload.get("spreads", {}).get(key):
        text += f" ({' to '.join(map(form.format, ends))})"
    return text


def _columns(workloads: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Header and cells of each column that has something to show."""
    names = dict.fromkeys(name for w in workloads for name in w["peers"])
    columns = {name: [_cell(w["peers"].get(name)) for w in workloads] for name in names}
    columns["fastest peer"] = [w.get("fastest_peer", "-") for w in workloads]
    for header, key, form in (
        ("ratio", "ratio", "{:.2f}x"),
        ("loop / torch", "loop_to_torch", "{:.1f}x"),
        ("of FMA peak", "peak_share", "{:.0%}"),
        ("TFLOP/s", "tflops", "{:.1f}"),
        ("of copy bandwidth", "bandwidth_share", "{:.0%}"),
    ):
        if any(key in w for w in workloads):
            columns[header] = [_figure(w, key, form) for w in workloads]
    return columns


def suite_rows(workloads: list[dict[str, Any]]) -> list[list[str]]:
    columns = _columns(workloads)
    cells = zip(*columns.values(), strict=True)
    lines = [[w["name"], *line] for w, line in zip(workloads, cells, strict=True)]
    return [["workload", *columns], *lines]


def suite_table(suite: str, workloads: list[dict[str, Any]]) -> str:
    notes = "\n".join(f"  {line}" for line in notes_of(workloads))
    return f"{TITLES[suite]}\n{table(suite_rows(workloads))}\n{notes}"


def notes_of(workloads: Iterable[dict[str, Any]]) -> list[str]:
    """How each peer did its best, and why one has no figure."""
    lines = []
    for w in workloads:
        ways = []
        for name, r in w["peers"].items():
            if "failed" in r:
                lines.append(f"{w['name']}: {name} FAILED: {r['failed']}")
            elif "left_out" in r:
                lines.append(f"{w['name']}: no {name}: {r['left_out']}")
            else:
                threads = f", {r['threads']} thr" if "threads" in r else ""
                ways.append(f"{name} {r['mode']}{threads}")
        if ways:
            lines.append(f"{w['name']}: " + "; ".join(ways))
    return lines


def summary(workloads: list[dict[str, Any]]) -> str:
    """Wins and losses in one sentence each."""
    compared = [w for w in workloads if "ratio" in w]
    if not compared:
        return "fastmlp was not compared."
    lost = [w for w in compared if w["ratio"] <= 1]
    text = f"fastmlp is the fastest in {len(compared) - len(lost)} of {len(compared)} workloads."
    if lost:
        names = (f"{w['name']} ({w['ratio']:.2f}x, {w['fastest_peer']})" for w in lost)
        text += " Slower in: " + ", ".join(names) + "."
    return text
