"""fastmlp on a CUDA device: `Trainer.fit` and `predict` of arrays that are there already."""

from importlib.util import find_spec
from typing import Any

import numpy as np

import fastmlp as fm
from peers import CannotDo, fastmlp_peer
from problems import Problem


def device() -> dict[str, Any]:
    """The facts about the device, or CannotDo. The emulated one is the host's processor."""
    try:
        name = fm.cuda.device_name()
    except AttributeError:
        raise CannotDo("this fastmlp has no fm.cuda") from None
    except RuntimeError as reason:
        raise CannotDo(str(reason)) from None
    return {"device": name, "emulated": "emulated" in name.lower()}


def _to_device(*arrays):
    """Copies on the device, by PyTorch where it has that device; else the host's arrays."""
    if device()["emulated"] or find_spec("torch") is None:
        return arrays
    import torch

    if not torch.cuda.is_available():
        return arrays
    return tuple(torch.from_numpy(a).cuda() for a in arrays)


def _place(array) -> str:
    return "device arrays" if hasattr(array, "is_cuda") else "host arrays"


def _options(problem: Problem) -> dict[str, str]:
    return {"device": "cuda", "precision": problem.workload.precision}


class Training(fastmlp_peer.Training):
    def __init__(self, problem: Problem):
        self.problem = problem
        self.x, self.t = _to_device(problem.x, problem.t)
        self.modes = (f"fit, {_place(self.x)}",)
        self.model = fastmlp_peer.network(problem, **_options(problem))

    def reset(self, mode):
        super().reset(mode)
        fm.cuda.synchronize()

    def run(self, n):
        super().run(n)
        fm.cuda.synchronize()


class Prediction:
    """Calls that do not wait for one another."""

    def __init__(self, problem: Problem):
        self.model = fastmlp_peer.network(problem, **_options(problem))
        out = np.empty((problem.workload.rows, problem.workload.sizes[-1]), np.float32)
        self.x, self.out = _to_device(problem.x, out)
        self.modes = (f"out=, {_place(self.x)}",)

    def reset(self, mode):
        pass

    def run(self, n):
        predict, x, out = self.model.predict, self.x, self.out
        for _ in range(n):
            predict(x, out=out)
        fm.cuda.synchronize()

    def result(self):
        y = self.model.predict(self.x, out=self.out)
        fm.cuda.synchronize()
        return y.cpu().numpy() if hasattr(y, "is_cuda") else y


def build(problem: Problem, threads: int, name: str):
    if problem.t is None:
        return Prediction(problem)
    if problem.workload.models > 1:
        raise CannotDo("many models at once are trained from C++, by bench/gpu/ensemble.cpp")
    return Training(problem)
