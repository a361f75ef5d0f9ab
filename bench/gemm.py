"""Matrix products alone, beside other libraries: python bench/gemm.py PROGRAM [--threads N ...]

PROGRAM is `fastmlp_gemm`, which a build with -DFASTMLP_CPP_TESTS=ON makes of gemm.cpp: it runs the
products with what fastmlp fuses into them (bias and activation, the activation's derivative, the
optimizer). The others multiply without any of that: x W, dz W^T and x^T dz.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import isa
import report
from machine import machine
from process import cores, environment

SHAPES = (
    *("128x512x784", "128x512x512", "256x256x256", "512x1024x2048", "512x2048x2048"),
    *("64x512x3072", "32x300x300", "100x500x1000", "1000x1000x1000", "1024x17x64", "97x131x259"),
)  # batch x out x in
PRODUCTS = ("x W, relu", "x W, tanh", "dz W^T, relu", "dz W^T, tanh", "dW, sgd", "dW, adam")
PEERS = ("numpy", "torch", "jax")

Rates = dict[tuple[str, str], float]  # GFLOP/s of a shape and a product


# --- a peer's round, in a process of its own


def _numpy() -> Callable[..., Callable[[], Any]]:
    def product(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
        return lambda: np.matmul(a, b)

    return product


def _torch() -> Callable[..., Callable[[], Any]]:
    import torch

    def product(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
        # Transposes stay views.
        left, right = (torch.from_numpy(v) for v in (a, b))
        return lambda: torch.mm(left, right)

    return product


def _jax() -> Callable[..., Callable[[], Any]]:
    import jax

    def product(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
        turned = not a.flags.c_contiguous, not b.flags.c_contiguous
        left, right = (
            jax.numpy.asarray(v.T if t else v) for v, t in zip((a, b), turned, strict=True)
        )
        dot = jax.jit(
            lambda p, q: jax.numpy.matmul(p.T if turned[0] else p, q.T if turned[1] else q)
        )
        return lambda: dot(left, right).block_until_ready()

    return product


def _round_of_peer(name: str, shapes: Sequence[str], dtype: str, seconds: float) -> None:
    make = {"numpy": _numpy, "torch": _torch, "jax": _jax}[name]()
    rng = np.random.default_rng(0)
    results = []
    for shape in shapes:
        m, n, k = map(int, shape.split("x"))
        x, w, dz = (rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
        for product, (a, b) in {"x W": (x, w), "dz W^T": (dz, w.T), "dW": (x.T, dz)}.items():
            run = make(a, b)
            run()
            calls, begin = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - begin) < seconds or not calls:
                run()
                calls += 1
            results.append([shape, product, 2e-9 * m * n * k * calls / elapsed])
    print(json.dumps(results))


# --- rounds


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _output(command: list[str], threads: int) -> Any:
    def keep_to_cores() -> None:  # whatever a library thinks of its settings
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    done = subprocess.run(
        command,
        text=True,
        capture_output=True,
        env={**os.environ, **environment(threads)},
        preexec_fn=keep_to_cores,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def _ours(args: argparse.Namespace, threads: int) -> tuple[Rates, float, str]:
    command = [str(args.program), str(threads), str(args.seconds), args.dtype, *args.shapes]
    printed = _output(command, threads)
    rates = {
        ("x".join(map(str, r["shape"])), r["product"]): r["gflops"] for r in printed["results"]
    }
    return rates, printed["peak"], printed["isa"]


def _peers(args: argparse.Namespace, name: str, threads: int) -> Rates:
    command = [sys.executable, __file__, "--round-of", name, "--dtype", args.dtype]
    command += ["--seconds", str(args.seconds), "--shapes", *args.shapes]
    return {(shape, product): rate for shape, product, rate in _output(command, threads)}


def measure(args: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Medians over rounds in which all take turns."""
    rounds: dict[str, list[Rates]] = {}
    peaks, names = [], ""
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}, {_threads(threads)}", file=sys.stderr)
        rates, peak, names = _ours(args, threads)
        peaks.append(peak)
        rounds.setdefault("fastmlp", []).append(rates)
        for name in args.peers:
            rounds.setdefault(name, []).append(_peers(args, name, threads))
    medians = {
        name: {key: median(r[key] for r in of_peer) for key in of_peer[0]}
        for name, of_peer in rounds.items()
    }
    rows = []
    for shape in args.shapes:
        for product in PRODUCTS:
            plain = product.split(",")[0]
            ours = medians["fastmlp"][shape, product]
            others = {name: medians[name][shape, plain] for name in args.peers}
            rows.append(
                {
                    "shape": shape,
                    "product": product,
                    "gflops": ours,
                    "peak_share": ours / median(peaks),
                    "peers": others,
                    "ratio": ours / max(others.values()) if others else None,
                }
            )
    return {"threads": threads, "isa": names, "peak": median(peaks), "rows": rows}


