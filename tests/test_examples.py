"""Every example runs, in a process of its own, with few epochs, with and without matplotlib."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastmlp import plot

EXAMPLES = Path(__file__).parent.parent / "examples"
# What each example prints, and the picture that it saves.
EXPECTED = {
    "activations.py": (r"LeakyReLU.*: from -1 to 10\n", "activations.png"),
    "boston.py": (r"final loss \d+\.\d+\n", "boston.png"),
    "c_header.py": (r"predict gives (-?\d\.\d{5})\d\n(.* C gives \1|there is no compiler)", None),
    "cifar2.py": (r"epoch 2: loss \d.*\naccuracy \d\.\d+ on 4 test images\n", None),
    "circles.py": (r"epoch 0: loss 0\.\d+\n.*accuracy 0\.\d+\n", "circles.png"),
    "early_stopping.py": (r"3 epochs, the best one.*multiply-adds", "early_stopping.png"),
    "schedules.py": (r"one cycle.*final loss 0\.\d+.*cosine.*final loss 0\.\d+", "schedules.png"),
    "spiral_custom_loop.py": (r"epoch 0: loss 1\.\d+\naccuracy 0\.\d+\n", None),
    "spiral_trainer.py": (r"final loss 1\.\d+\naccuracy 0\.\d+\n", "spiral.png"),
    "temperature.py": (
        r"hidden_linear\.weight \(8, 1\)\n.*epoch 1: training loss",
        "temperature.png",
    ),
    "weights.py": (r"no weights +finds.*\nweights of rows +finds.*one's own +finds", None),
    "xor.py": (r"0 0\.\d+\n.*accuracy +0\.\d+\n", None),
}


def _run(name: str, folder: Path, **environment: str) -> str:
    command = [sys.executable, str(EXAMPLES / name)]
    if name == "cifar2.py":
        random = np.random.default_rng(0)
        x, y = random.integers(0, 256, (4, 3072), dtype=np.uint8), np.array([0, 1, 0, 1])
        np.savez(folder.parent / "images.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        command.append(str(folder.parent / "images.npz"))
    if name != "activations.py":
        command += ["--epochs", "3"]
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def test_every_example_is_tested() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name: str, folder: Path) -> None:
    printed, picture = EXPECTED[name]
    assert re.search(printed, _run(name, folder), re.DOTALL)
    expected = [picture] if picture and plot.is_available() else []
    assert [path.name for path in folder.iterdir()] == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_example_without_matplotlib(name: str, folder: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # Python imports sitecustomize as it starts.
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    search = os.pathsep.join(filter(None, [str(hidden), os.environ.get("PYTHONPATH")]))
    _run(name, folder, PYTHONPATH=search)
    assert not list(folder.iterdir())
