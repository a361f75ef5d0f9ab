"""The kernels of a step, from what ncu prints as CSV of several steps."""

import csv
import re
from collections.abc import Iterable
from typing import Any

METRICS = {
    "us": "gpu__time_duration.sum",  # in nanoseconds
    "sm": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "memory": "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    "blocks": "launch__grid_size",
    "registers": "launch__registers_per_thread",
}


def launches(printed: str) -> list[dict[str, Any]]:
    """Each launch in turn: its kernel's name and the metrics."""
    found: dict[str, dict[str, Any]] = {}
    lines = (line for line in printed.splitlines() if line.startswith('"'))
    for row in csv.DictReader(lines):
        launch = found.setdefault(row["ID"], {"name": short(row["Kernel Name"])})
        for key, metric in METRICS.items():
            if row["Metric Name"] == metric:
                value = float(row["Metric Value"].replace(",", ""))
                launch[key] = value / 1e3 if key == "us" else value
    return [launch for launch in found.values() if METRICS.keys() <= launch.keys()]


def short(name: str) -> str:
    """Without namespaces, the entry around each kernel, and arguments."""
    if "cutlass" in name:
        return "CUTLASS"
    name = name.removeprefix("void ").replace("entry<unnamed>::", "entry<")
    name = re.sub(r"<unnamed>::|\b\w+::", "", name).partition("(")[0]
    if name.startswith("entry<"):
        name = name.removeprefix("entry<").removesuffix(">")
    return name


def of_a_step(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the steps that the launches repeat; all of them where they repeat none."""
    keys = [(launch["name"], launch["blocks"]) for launch in found]
    period = next(
        (
            p
            for p in range(1, len(keys) // 2 + 1)
            if all(a == b for a, b in zip(keys, keys[p:], strict=False))
        ),
        len(keys),
    )
    return [_mean(found[k::period]) for k in range(period)]


def _mean(same: Iterable[dict[str, Any]]) -> dict[str, Any]:
    rows = list(same)
    means = {key: sum(row[key] for row in rows) / len(rows) for key in ("us", "sm", "memory")}
    whole = {key: int(rows[0][key]) for key in ("blocks", "registers")}
    return {"name": rows[0]["name"]} | whole | {k: round(v, 2) for k, v in means.items()}