def table(measured: dict[str, Any], peers: Sequence[str]) -> str:
    lines = [["batch x out x in", "product", "GFLOP/s", "of peak", *peers, "ratio"]]
    for row in measured["rows"]:
        cells = [row["shape"], row["product"], f"{row['gflops']:.1f}", f"{row['peak_share']:.0%}"]
        cells += [f"{row['peers'][name]:.1f}" for name in peers]
        cells.append(f"{row['ratio']:.2f}x" if row["ratio"] else "-")
        lines.append(cells)
    peak = f"FMA peak {measured['peak']:.1f} GFLOP/s"
    title = f"{_threads(measured['threads'])}, {measured['isa']}, {peak}"
    return f"{title}\n{report.table(lines)}"


def draw(record: dict[str, Any], path: Path) -> None:
    """A roofline: the rate over the operations for each byte that a product has to move."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    size = np.dtype(record["dtype"]).itemsize
    runs = record["runs"]
    figure, all_axes = plt.subplots(
        1, len(runs), figsize=(6.5 * len(runs), 5), layout="constrained", squeeze=False
    )
    for axes, run in zip(all_axes[0], runs, strict=True):
        for product, marker in zip(PRODUCTS, "o^sDvP", strict=True):
            rows = [row for row in run["rows"] if row["product"] == product]
            sizes = [tuple(map(int, row["shape"].split("x"))) for row in rows]
            intensity = [2 * m * n * k / (size * (m * n + m * k + k * n)) for m, n, k in sizes]
            rates = [row["gflops"] for row in rows]
            axes.scatter(intensity, rates, marker=marker, s=36, alpha=0.8, label=product)
        axes.axhline(run["peak"], color="black", lw=1)
        axes.text(axes.get_xlim()[1], run["peak"], "FMA peak ", ha="right", va="bottom")
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, run["peak"] * 1.1)
        axes.set_xlabel("operations for each byte of the three matrices")
        axes.set_ylabel("GFLOP/s")
        axes.set_title(f"{run['isa']}, {_threads(run['threads'])}, {record['dtype']}")
    all_axes[0][-1].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, nargs="?", help="fastmlp_gemm, of a build with tests")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="BATCHxOUTxIN")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, cores()])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each product (0.05)")
    parser.add_argument("--isa", choices=isa.CHOICES, help="keep all libraries to it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw a roofline there")
    parser.add_argument("--round-of", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not args.program and not args.round_of:
        parser.error("the program fastmlp_gemm is missing")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = _arguments(argv)
    if args.round_of:
        return _round_of_peer(args.round_of, args.shapes, args.dtype, args.seconds)
    isa.limit(args.isa)
    record: dict[str, Any] = {"machine": machine(), "dtype": args.dtype, "runs": []}
    for threads in dict.fromkeys(args.threads):
        record["runs"].append(measure(args, threads))
        print(table(record["runs"][-1], args.peers))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    if args.picture:
        draw(record, args.picture)
    return None


if __name__ == "__main__":
    main()
