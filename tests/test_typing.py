"""Types: a script with every public name, which type checkers accept, and which runs."""

import ast
import importlib
import importlib.util
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("typing") / "every_name.py"
PYTHON = Path(__file__).parents[1] / "python"
# Names of the package that stand for modules are told by the modules' own names.
MODULES = (
    *("fastmlp", "fastmlp.callbacks", "fastmlp.datasets", "fastmlp.init", "fastmlp.lr_scheduler"),
    *("fastmlp.optim", "fastmlp.nn.utils", "fastmlp.distributed", "fastmlp.torch"),
)


def _mentioned() -> set[str]:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return attributes | {alias.name for node in imported for alias in node.names}


def test_every_name_is_there() -> None:
    known = _mentioned()
    of_torch = ("fastmlp.distributed", "fastmlp.torch")
    for module in MODULES:
        if module in of_torch and importlib.util.find_spec("torch") is None:
            continue
        missing = set(importlib.import_module(module).__all__) - known
        assert not missing, module


def test_it_runs(tmp_path: Path, capsys: Any) -> None:
    runpy.run_path(str(SCRIPT))["main"](tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types(checker: str, tmp_path: Path) -> None:
    """As a user's checker sees the installed package: by its py.typed and its stubs."""
    program = shutil.which(checker, path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip(f"{checker} is not installed")
    options = {
        "mypy": ["--strict", "--cache-dir", str(tmp_path), "--config-file", ""],
        "pyright": ["--pythonpath", sys.executable],
    }[checker]
    copy = tmp_path / "script.py"
    copy.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [program, *options, str(copy)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
