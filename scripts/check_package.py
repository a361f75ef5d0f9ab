"""Check what the installed package costs: its size, and what its import brings in.

python scripts/check_package.py
"""

import json
import subprocess
import sys
from importlib import metadata

MOST_BYTES = 5_000_000  # without the CUDA library, which only some builds have
CUDA_LIBRARY = "libfastmlp_cuda.so"
ALLOWED = {"fastmlp", "numpy"}

# Third-party packages that the import loads, beyond what the interpreter starts with.
PROBE = """
import json, sys, time
at_start = set(sys.modules)
import numpy
begin = time.perf_counter()
import fastmlp
elapsed = time.perf_counter() - begin
packages = {name.partition(".")[0] for name in set(sys.modules) - at_start}
path = lambda name: getattr(sys.modules[name], "__file__", "") or ""
foreign = [name for name in packages if "site-packages" in path(name)]
print(json.dumps({"elapsed": elapsed, "packages": sorted(foreign)}))
"""


def main() -> int:
    """Print both; returns the exit status."""
    files = metadata.files("fastmlp") or []
    cuda = sum(file.size or 0 for file in files if file.name == CUDA_LIBRARY)
    size = sum(file.size or 0 for file in files) - cuda
    print(f"installed size: {size / 1e6:.2f} MB in {len(files)} files")
    if cuda:
        print(f"with {CUDA_LIBRARY}: {cuda / 1e6:.2f} MB more")
    output = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    ).stdout
    probe = json.loads(output)
    print(f"import fastmlp: {probe['elapsed'] * 1e3:.0f} ms after numpy; {probe['packages']}")
    extra = set(probe["packages"]) - ALLOWED
    if extra:
        print(f"FAILED: the import loads {sorted(extra)}")
    if size > MOST_BYTES:
        print(f"FAILED: the package is larger than {MOST_BYTES / 1e6:.0f} MB")
    return int(bool(extra) or size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
