"""JAX on a CUDA device: the same `scan`, unrolled further, also with its loop in a CUDA graph."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from peers import CannotDo, jax_peer
from peers.jax_peer import ACTIVATIONS, JIT
from problems import Problem

PRODUCTS = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "float32"}
LOOP_IN_GRAPH = {
    "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,CONDITIONAL,WHILE"
}


def device() -> dict[str, Any]:
    """The facts about the device, or CannotDo."""
    try:
        return {"device": jax.devices("cuda")[0].device_kind}
    except Exception as error:  # of several kinds, by what is missing
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CannotDo(f"JAX {jax.__version__} finds no CUDA device: {reason}") from None


def _forward_in_bf16(activation, params, x):
    """float32 parameters, products and activations in bfloat16, the last z in float32."""
    halves = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    return jax_peer.forward(activation, *halves).astype(jnp.float32)


def _forward_of(problem: Problem):
    return _forward_in_bf16 if problem.workload.precision == "bf16" else jax_peer.forward


class Training(jax_peer.Training):
    modes = ("unroll 1", "unroll 4", "unroll 16", "unroll 4 in a graph")

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.forward = _forward_of(problem)
        self.own = {False: self.train}

    def reset(self, mode):
        super().reset(mode)
        in_graph = mode.endswith("graph")
        if in_graph not in self.own:
            train = jax.jit(jax_peer.Training.steps, **JIT, compiler_options=LOOP_IN_GRAPH)
            self.own[in_graph] = partial(train, self)
        self.train = self.own[in_graph]


class Prediction(jax_peer.Prediction):
    """Calls that do not wait for one another."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        activation = ACTIVATIONS[problem.workload.activation]
        self.predict = jax.jit(partial(_forward_of(problem), activation))

    def run(self, n):
        params, x, predict = self.params, self.x, self.predict
        for _ in range(n):
            y = predict(params, x)
        y.block_until_ready()


def build(problem: Problem, threads: int, name: str):
    jax.config.update("jax_default_matmul_precision", PRODUCTS[problem.workload.precision])
    return (Prediction if problem.t is None else Training)(problem)
