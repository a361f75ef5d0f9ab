"""The whole table several times: a figure for each of its cells, and how far the runs lie apart."""

from statistics import median
from typing import Any

FIGURES = ("ratio", "loop_to_torch", "peak_share")
Result = dict[str, Any]  # of one workload, as measure.measure gives it


def merge(runs: list[list[Result]]) -> list[Result]:
    """The results of all workloads, from those of each run; one run stays as it is."""
    if not runs[1:]:
        return runs[0]
    return [_merge_workload(results) for results in zip(*runs, strict=True)]


def _merge_workload(results: tuple[Result, ...]) -> Result:
    """Medians of the runs' medians and ratios; `spreads` has the least and largest figure."""
    last = results[-1]
    peers = {name: _merge_peer([r["peers"][name] for r in results]) for name in last["peers"]}
    merged = last | {"peers": peers, "spreads": {}}
    for name in FIGURES:
        if values := [r[name] for r in results if name in r]:
            merged[name] = median(values)
            merged["spreads"][name] = [min(values), max(values)]
    if "fastest_peer" in merged:
        rivals = [r["fastest_peer"] for r in results if "fastest_peer" in r]
        merged["fastest_peer"] = max(rivals, key=rivals.count)
    return merged


def _merge_peer(results: list[Result]) -> Result:
    """A peer that failed in any run has failed."""
    for result in results:
        if "us" not in result:
            return result
    medians = [result["us"]["median"] for result in results]
    us = {"median": median(medians), "spread": [min(medians), max(medians)], "runs": medians}
    return results[-1] | {"us": us}
