"""Fail where a matrix product's innermost loop keeps sums on the stack instead of in registers.

    python scripts/check_microkernels.py BUILD/.../fastmlp_avx2.dir/cpu/kernels.cpp.o ...

A sum that travels to the stack and back in every round costs more than half of the speed. It takes
one forgotten unrolling, and no test of results shows it. Needs objdump; x86 only.
"""

import re
import subprocess
import sys
from collections.abc import Iterator

FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>.*)>:$")
LINE = re.compile(r"^\s*(?P<address>[0-9a-f]+):\s+(?P<operation>\S+)\s*(?P<operands>[^#<]*)")
STACK = re.compile(r"\(%r[sb]p")


def _functions(path: str) -> Iterator[tuple[str, list[tuple[int, str, str]]]]:
    """Name and instructions (address, operation, operands) of each microkernel."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", path]
    listing = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    name, lines = "", []
    for line in listing.splitlines():
        if match := FUNCTION.match(line):
            if lines:
                yield name, lines
            name, lines = match["name"], []
        elif "compute_tile<" in name and (match := LINE.match(line)):
            lines.append((int(match["address"], 16), match["operation"], match["operands"].strip()))
    if lines:
        yield name, lines


def _loops(lines: list[tuple[int, str, str]]) -> Iterator[list[tuple[int, str, str]]]:
    """The innermost loops: from a jump's target back to the jump, without another jump between."""
    places = {address: number for number, (address, _, _) in enumerate(lines)}
    for end, (address, operation, operands) in enumerate(lines):
        if not operation.startswith("j") or not re.fullmatch(r"[0-9a-f]+", operands):
            continue
        target = int(operands, 16)
        if target >= address or target not in places:
            continue
        body = lines[places[target] : end]
        if not any(inner.startswith("j") for _, inner, _ in body):
            yield body


def main(paths: list[str]) -> int:
    kernels = loops = 0
    spilling = []
    for path in paths:
        for name, lines in _functions(path):
            kernels += 1
            for body in _loops(lines):
                if sum(o.startswith(("vfmadd", "vdpbf16ps")) for _, o, _ in body) < 2:
                    continue
                loops += 1
                vectors = [o for _, _, o in body if re.search(r"%[xyz]mm", o)]
                if any(STACK.search(operands) for operands in vectors):
                    spilling.append(f"{path}: {name}")
    for line in dict.fromkeys(spilling):
        print(f"sums on the stack: {line}")
    print(f"{loops} loops of {kernels} microkernels, {len(set(spilling))} with sums on the stack")
    return 1 if spilling or not loops else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
