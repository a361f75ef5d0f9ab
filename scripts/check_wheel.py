"""Check files that are to be published: what is in them, their sizes, and their metadata.

python scripts/check_wheel.py FILE ...
"""

import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from fnmatch import fnmatch
from pathlib import Path

MOST_BYTES = 5_000_000
EXTENSION = ("fastmlp/_core*.so", "fastmlp/_core*.pyd")
IN_WHEEL = ("fastmlp/py.typed", "fastmlp/_core.pyi", "fastmlp/__init__.py", "*.dist-info/*LICENSE")
# Beside the package: libraries that auditwheel and its likes have put there.
FOLDERS = ("fastmlp/*", "fastmlp-*.dist-info/*", "fastmlp.libs/*", "fastmlp-*.data/*")
IN_SDIST = ("CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md", "cpp/CMakeLists.txt")
NOT_IN_SDIST = ("build/*", ".ci/*", "*.so", "*.pyd", "*.o")


def main(paths: list[str]) -> int:
    """Print a line for each file; returns the exit status."""
    problems = 0
    for path in map(Path, paths):
        found = list(_problems(path))
        problems += len(found)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", *found, sep="\n  FAILED: ")
    return int(problems > 0 or not paths)


def _problems(path: Path) -> Iterator[str]:
    if path.stat().st_size > MOST_BYTES:
        yield f"larger than {MOST_BYTES / 1e6:.0f} MB"
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if not name.endswith("/")]
            metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
            text = wheel.read(metadata).decode()
        if sum(any(fnmatch(name, one) for one in EXTENSION) for name in names) != 1:
            yield "expected one extension"
        for name in names:
            if not any(fnmatch(name, folder) for folder in FOLDERS):
                yield f"{name} does not belong there"
        wanted: tuple[str, ...] = IN_WHEEL
    else:
        with tarfile.open(path) as sdist:
            members = [member.name.partition("/")[2] for member in sdist if member.isfile()]
            info = sdist.extractfile(next(m for m in sdist if m.name.endswith("/PKG-INFO")))
            assert info is not None
            text = info.read().decode()
        names = members
        for name in names:
            if any(fnmatch(name, one) for one in NOT_IN_SDIST):
                yield f"{name} does not belong there"
        wanted = IN_SDIST
    for pattern in wanted:
        if not any(fnmatch(name, pattern) for name in names):
            yield f"{pattern} is missing"
    yield from _wrong_metadata(Parser().parsestr(text))


def _wrong_metadata(metadata: Message) -> Iterator[str]:
    if metadata["License-Expression"] != "MIT":
        yield f"the license expression is {metadata['License-Expression']}"
    if not metadata.get_payload():
        yield "there is no description"
    for name in ("Name", "Version", "Summary", "Requires-Python"):
        if not metadata[name]:
            yield f"{name} is missing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
