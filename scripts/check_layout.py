"""Check the layout of the sources: dependencies one way, no import circles, no very long file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 420
# A folder of the C++ sources, and the folders that it may include from, beside itself.
INCLUDES = {
    "ops": set(),
    "core": {"ops"},
    "cpu": {"core", "ops"},
    "cuda": {"core", "ops"},
    "bindings": {"core", "ops"},
}
# Of core/, what kernels may know.
FOR_KERNELS = re.compile(
    r"core/(contracts/\w+|backend|batch|cuda_library|device|dropout|float_mode|philox|rng|types)\.h"
)


def _sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def _long_files(sources: list[Path]) -> Iterator[str]:
    for path in sources:
        if path.suffix in (".py", ".h", ".cpp", ".cu") and "coefficients" not in path.name:
            lines = len(path.read_text().splitlines())
            if lines > MOST_LINES:
                yield f"{path.relative_to(ROOT)}: {lines} lines"


def _wrong_includes(sources: list[Path]) -> Iterator[str]:
    for path in sources:
        place = path.relative_to(ROOT).parts
        if (
            place[0] != "cpp"
            or place[1] not in INCLUDES
            or path.suffix not in (".h", ".cpp", ".cu")
        ):
            continue
        for target in re.findall(r'#include "([\w/.]+)"', path.read_text()):
            folder = target.split("/")[0]
            known = folder == place[1] or folder in INCLUDES[place[1]]
            if place[1] in ("cpu", "cuda") and folder == "core":
                known = FOR_KERNELS.fullmatch(target) is not None
            if not known:
                yield f"{path.relative_to(ROOT)} includes {target}"


def _imports(folder: Path, package: str) -> dict[str, set[str]]:
    """Of each module, the others of its folder that it imports, be it for types alone."""
    paths = {}
    for path in folder.rglob("*.py"):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        paths[".".join(part for part in parts if part and part != "__init__")] = path
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                members = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [m if m in paths else node.module for m in members]
            graph[name] |= {t for t in targets if t in paths and t not in (name, package)}
    return graph


def _circles(graph: dict[str, set[str]]) -> Iterator[str]:
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> Iterator[str]:
        if name in way:
            yield " -> ".join([*way[way.index(name) :], name])
            return
        if name in done:
            return
        for other in sorted(graph[name]):
            yield from walk(other, [*way, name])
        done.add(name)

    for name in sorted(graph):
        yield from walk(name, [])


def main() -> int:
    sources = _sources()
    problems = [*_long_files(sources), *_wrong_includes(sources)]
    for folder, package in (("python/fastmlp", "fastmlp"), ("bench", ""), ("tests", "")):
        problems += _circles(_imports(ROOT / folder, package))
    print("\n".join(problems) or "the layout is in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
