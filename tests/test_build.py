"""What the build decides (whether and for which devices there is CUDA), and what types say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from subprocesses import TESTS

pytestmark = pytest.mark.slow
CMAKE = shutil.which("cmake")
needs_cmake = pytest.mark.skipif(
    CMAKE is None or shutil.which("ninja") is None, reason="cmake or ninja is not installed"
)


def _configure(folder: Path, capability: str | None, *options: str, **environment: str) -> str:
    """CMake's lines about CUDA, on a machine with a GPU of this capability, or without one."""
    tools = folder / "tools"
    tools.mkdir()
    script = f"echo {capability}" if capability else "exit 9"
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "nvidia-smi").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [
            *(str(CMAKE), "-S", str(TESTS.parent), "-B", str(folder / "build"), "-G", "Ninja"),
            *("-DFASTMLP_PYTHON=OFF", *options),
        ],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line for line in done.stdout.splitlines() if "CUDA" in line)


@needs_cmake
def test_cuda_is_built_where_a_gpu_is(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).mkdir()
    said = _configure(tmp_path / "a", None)
    assert "no GPU was found; FASTMLP_CUDA=ON pip install . builds it" in said
    assert "not wanted" in _configure(tmp_path / "b", "9.0", "-DFASTMLP_CUDA=OFF")
    if shutil.which("nvcc") is None:
        pytest.skip("there is no nvcc")
    assert _configure(tmp_path / "c", "9.0").endswith("for 90a")
    assert _configure(tmp_path / "d", None, "-DFASTMLP_CUDA=ON").endswith("for 90a;90-virtual")
    said = _configure(tmp_path / "e", "8.6", FASTMLP_CUDA_ARCHS="all")
    assert said.endswith("for 90a;80;75;90-virtual")


USERS_CODE = """
import numpy as np

import fastmlp as fm
from fastmlp import nn, optim

layer = fm.Linear(2, 3)
layer.weight = np.zeros((3, 2))
layer.bias[...] = 0
layer.bias = np.zeros(3)
model = fm.MLP([2, 3, 1])
model[0].weight[...] = 1
parameters: list[fm.Parameter] = list(model.parameters())
optimizer = optim.SGD(model.parameters(), lr=0.1)
loss = nn.MSELoss()(model(np.zeros((1, 2))), np.zeros((1, 1)))
value: float = loss.item()
history = fm.Trainer(model, optimizer, nn.MSELoss()).fit(
    np.zeros((1, 2)), np.zeros((1, 1)), callbacks=lambda info: print(info.loss)
)
last: float = float(history.loss[-1])
"""


def test_the_types_of_users_code(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    file = tmp_path / "users_code.py"
    file.write_text(USERS_CODE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, str(file)]
    environment = {**os.environ}
    if "site-packages" not in __import__("fastmlp").__file__:
        environment["MYPYPATH"] = str(Path(__import__("fastmlp").__file__).parents[1])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
