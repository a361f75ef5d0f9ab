"""What each workload should take on an H200, by a model of its kernels: python bench/gpu/model.py

`before` is of commit 3d2a187, beside what was measured of it on 2026-11-27; `design` is what a
design would take, `as built` the kernel that is there where it falls short of it: estimates, and no
claims. kernels.py and designs.py say what they rest on.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu import designs, kernels
from gpu.workloads import WORKLOADS, label
from report import microseconds, table
from shapes import Training, Workload

RUN = Path(__file__).parent / "runs/2026-11-27-3d2a187.json"


@dataclass(frozen=True)
class Row:
    workload: Workload
    before: float | None  # microseconds; None where the model has nothing to say
    measured: float | None
    design: float
    way: str  # that leads there
    built: str  # what there is of it
    fallback: float | None  # where that way is not open, on other GPUs: a few kernels a step


def measured(run: Path = RUN) -> dict[str, float]:
    """fastmlp's microseconds in a run, the last figure of each workload."""
    found: dict[str, float] = {}
    for stored in json.loads(run.read_text())["measured"].values():
        for workload in stored["workloads"]:
            if us := workload["peers"].get("fastmlp", {}).get("us"):
                found[workload["name"]] = us["median"]
    return found


def _before(w: Workload) -> float | None:
    """Tiny networks' kernel is one long row of instructions, which no count of bytes explains."""
    if w.suite == "predict":
        return kernels.prediction(w.sizes)
    if w.suite in ("medium", "large"):
        return kernels.training(w.sizes, w.step_rows, w.precision)
    return None


def _design(w: Workload) -> tuple[float, str]:
    if not isinstance(w, Training):
        return designs.prediction(w.sizes), "one kernel for all layers"
    if w.suite == "ensemble":
        return designs.ensemble(w.sizes, w.batch, w.models), "rows in lanes"
    if w.suite == "tiny":
        way = "rows in lanes" if len(w.sizes) == 3 else "units in lanes"
        return designs.lanes(w.sizes, w.batch), way
    if w.suite == "large":
        return designs.large(w.sizes, w.batch, w.precision), "four stages, fused epilogues"
    if designs.fits(w.sizes, w.batch, states=2 if w.optimizer == "adam" else 0):
        return designs.persistent(w.sizes, w.batch, w.precision), "one persistent kernel"
    return designs.few_kernels(w.sizes, w.batch, w.precision), "a few kernels a step"


def _built(w: Workload, way: str) -> str:
    """What there is of a design, as far as it differs."""
    if way == "units in lanes":
        return "not there"
    if way == "one persistent kernel":
        us = designs.PERSISTENT_AS_BUILT.get(w.sizes) if w.precision == "float32" else None
        return f"{_cell(us)}, off by default" if us else "float32 alone"
    return "but for the loss's epilogue" if w.suite == "large" else "as designed"


def _fallback(w: Workload) -> float | None:
    if w.suite != "medium":
        return None
    return designs.few_kernels(w.sizes, w.step_rows, w.precision)


def rows() -> list[Row]:
    known = measured()
    found = []
    for w in WORKLOADS:
        us, way = _design(w)
        built = _built(w, way)
        found.append(Row(w, _before(w), known.get(label(w)), us, way, built, _fallback(w)))
    return found


def _cell(value: float | None) -> str:
    return "-" if value is None else microseconds(value)


def main() -> int:
    header = "workload", "before", "measured", "ratio", "design", "by", "as built", "or else"
    lines = [list(header)]
    for row in rows():
        both = row.before is not None and row.measured is not None
        ratio = f"{row.before / row.measured:.2f}" if both else "-"
        cells = _cell(row.before), _cell(row.measured), ratio, _cell(row.design), row.way, row.built
        lines.append([label(row.workload), *cells, _cell(row.fallback)])
    print("Microseconds a step, or a call, on an H200. All but `measured` are ESTIMATES.\n")
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
