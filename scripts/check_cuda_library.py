"""Check that a CUDA library exports its one function, and needs nothing of CUDA to be opened.

python scripts/check_cuda_library.py BUILD/cpp/cuda/libfastmlp_cuda.so
"""

import ctypes
import subprocess
import sys
from pathlib import Path

EXPORTED = ["fastmlp_cuda_library"]


def main(paths: list[str]) -> int:
    """Print what is wrong; returns the exit status."""
    failed = False
    for path in paths:
        listing = subprocess.run(
            ["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True
        ).stdout
        names = [line.split()[-1] for line in listing.splitlines()]
        if names != EXPORTED:
            failed = True
            print(f"{path}: FAILED: exports {names}")
        library = ctypes.CDLL(str(Path(path).resolve()))  # fails where a library is missing
        library.fastmlp_cuda_library()
        print(f"{path}: {Path(path).stat().st_size / 1e6:.1f} MB")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
