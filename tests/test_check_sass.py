"""scripts/check_sass.py on kernels that have its defects, and on kernels that do not.

nvcc 13.0 made data/sass/small.sass of the small.cu beside it, for sm_90a: what cuobjdump prints by
-res-usage and -sass, without the encodings.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALL = ROOT / "tests/data/sass/small.sass"


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts/check_sass.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def _figures(path: Path, folder: Path) -> dict[str, Any]:
    stored = folder / "figures.json"
    _run(path, "--json", stored)
    return {kernel["name"]: kernel for kernel in json.loads(stored.read_text())}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _figures(SMALL, tmp_path_factory.mktemp("sass"))


@pytest.mark.parametrize(
    ("kernel", "defects"),
    [
        ("serial_loads", {"serial loads"}),
        ("batched_loads", set()),
        ("serial_epilogue", {"serial epilogue"}),
        ("batched_epilogue", set()),
        ("local_memory", {"local memory"}),
        ("division_in_loop", {"serial loads", "calls in loops"}),
        ("copies", set()),
    ],
)
def test_defects(small: dict[str, Any], kernel: str, defects: set[str]) -> None:
    assert set(small[kernel]["defects"]) == defects


@pytest.mark.parametrize(
    ("kernel", "part", "figures"),
    [
        ("serial_loads", "main", {"loads": 4, "in_flight": 1, "trips": 4}),
        ("batched_loads", "main", {"loads": 16, "in_flight": 16, "trips": 1}),
        ("serial_epilogue", "main", {"loads": 2, "in_flight": 2, "math": [["FFMA", 16]]}),
        ("serial_epilogue", "epilogue", {"loads": 1, "stores": 1, "in_flight": 1, "trips": 1}),
        ("batched_epilogue", "epilogue", {"loads": 4, "stores": 4, "in_flight": 2, "trips": 2}),
        ("division_in_loop", "main", {"calls": 4}),
        # three copies are under way, of which the oldest is waited for
        ("copies", "main", {"loads": 1, "in_flight": 3, "trips": 0, "barriers": 1}),
    ],
)
def test_figures(small: dict[str, Any], kernel: str, part: str, figures: dict[str, Any]) -> None:
    assert {key: small[kernel][part][key] for key in figures} == figures


def test_resources(small: dict[str, Any]) -> None:
    assert (small["copies"]["registers"], small["copies"]["shared"]) == (18, 3072)
    assert small["local_memory"]["stack"] == 256
    assert small["local_memory"]["local"] == 19


def test_status() -> None:
    failing = _run(SMALL)
    assert failing.returncode == 1
    assert "FAILED: serial_loads: serial loads: loads one by one in a turn: 4" in failing.stdout
    assert failing.stdout.endswith("sass: FAILED: 4 of 7 kernels have a defect\n")
    fine = _run(SMALL, "--only", "batched|copies")
    assert fine.returncode == 0
    assert fine.stdout.endswith("sass: 0 of 3 kernels have a defect\n")


def test_long_code(tmp_path: Path) -> None:
    lines = [f"/*{16 * k:04x}*/  FFMA R0, R0, R0, R0 ;" for k in range(8193)]
    path = tmp_path / "long.sass"
    path.write_text("\n".join(["Function : long_one", *lines]))
    assert set(_figures(path, tmp_path)["long_one"]["defects"]) == {"long code"}
    path.write_text("\n".join(["Function : long_one", *lines[:-1]]))
    assert not _figures(path, tmp_path)["long_one"]["defects"]


def test_what_is_known_is_no_failure(tmp_path: Path) -> None:
    text = SMALL.read_text().replace("serial_epilogue", "ForwardEpilogue")
    path = tmp_path / "known.sass"
    path.write_text(text)
    run = _run(path, "--only", "Epilogue")
    assert run.returncode == 0
    assert re.search(r"^known: serial epilogue: .+: ForwardEpilogue$", run.stdout, re.M)
    path.write_text(SMALL.read_text().replace("batched_epilogue", "ForwardEpilogue"))
    run = _run(path, "--only", "Epilogue")
    assert "taken out of sass/known.py: Epilogue|FewRows: serial epilogue" in run.stdout


def test_before_and_after(tmp_path: Path) -> None:
    """A kernel that was mended under its name, one that is gone and one that is new."""
    before, after = tmp_path / "before.json", tmp_path / "after.sass"
    _run(SMALL, "--only", "serial_e|copies", "--json", before)
    text = SMALL.read_text()
    for old, new in (("serial_epilogue", "x"), ("batched_epilogue", "serial_epilogue")):
        text = text.replace(old, new)
    after.write_text(text)
    run = _run(after, "--only", "serial_", "--before", before)
    assert "\ngone: copies\nnew: serial_loads\nserial_epilogue: " in run.stdout
    assert "epilogue in_flight 1 -> 2; " in run.stdout
    assert "; no longer: serial epilogue\n" in run.stdout
    assert (
        "nothing has changed" in _run(SMALL, "--only", "serial_e|copies", "--before", before).stdout
    )


def test_no_kernels(tmp_path: Path) -> None:
    path = tmp_path / "none.sass"
    path.write_text("\n")
    run = _run(path)
    assert run.returncode == 1
    assert run.stderr == "sass: FAILED: there are no kernels\n"
