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

AS_DESIGNED = "as designed"
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


def _design(w: Workload) -> tuple[float, str, str]:
    """Microseconds, the way, and what there is of it."""
    if not isinstance(w, Training):
        return designs.prediction(w.sizes), "one kernel for all layers", AS_DESIGNED
    if w.suite == "ensemble":
        return designs.ensemble(w.sizes, w.batch, w.models), "rows in lanes", AS_DESIGNED
    if w.suite == "tiny":
        us = designs.lanes(w.sizes, w.batch)
        is_built = len(w.sizes) == 3
        return (
            (us, "rows in lanes", AS_DESIGNED) if is_built else (us, "units in lanes", "not there")
        )
    if w.suite == "large":
        us = designs.large(w.sizes, w.batch, w.precision)
        return us, "four stages, fused epilogues", "but for the loss's epilogue"
    if designs.fits(w.sizes, w.batch, states=2 if w.optimizer == "adam" else 0):
        us = designs.persistent(w.sizes, w.batch, w.precision)
        found = designs.PERSISTENT_AS_BUILT.get(w.sizes) if w.precision == "float32" else None
        built = f"{_cell(found)}, off by default" if found else "float32 alone"
        return us, "one persistent kernel", built
    us = designs.few_kernels(w.sizes, w.batch, w.precision)
    return us, "a few kernels a step", "with a head of two kernels"


def _fallback(w: Workload) -> float | None:
    if w.suite != "medium":
        return None
    return designs.few_kernels(w.sizes, w.step_rows, w.precision)


def rows() -> list[Row]:
    known = measured()
    return [Row(w, _before(w), known.get(label(w)), *_design(w), _fallback(w)) for w in WORKLOADS]


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
