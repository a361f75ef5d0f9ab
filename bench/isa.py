"""Keep every library from AVX-512, for figures that stand for a machine that has only AVX2.

`python bench/isa.py avx2` shows how far each library keeps to it, by the speed of matrix products.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import report
from peers import PEERS

CHOICES = ("avx2",)
PROBED = ("torch", "jax", "sklearn", "numpy", "onnxruntime")
SIZE = 768
SECONDS = 0.3
SLACK = 1.05  # of the FMA loop's speed, which is measured too


def _numpy_features() -> str:
    """Whatever of AVX-512 this NumPy would choose at run time."""
    from numpy._core._multiarray_umath import __cpu_dispatch__

    return ",".join(n for n in __cpu_dispatch__ if n == "X86_V4" or n.startswith("AVX512"))


def _environment(isa: str) -> dict[str, str]:
    """The switches of all libraries; ONNX Runtime has none."""
    if isa not in CHOICES:
        raise ValueError(f"isa: expected one of {CHOICES}, got {isa!r}")
    # XLA compiles for what it is told, but YNNPACK, which it hands products to, does not listen
    xla = "--xla_cpu_max_isa=AVX2 --xla_cpu_experimental_ynn_fusion_type="
    return {
        "FASTMLP_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels, and those of its libraries:
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",  # products of NumPy and SciPy
        "NPY_DISABLE_CPU_FEATURES": _numpy_features(),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla}".strip(),
    }


def limit(isa: str | None) -> None:
    """Limit the libraries of all processes that this one will start."""
    if isa:
        os.environ.update(_environment(isa))


# --- the probe


def _torch(a: np.ndarray) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    t = torch.from_numpy(a)
    return lambda: t @ t


def _jax(a: np.ndarray) -> Callable[[], Any]:
    import jax

    product, x = jax.jit(lambda x: x @ x), jax.numpy.asarray(a)
    return lambda: product(x).block_until_ready()


def _onnxruntime(a: np.ndarray) -> Callable[[], Any]:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "product", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(["y"], {"x": a})


def _sklearn(a: np.ndarray) -> Callable[[], Any]:
    from scipy.linalg.blas import sgemm

    a = np.asfortranarray(a)
    return lambda: sgemm(1.0, a, a)


def _numpy(a: np.ndarray) -> Callable[[], Any]:
    return lambda: a @ a


def product_gflops(library: str) -> float:
    """GFLOP/s of a float32 product on one core."""
    if hasattr(os, "sched_setaffinity"):  # whatever the library thinks of its settings
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    product = globals()[f"_{library}"](np.ones((SIZE, SIZE), np.float32))
    best, end = float("inf"), time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        product()
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best / 1e9


def fma_gflops() -> float:
    """That of independent FMA instructions."""
    from fastmlp import _core

    return _core.fma_peak(SECONDS, 1)


def _in_process(expression: str) -> float:
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, "-c", f"import isa; print(isa.{expression})"],
        env={**os.environ, **one_thread, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def facts(isa: str, libraries: Iterable[str]) -> dict[str, Any]:
    """How far the libraries keep to the limit, which must be in force already."""
    peak = _in_process("fma_gflops()")
    speeds = {n: _in_process(f"product_gflops({n!r})") for n in PROBED if n in set(libraries)}
    return {
        "limit": isa,
        "environment": {name: os.environ[name] for name in _environment(isa)},
        "fma_gflops": peak,
        "product_gflops": speeds,
        "not_limited": [n for n, gflops in speeds.items() if gflops > SLACK * peak],
    }


def summary(found: dict[str, Any]) -> str:
    text = f"limited to {found['limit']}"
    if found["not_limited"]:
        text += f", except {', '.join(found['not_limited'])}, whose products are faster than it"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("isa", choices=CHOICES)
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    installed = [n for n in PROBED if PEERS[n].installed()]
    free = {n: _in_process(f"product_gflops({n!r})") for n in installed}
    limit(args.isa)
    found = facts(args.isa, installed)
    if args.json:
        print(json.dumps({**found, "unlimited_product_gflops": free}, indent=1))
        return
    rows = [["float32 GFLOP/s on one core", "free", args.isa]]
    rows += [[n, f"{free[n]:.0f}", f"{found['product_gflops'][n]:.0f}"] for n in installed]
    print(report.table([*rows, ["independent FMA", "", f"{found['fma_gflops']:.0f}"]]))
    print(summary(found))


if __name__ == "__main__":
    main()
