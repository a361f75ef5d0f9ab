"""Check that no kernel keeps registers in memory, from what ptxas says of each.

cmake ... -DFASTMLP_CUDA_VERBOSE=ON && cmake --build BUILD | tee LOG
python scripts/check_spills.py LOG
"""

import re
import subprocess
import sys
from pathlib import Path

KERNEL = re.compile(r"Function properties for (\w+)")
MEMORY = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def demangled(name: str) -> str:
    """As C++ has it, where binutils are there."""
    try:
        return subprocess.run(
            ["c++filt", name], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return name


def main(paths: list[str]) -> int:
    """Print each kernel that spills; returns the exit status."""
    kernel, count, most, spilling = "", 0, 0, 0
    for line in "\n".join(Path(path).read_text() for path in paths).splitlines():
        if found := KERNEL.search(line):
            kernel = found[1]
        elif found := MEMORY.search(line):
            count += 1
            frame, stores, loads = (int(number) for number in found.groups())
            if frame or stores or loads:
                spilling += 1
                print(
                    f"{demangled(kernel)}: {frame} bytes of stack, {stores} stored, {loads} loaded"
                )
        elif found := REGISTERS.search(line):
            most = max(most, int(found[1]))
    if not count:
        print("spills: FAILED: nothing of ptxas in the log; is FASTMLP_CUDA_VERBOSE on?")
        return 1
    told = f"{spilling} of {count} kernels and functions spill; {most} registers at most"
    print(f"spills: {'FAILED: ' if spilling else ''}{told}")
    return int(spilling > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
