"""JAX: `jit` around `scan`, all updates of a run in one call, and `jit` of `jacrev`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from features.cases import Case, affine_weights, data, rows
from features.modules import Calls
from peers import CannotDo

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}


def start(case: Case) -> Any:
    weights = [(jnp.array(w.T), jnp.array(b)) for w, b in affine_weights(case)]
    ones, zeros = jnp.ones(case.width), jnp.zeros(case.width)
    norms = [(ones, zeros)] * (case.blocks if case.block in ("batch_norm", "layer_norm") else 0)
    return weights, norms


def forward(case: Case, params: Any, x: Any) -> Any:
    """With the statistics of the batch, which a prediction would not use; none are kept."""
    weights, norms = params
    act = ACTIVATIONS[case.activation]

    def affine(k: int, x: Any) -> Any:
        return x @ weights[k][0] + weights[k][1]

    x = affine(0, x)
    if case.block == "residual":
        x = act(x)
        for block in range(case.blocks):
            x = x + affine(2 * block + 2, act(affine(2 * block + 1, x)))
        return affine(len(weights) - 1, x)
    for k in range(case.blocks):
        if norms:
            axis = 0 if case.block == "batch_norm" else -1
            mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
            x = (x - mean) * lax.rsqrt(var + 1e-5) * norms[k][0] + norms[k][1]
        x = affine(k + 1, act(x))
    return x


class Training:
    def __init__(self, case: Case) -> None:
        self.case = case
        x, t = (a[: case.rows] for a in data(case))
        self.batches = jax.tree.map(
            lambda a: jnp.array(a).reshape(-1, case.batch, *a.shape[1:]), (x, t)
        )
        self.train = jax.jit(self.steps, static_argnums=(1,), donate_argnums=(0,))

    def reset(self) -> None:
        params = start(self.case)
        zeros = jax.tree.map(jnp.zeros_like, params)
        self.carry = jax.tree.map(jnp.array, (params, zeros, zeros, jnp.zeros(())))

    def steps(self, carry: Any, epochs: int) -> Any:
        case = self.case
        gradient = jax.grad(lambda p, x, t: ((forward(case, p, x) - t) ** 2).mean())

        def step(carry: Any, batch: Any) -> Any:
            params, m, v, n = carry
            grads, n = gradient(params, *batch), n + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
            size, root = case.lr / (1 - 0.9**n), jnp.sqrt(1 - 0.999**n)
            params = jax.tree.map(
                lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + 1e-8), params, m, v
            )
            return (params, m, v, n), None

        def epoch(carry: Any, _: Any) -> Any:
            return lax.scan(step, carry, self.batches)

        return lax.scan(epoch, carry, length=epochs)[0]

    def run(self, n: int) -> None:
        self.carry = self.train(self.carry, n // self.case.steps_per_epoch)
        jax.block_until_ready(self.carry)


def jacobian(case: Case) -> Calls:
    x = jnp.array(rows(case))
    one = jax.jacrev(partial(forward, case, start(case)))
    call = jax.jit(one if x.ndim == 1 else jax.vmap(one))
    return Calls(lambda: call(x).block_until_ready())


def build(case: Case, way: str) -> Any:
    if case.kind == "jacobian":
        return jacobian(case)
    if case.loss != "mse" or case.dropout:
        raise CannotDo("in run.py, or with random numbers or schedules of its own")
    return Training(case)
