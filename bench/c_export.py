"""Time an exported header, compiled, beside `predict` of one row.

python bench/c_export.py [--compiler gcc] [--rounds N] [--sizes 17 64 64 6]
"""

import argparse
import subprocess
import tempfile
import timeit
from pathlib import Path
from statistics import median

import numpy as np

import fastmlp as fm
from machine import machine

PROGRAM = """
#include <stdio.h>
#include <time.h>
#include "net.h"
int main(void)
{
  REAL x[NET_INPUTS], y[NET_OUTPUTS];
  struct timespec start, end;
  int i, calls = CALLS;
  for (i = 0; i < NET_INPUTS; ++i) x[i] = (REAL)(i % 7 - 3) / 4;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (i = 0; i < calls; ++i) {
    net_predict(x, y);
    x[0] = y[0]; /* a call waits for the one before */
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%.17g", (double)(end.tv_sec - start.tv_sec) * 1e6
                      + (double)(end.tv_nsec - start.tv_nsec) / 1e3);
  return y[0] == 12345;
}
"""
CALLS = 200_000


def compiled(
    model: fm.Module, dtype: str, folder: Path, compiler: str, weights: str | None
) -> Path:
    """A program that prints the microseconds of all its calls."""
    fm.export_c(model, folder / "net.h", weights=weights)
    real = "float" if dtype == "float32" else "double"
    text = PROGRAM.replace("REAL", real).replace("CALLS", str(CALLS))
    (folder / "main.c").write_text(text)
    command = [compiler, "-std=gnu99", "-O3", "-march=native", "main.c", "-o", "main", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "main"


def measure(program: Path, model: fm.Module, x: np.ndarray, rounds: int) -> tuple[float, float]:
    """Medians, in microseconds a call, of rounds in turns."""
    times: tuple[list[float], list[float]] = [], []
    out = model.predict(x)
    for _ in range(rounds):
        printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        times[0].append(float(printed) / CALLS)
        calls = CALLS // 4
        times[1].append(
            timeit.timeit(lambda: model.predict(x, out=out), number=calls) / calls * 1e6
        )
    return median(times[0]), median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="gcc")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[17, 64, 64, 6])
    options = parser.parse_args()
    print(machine())
    for activation in ("relu", "tanh", "sigmoid"):
        for dtype, weights in (("float32", None), ("float32", "float16"), ("float64", None)):
            model = fm.MLP(options.sizes, activation=activation, dtype=dtype, seed=0)
            x = np.random.default_rng(0).normal(size=(1, options.sizes[0])).astype(dtype)
            with tempfile.TemporaryDirectory() as folder:
                program = compiled(model, dtype, Path(folder), options.compiler, weights)
                ours, predict = measure(program, model, x, options.rounds)
            kind = f"{activation}, {dtype}" + (f", weights in {weights}" if weights else "")
            print(f"{kind}: C {ours:.3f} us, predict {predict:.3f} us, ratio {ours / predict:.2f}")


if __name__ == "__main__":
    main()
