"""Jacobians with respect to the input, beside torch.func.jacrev and jax.jacrev where installed.

python bench/jacobian.py [--rounds N] [--threads N] [--rows N ...]

Medians of interleaved rounds, in microseconds for a call from Python on float32 arrays: NumPy's for
fastmlp, torch's and JAX's own for the others (compiled by jax.jit, by torch.func.vmap).
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import fastmlp as fm

NETWORKS = ((17, 64, 64, 6), (2, 10, 1), (100, 256, 256, 10))
Call = Callable[[], object]


def fastmlp_call(model: fm.Sequential, x: np.ndarray) -> Call:
    return lambda: model.jacobian(x)


def torch_call(model: fm.Sequential, x: np.ndarray, threads: int) -> Call | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    layers = []
    for module in model:
        if isinstance(module, fm.Linear):
            layers.append(torch.nn.Linear(module.in_features, module.out_features))
        else:
            layers.append(torch.nn.Tanh())
    net = torch.nn.Sequential(*layers)
    for own, other in zip(net.parameters(), model.parameters(), strict=True):
        own.data = torch.from_numpy(np.array(other))
    rows = torch.from_numpy(x)
    jacobian = torch.func.jacrev(net)
    if x.ndim == 1:
        return lambda: jacobian(rows)
    batched = torch.func.vmap(jacobian)
    return lambda: batched(rows)


def jax_call(model: fm.Sequential, x: np.ndarray) -> Call | None:
    try:
        import jax
    except ImportError:
        return None
    weights = [np.array(p) for p in model.parameters()]

    def forward(row: jax.Array) -> jax.Array:
        for i in range(0, len(weights), 2):
            row = weights[i] @ row + weights[i + 1]
            if i + 2 < len(weights):
                row = jax.numpy.tanh(row)
        return row

    jacobian = jax.jacrev(forward)
    compiled = jax.jit(jacobian if x.ndim == 1 else jax.vmap(jacobian))
    rows = jax.numpy.asarray(x)
    return lambda: compiled(rows).block_until_ready()


def seconds(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32, 1024])
    options = parser.parse_args()
    fm.set_num_threads(options.threads)
    print(f"{'network':>16} {'rows':>6}  us a call")
    for sizes in NETWORKS:
        model = fm.MLP(sizes, "tanh", seed=0)
        for count in options.rows:
            x = np.random.default_rng(0).normal(size=(count, sizes[0])).astype("float32")
            if count == 1:
                x = x[0]
            calls = {
                "fastmlp": fastmlp_call(model, x),
                "torch": torch_call(model, x, options.threads),
                "jax": jax_call(model, x),
            }
            found = {name: call for name, call in calls.items() if call is not None}
            for call in found.values():
                call()
            repeats = {n: max(1, int(0.02 / seconds(call, 2))) for n, call in found.items()}
            times: dict[str, list[float]] = {name: [] for name in found}
            for _ in range(options.rounds):
                for name, call in found.items():
                    times[name].append(seconds(call, repeats[name]))
            medians = "  ".join(f"{name} {1e6 * median(t):.2f}" for name, t in times.items())
            print(f"{'-'.join(map(str, sizes)):>16} {count:>6}  {medians}", flush=True)


if __name__ == "__main__":
    main()
