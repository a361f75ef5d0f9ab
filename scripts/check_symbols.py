"""Check that each per-ISA object file keeps its code to itself.

A function that an object compiled for AVX-512 exports under a common name may replace, when linked,
the same function compiled for the baseline, and crash older machines. So each object may define
symbols in its own namespace only.

    python scripts/check_symbols.py BUILD/.../fastmlp_avx2.dir/cpu/kernels.cpp.o ...
"""

import re
import subprocess
import sys


def foreign_symbols(path: str) -> list[str]:
    """The symbols that the object defines for others, outside the namespace of its ISA."""
    found = re.search(r"fastmlp_(\w+)\.dir", path)
    if not found:
        raise SystemExit(f"{path}: expected an object of a target fastmlp_<isa>")
    mangled = f"7fastmlp{len(found[1])}{found[1]}"
    listing = subprocess.run(
        ["nm", "--defined-only", "--extern-only", path], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines()]
    if not names:
        raise SystemExit(f"{path}: expected a table of kernels, found no symbol")
    return [name for name in names if mangled not in name and not name.startswith("DW.ref.")]


def main(paths: list[str]) -> int:
    """Print each foreign symbol; returns the exit status."""
    failed = False
    for path in paths:
        for name in foreign_symbols(path):
            failed = True
            print(f"{path}: defines {name}")
    print("symbols: FAILED" if failed else f"symbols: {len(paths)} objects keep to themselves")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
