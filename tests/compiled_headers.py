"""Headers of `fm.export_c`, compiled and called."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"]
LANGUAGES = {"gcc": "c99", "clang": "c99", "g++": "c++11", "clang++": "c++11"}
COMPILERS = [name for name in LANGUAGES if shutil.which(name)]
C_COMPILERS = [name for name in COMPILERS if LANGUAGES[name] == "c99"]


def compile_c(compiler: str, source: Path, output: Path, *options: str) -> None:
    """Compile a file; its warnings are errors, which end the test."""
    command = [compiler, f"-std={LANGUAGES[compiler]}", *WARNINGS, *options]
    command += ["-o", str(output), str(source), *([] if "-c" in options else ["-lm"])]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]


class Library:
    """Networks by their names; their headers lie in a folder and are included in one file.

    `networks` has each network's type.
    """

    def __init__(
        self, compiler: str, folder: Path, networks: dict[str, str], *options: str
    ) -> None:
        source = folder / f"{compiler}.{'cpp' if '+' in compiler else 'c'}"
        source.write_text(_source(networks))
        # Linked without the options: -ffast-math would rid the whole process of denormal numbers.
        part, output = folder / f"{compiler}.o", folder / f"{compiler}.so"
        compile_c(compiler, source, part, "-c", "-fPIC", *(options or ("-O1",)))
        subprocess.run([compiler, "-shared", "-o", output, part, "-lm"], check=True)
        self.library = ctypes.CDLL(str(output))
        self.networks = networks

    def sizes(self, name: str) -> tuple[int, int, int]:
        """Inputs, outputs, workspace."""
        array = (ctypes.c_int * 3).in_dll(self.library, f"sizes_{name}")
        return array[0], array[1], array[2]

    def predict(self, name: str, x: np.ndarray) -> np.ndarray:
        """Row by row."""
        return self._rows(name, x, getattr(self.library, f"run_{name}"))

    def predict_with(self, name: str, x: np.ndarray) -> np.ndarray:
        """Row by row, in a workspace of this call's own, which begins as NaN."""
        workspace = np.full(self.sizes(name)[2] + 1, np.nan, x.dtype)
        workspace[-1] = 5
        run = getattr(self.library, f"run_{name}_with")
        y = self._rows(name, x, run, _address(workspace))
        assert workspace[-1] == 5
        return y

    def _rows(self, name: str, x: np.ndarray, run: object, *more: object) -> np.ndarray:
        inputs, outputs, _ = self.sizes(name)
        x = np.ascontiguousarray(x, self.networks[name])
        assert x.shape[1:] == (inputs,)
        y = np.full((len(x), outputs + 1), 7, x.dtype)  # one beyond the end of each
        for row, result in zip(x, y, strict=True):
            run(_address(row), _address(result), *more)  # type: ignore[operator]
        assert (y[:, -1] == 7).all()
        return y[:, :-1]


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _source(networks: dict[str, str]) -> str:
    lines: list[str] = []
    for name, dtype in networks.items():
        kind = "float" if dtype == "float32" else "double"
        lines += [f'#include "{name}.h"', f'#include "{name}.h"']
        lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif"]
        sizes = ", ".join(f"{name.upper()}_{what}" for what in ("INPUTS", "OUTPUTS", "WORKSPACE"))
        lines += [f"extern const int sizes_{name}[3];"]
        lines += [f"const int sizes_{name}[3] = {{{sizes}}};"]
        for suffix, more, given in (("", "", ""), ("_with", f", {kind} *w", ", w")):
            signature = f"void run_{name}{suffix}(const {kind} *x, {kind} *y{more})"
            lines += [f"{signature};", f"{signature} {{ {name}_predict{suffix}(x, y{given}); }}"]
        lines += ["#ifdef __cplusplus", "}", "#endif"]
    return "\n".join(lines) + "\n"


def assert_close(got: np.ndarray, want: np.ndarray, factor: float = 1) -> None:
    """Within 1e-6 of the output's size, in float64 within 1e-12."""
    want = np.asarray(want).reshape(got.shape)
    error = np.abs(got.astype("f8") - want).max()
    tolerance = factor * (1e-6 if got.dtype == np.float32 else 1e-12)
    assert error <= tolerance * np.abs(want).max(), (error, np.abs(want).max())
