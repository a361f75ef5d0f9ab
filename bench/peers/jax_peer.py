"""JAX: `jit` around `scan`, so that all updates of a run are one call of compiled code."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from problems import Problem
from reference import ADAM_BETAS, ADAM_EPS

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def forward(activation, params, x):
    *hidden, (w, b) = params
    for hidden_w, hidden_b in hidden:
        x = activation(x @ hidden_w + hidden_b)
    return x @ w + b


def _cross_entropy(z, t):
    """With one-hot targets: the gradient of picking by index is a scatter, which is slow."""
    return -(jax.nn.log_softmax(z) * t).sum(1).mean()


# as in reference.py, of the last layer before its activation
LOSSES = {
    "mse": lambda z, t: jnp.square(z - t).mean(),
    "bce": lambda z, t: (jnp.logaddexp(z, 0) - t * z).mean(),
    "cross_entropy": _cross_entropy,
    "nll": _cross_entropy,
}


def _sgd(lr, params, state, grads):
    return jax.tree.map(lambda p, g: p - lr * g, params, grads), state


def _adam(lr, params, state, grads):
    (b1, b2), (updates, first, second) = ADAM_BETAS, state
    updates = updates + 1
    first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, grads)
    second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, second, grads)
    size = -lr / jnp.expm1(updates * math.log(b1))
    root = jnp.sqrt(-jnp.expm1(updates * math.log(b2)))
    params = jax.tree.map(
        lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + ADAM_EPS), params, first, second
    )
    return params, (updates, first, second)


JIT = {"static_argnames": ("self", "n", "unroll"), "donate_argnames": "carry"}


class Training:
    modes = ("unroll 1", "unroll 4")
    forward = staticmethod(forward)

    def __init__(self, problem: Problem):
        jax.clear_caches()  # what was compiled for an earlier problem
        self.problem = problem
        w = problem.workload
        t = problem.t
        if t.ndim == 1:
            t = np.eye(w.sizes[-1], dtype=np.float32)[t]
        self.batches = tuple(
            jnp.asarray(a).reshape(w.steps_per_epoch, w.batch, -1) for a in (problem.x, t)
        )

    def reset(self, mode):
        params = jax.tree.map(jnp.array, self.problem.weights)
        state = ()
        if self.problem.workload.optimizer == "adam":
            zeros = partial(jax.tree.map, jnp.zeros_like)
            state = (jnp.zeros(()), zeros(params), zeros(params))
        self.carry = jax.block_until_ready((params, state))
        self.unroll = int(mode.split()[1])

    def steps(self, carry, batches, n, unroll):
        w = self.problem.workload
        forward = partial(self.forward, ACTIVATIONS[w.activation])
        update = partial({"sgd": _sgd, "adam": _adam}[w.optimizer], w.lr)

        def loss_fn(params, x, t):
            return LOSSES[w.loss](forward(params, x), t)

        gradients = jax.value_and_grad(loss_fn)
        if w.models > 1:
            gradients = jax.vmap(gradients, in_axes=(0, None, None))

        def step(carry, batch):
            params, state = carry
            loss, grads = gradients(params, *batch)
            return update(params, state, grads), loss

        if w.steps_per_epoch == 1:  # the batch stays outside of the loop
            whole = jax.tree.map(lambda a: a[0], batches)
            return lax.scan(lambda c, _: step(c, whole), carry, length=n, unroll=unroll)

        def epoch(carry, _):
            return lax.scan(step, carry, batches, unroll=unroll)

        return lax.scan(epoch, carry, length=n // w.steps_per_epoch)

    train = jax.jit(steps, **JIT)

    def run(self, n):
        done = self.train(self.carry, self.batches, n, self.unroll)
        self.carry, _losses = jax.block_until_ready(done)

    def result(self):
        return [tuple(np.asarray(p) for p in layer) for layer in self.carry[0]]


class Prediction:
    modes = ("jit",)

    def __init__(self, problem: Problem):
        self.params, self.x = jax.tree.map(jnp.array, (problem.weights, problem.x))
        self.predict = jax.jit(partial(forward, ACTIVATIONS[problem.workload.activation]))

    def reset(self, mode):
        pass

    def run(self, n):
        params, x, predict = self.params, self.x, self.predict
        for _ in range(n):
            predict(params, x).block_until_ready()

    def result(self):
        return np.asarray(self.predict(self.params, self.x))


def build(problem: Problem, threads: int, name: str):
    return (Prediction if problem.t is None else Training)(problem)
