"""A loop written by hand: the reference in float32; predictions into buffers made beforehand."""

import numpy as np

from problems import Problem
from reference import Network


class Training:
    modes = ("arrays",)

    def __init__(self, problem: Problem):
        self.problem = problem

    def reset(self, mode):
        self.network = Network(self.problem, np.float32)
        self.run = self.network.train

    def result(self):
        return self.network.weights


def _sigmoid(z):
    np.negative(z, z)
    np.exp(z, z)
    np.add(z, 1, z)
    np.reciprocal(z, z)


IN_PLACE = {
    "sigmoid": _sigmoid,
    "tanh": lambda z: np.tanh(z, z),
    "relu": lambda z: np.maximum(z, 0, z),
}


class Prediction:
    modes = ("buffers",)

    def __init__(self, problem: Problem):
        self.x = problem.x
        rows = problem.workload.rows
        self.layers = [(w, b, np.empty((rows, len(b)), np.float32)) for w, b in problem.weights]
        self.activation = IN_PLACE[problem.workload.activation]

    def reset(self, mode):
        pass

    def predict(self, x):
        *hidden, (last_w, last_b, out) = self.layers
        for w, b, z in hidden:
            np.dot(x, w, z)
            np.add(z, b, z)
            self.activation(z)
            x = z
        np.dot(x, last_w, out)
        return np.add(out, last_b, out)

    def run(self, n):
        for _ in range(n):
            self.predict(self.x)

    def result(self):
        return self.predict(self.x)


def build(problem: Problem, threads: int, name: str):
    return (Prediction if problem.t is None else Training)(problem)
