"""Print what nvcc made of each kernel, and check that none waits for memory without need.

    python scripts/check_sass.py BUILD/cpp/cuda/libfastmlp_cuda.so  # or objects, or .sass texts
    python scripts/check_sass.py LIBRARY --json NEW.json --before OLD.json

For its main loop and for the code behind it, the epilogue, the table has loads from global memory
in flight at a wait, and trips: waits for memory, one after the other. A defect is

- local memory: registers in memory, or an array there
- serial loads: a loop that is unrolled and yet loads value by value
- serial epilogue: code behind a product that loads, waits and stores again and again
- calls in loops: of slow paths, as divisions have them, in the main loop or a loop around it
- long code: more than the 128 KB that a multiprocessor of Hopper caches

Those in sass/known.py are told, and are no failure. It needs cuobjdump and nvdisasm, which come
with CUDA, or by pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sass.figures import Figures, figures
from sass.known import reason, unneeded
from sass.listing import read

OF_KERNELS = ("registers", "stack", "shared", "instructions", "barriers")
OF_PARTS = ("instructions", "loads", "stores", "in_flight", "trips", "barriers", "calls")
HEADER = (
    "regs", "stack", "shared", "code KB", "bars",
    "loop: instr", "loads", "in flight", "trips", "bars", "math",
    "epilogue: loads", "stores", "in flight", "trips",
)  # fmt: skip

Stored = dict[str, Any]  # a kernel, as the JSON file has it


def _math(pairs: Sequence[tuple[str, int]]) -> str:
    return "+".join(f"{n} {name}" for name, n in pairs) or "-"


def table(kernels: Sequence[Figures]) -> str:
    """A line of figures each, with the name at its end."""
    rows = [list(HEADER)]
    for f in kernels:
        main, behind = f.main, f.epilogue
        numbers = (
            f.registers, f.stack, f.shared, f.code_bytes // 1024, f.barriers, main.instructions,
            main.loads, main.in_flight, main.trips, main.barriers, _math(main.math),
            behind.loads, behind.stores, behind.in_flight, behind.trips,
        )  # fmt: skip
        rows.append([str(number) for number in numbers])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = ["kernel", *(f.name for f in kernels)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + f"  {name}"
        for row, name in zip(rows, names, strict=True)
    )


def changes(before: Stored, after: Stored) -> list[str]:
    """What differs between two kernels."""
    found = [f"{k} {before[k]} -> {after[k]}" for k in OF_KERNELS if before[k] != after[k]]
    for part in ("main", "epilogue"):
        a, b = before[part], after[part]
        found += [f"{part} {k} {a[k]} -> {b[k]}" for k in OF_PARTS if a[k] != b[k]]
        if a["math"] != b["math"]:
            found.append(f"{part} math {_math(a['math'])} -> {_math(b['math'])}")
    found += [f"no longer: {defect}" for defect in before["defects"].keys() - after["defects"]]
    return found + [f"NEW: {defect}" for defect in after["defects"].keys() - before["defects"]]


def compared(before: Sequence[Stored], after: Sequence[Stored]) -> str:
    """Of two runs, the kernels that differ."""
    old = {(k["arch"], k["name"]): k for k in before}
    new = {(k["arch"], k["name"]): k for k in after}
    lines = [f"gone: {name}" for _, name in sorted(old.keys() - new.keys())]
    lines += [f"new: {name}" for _, name in sorted(new.keys() - old.keys())]
    for key in sorted(new.keys() & old.keys()):
        if found := changes(old[key], new[key]):
            lines.append(f"{key[1]}: " + "; ".join(found))
    return "\n".join(lines) or "nothing has changed"


def verdict(kernels: Sequence[Figures]) -> tuple[list[str], bool]:
    """The defects in lines, those that are known together, and whether there are others."""
    lines, known, found = [], {}, set()
    for f in kernels:
        for defect, seen in f.defects.items():
            found.add((f.name, defect))
            if why := reason(f.name, defect):
                known.setdefault(f"{defect}: {why}", []).append(f.name)
            else:
                lines.append(f"FAILED: {f.name}: {defect}: {seen}")
    told = [f"known: {line}: {', '.join(names)}" for line, names in known.items()]
    gone = [
        f"seen no longer, and to be taken out of sass/known.py: {line}"
        for line in unneeded(found, [f.name for f in kernels])
    ]
    return [*told, *gone, *lines], bool(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 where a kernel has a defect that is not known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("paths", type=Path, nargs="+", help="a library, objects, or .sass texts")
    add("--only", default="", metavar="REGEX", help="kernels whose names have it")
    add("--json", type=Path, help="write all figures there")
    add("--before", type=Path, metavar="JSON", help="print what has changed since")
    args = parser.parse_args(argv)
    found = [kernel for path in args.paths for kernel in read(path)]
    kernels = [figures(kernel) for kernel in found if re.search(args.only, kernel.name)]
    if not kernels:
        print("sass: FAILED: there are no kernels", file=sys.stderr)
        return 1
    print(table(kernels))
    stored = json.loads(json.dumps([f.stored() for f in kernels]))
    if args.json:
        args.json.write_text(json.dumps(stored, indent=1) + "\n")
    if args.before:
        print(compared(json.loads(args.before.read_text()), stored))
    lines, failed = verdict(kernels)
    print("\n".join(lines))
    having = sum(bool(f.defects) for f in kernels)
    print(f"sass: {'FAILED: ' if failed else ''}{having} of {len(kernels)} kernels have a defect")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
