"""PyTorch on a CUDA device: step by step from Python, compiled, or whole epochs in a CUDA graph."""

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import torch

from peers import CannotDo
from peers.torch_cuda_steps import DEVICE, Step, make_step
from peers.torch_peer import network
from problems import Problem

GRAPH_STEPS = 32  # in a graph at least, where an epoch has fewer: a replay costs microseconds
MATMUL = {"float32": "highest", "tf32": "high", "bf16": "highest"}


def device() -> dict[str, Any]:
    """The facts about the device, or CannotDo."""
    if not torch.cuda.is_available():
        raise CannotDo(f"PyTorch {torch.__version__} finds no CUDA device")
    return {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def copy_bandwidth(seconds: float) -> float:
    """GB/s that a copy of 1 GiB within the device's memory reads and writes."""
    source = torch.zeros(1 << 28, device=DEVICE)
    target = torch.empty_like(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    best, spent = float("inf"), 0.0
    while spent < seconds:
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        took = begin.elapsed_time(end) / 1e3
        best, spent = min(best, took), spent + took
    return 2 * source.nbytes / best / 1e9


def _warm_up(work: Callable[[], Any]) -> None:
    """In a stream of its own, as PyTorch asks for before a capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)


def _capture(work: Callable[[], Any]) -> Callable[[], None]:
    """What runs the kernels of `work` again, in one CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _modes(problem: Problem, name: str) -> tuple[str, ...]:
    w = problem.workload
    if w.models > 1:
        ways = ("vmap", "compiled vmap")
        return {"torch": ways[:1], "torch-compile": ways[1:], "torch-graph": ways}[name]
    ways = ("autocast ", "bf16 weights, ") if w.precision == "bf16" else ("",)
    if name == "torch-compile":
        return "compiled step", "compiled model"
    eager = tuple(way + kind for way in ways for kind in ("fused", "foreach"))
    return eager if name == "torch" else (*(m for m in eager if "fused" in m), "compiled step")


class Training:
    """A call from Python for each step."""

    graphs = False  # whether the steps are for graphs of our own

    def __init__(self, problem: Problem, modes: tuple[str, ...]):
        self.problem, self.modes = problem, modes
        self.steps: dict[str, Step] = {}

    def reset(self, mode):
        if mode not in self.steps:
            self.steps[mode] = make_step(self.problem, mode, self.graphs)
            self.get_ready(mode)
        self.mode, self.step = mode, self.steps[mode]
        self.step.reset()
        torch.cuda.synchronize()

    def get_ready(self, mode):
        """Once for each mode, before its first use."""

    def run(self, n):
        update = self.step.update
        for x, t in islice(cycle(self.step.batches), n):
            update(x, t)
        torch.cuda.synchronize()

    def result(self):
        return self.step.result()


class GraphTraining(Training):
    """Whole epochs, at least `GRAPH_STEPS` steps, in one CUDA graph; single epochs at the end."""

    graphs = True

    def __init__(self, problem: Problem, modes: tuple[str, ...]):
        super().__init__(problem, modes)
        self.epochs = max(1, GRAPH_STEPS // problem.workload.steps_per_epoch)
        self.replays: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}

    def get_ready(self, mode):
        step = self.steps[mode]

        def epochs(n):
            for x, t in n * step.batches:
                step.update(x, t)

        _warm_up(lambda: step.update(*step.batches[0]))
        step.reset()
        one = _capture(lambda: epochs(1))
        self.replays[mode] = one, _capture(lambda: epochs(self.epochs)) if self.epochs > 1 else one

    def run(self, n):
        one, several = self.replays[self.mode]
        epochs = n // self.problem.workload.steps_per_epoch
        for _ in range(epochs // self.epochs):
            several()
        for _ in range(epochs % self.epochs):
            one()
        torch.cuda.synchronize()


class Prediction:
    """Calls that do not wait for one another; `out` is that of the last."""

    def __init__(self, problem: Problem, name: str):
        self.modes = {
            "torch": ("eager",),
            "torch-compile": ("compiled",),
            "torch-graph": ("eager", "compiled"),
        }[name]
        self.graphs = name == "torch-graph"
        self.model = network(problem).eval().to(DEVICE)
        self.x = torch.from_numpy(problem.x).to(DEVICE)
        self.calls: dict[str, Callable[[], Any]] = {}

    def reset(self, mode):
        if mode not in self.calls:
            self.calls[mode] = self._graph(mode) if self.graphs else self._call(mode)
        self.call = self.calls[mode]

    def _call(self, mode):
        model = self.model
        if mode == "compiled":
            own = "max-autotune-no-cudagraphs" if self.graphs else "max-autotune"
            model = torch.compile(model, fullgraph=True, dynamic=False, mode=own)
        return lambda: model(self.x)

    @torch.inference_mode()
    def _graph(self, mode):
        call, kept = self._call(mode), []
        _warm_up(call)
        replay = _capture(lambda: kept.append(call()))

        def run_again():
            replay()
            return kept[0]

        return run_again

    @torch.inference_mode()
    def run(self, n):
        call = self.call
        for _ in range(n):
            call()
        torch.cuda.synchronize()

    @torch.inference_mode()
    def result(self):
        return self.call().cpu().numpy()


def build(problem: Problem, threads: int, name: str):
    torch.set_float32_matmul_precision(MATMUL[problem.workload.precision])
    if problem.t is None:
        return Prediction(problem, name)
    return (GraphTraining if name == "torch-graph" else Training)(problem, _modes(problem, name))
