"""PyTorch's ways to do a training step on a CUDA device, on parameters that stay in place.

bf16 means float32 parameters, and products of bfloat16 matrices: by autocast; or by a second set of
parameters in bfloat16, written after each update; in a compiled step, by casts that its kernels do
on the way. The rows are there in bfloat16 beforehand, wherever that helps.
"""

from typing import Any, Protocol

import torch

from peers import torch_peer
from peers.torch_peer import LOSSES, OPTIMIZERS, batches, network
from problems import Problem, Weights

DEVICE = "cuda"
HALF = torch.bfloat16


class Step(Protocol):
    batches: list[tuple[torch.Tensor, torch.Tensor]]

    def reset(self) -> None:
        """Back to the initial weights."""

    def update(self, x: torch.Tensor, t: torch.Tensor) -> Any:
        """Loss, gradients and update."""

    def result(self) -> Weights:
        """The weights, on the host."""


class EagerStep:
    """Autograd and one of PyTorch's optimizers."""

    def __init__(self, problem: Problem, implementation: str):
        w = problem.workload
        self.model = network(problem).to(DEVICE)
        self.loss_fn = LOSSES[w.loss]()
        self.batches = batches(problem, DEVICE)
        self.params = list(self.model.parameters())
        self.start = [p.detach().clone() for p in self.params]
        options = {implementation: True}
        if w.optimizer == "adam" and implementation == "fused":
            options["capturable"] = True
        self.optimizer = OPTIMIZERS[w.optimizer](self.params, lr=w.lr, **options)

    @torch.no_grad()
    def reset(self) -> None:
        self.clear_gradients()
        for p, start in zip(self.params, self.start, strict=True):
            p.copy_(start)
        for state in self.optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()

    def clear_gradients(self) -> None:
        self.optimizer.zero_grad()

    def loss(self, x, t):
        return self.loss_fn(self.model(x), t)

    def update(self, x, t):
        self.clear_gradients()
        self.loss(x, t).backward()
        self.optimizer.step()

    def result(self) -> Weights:
        params = [p.detach().cpu().numpy() for p in self.params]
        return [(w.T, b) for w, b in zip(params[::2], params[1::2], strict=True)]


class AutocastStep(EagerStep):
    def loss(self, x, t):
        with torch.autocast(DEVICE, HALF, cache_enabled=False):  # each weight is used once
            return super().loss(x, t)


class HalfStep(EagerStep):
    """Passes through bfloat16 copies of the float32 parameters, which the optimizer updates."""

    def __init__(self, problem: Problem, implementation: str):
        super().__init__(problem, implementation)
        self.batches = [(x.to(HALF), t) for x, t in self.batches]
        self.half_model = network(problem).to(DEVICE, HALF)
        self.halves = list(self.half_model.parameters())
        for p in self.params:
            p.grad = torch.zeros_like(p)  # stays, as a graph may know its place

    @torch.no_grad()
    def reset(self) -> None:
        super().reset()
        torch._foreach_copy_(self.halves, self.params)

    def clear_gradients(self) -> None:
        for p in self.halves:
            p.grad = None

    def loss(self, x, t):
        return self.loss_fn(self.half_model(x).float(), t)

    def update(self, x, t):
        self.clear_gradients()
        self.loss(x, t).backward()
        with torch.no_grad():
            torch._foreach_copy_([p.grad for p in self.params], [p.grad for p in self.halves])
            self.optimizer.step()
            torch._foreach_copy_(self.halves, self.params)


class CompiledModelStep(EagerStep):
    """Forward, loss and backward are compiled; the optimizer is PyTorch's."""

    def __init__(self, problem: Problem, options: dict[str, Any]):
        super().__init__(problem, "fused")
        self.half = problem.workload.precision == "bf16"
        if self.half:
            self.batches = [(x.to(HALF), t) for x, t in self.batches]
        self.loss = torch.compile(self._loss, **options)

    def _loss(self, x, t):
        with torch.autocast(DEVICE, HALF, enabled=self.half, cache_enabled=False):
            return self.loss_fn(self.model(x), t)

    def update(self, x, t):
        torch.compiler.cudagraph_mark_step_begin()
        super().update(x, t)


class BlockStep(torch_peer.Step):
    """Loss, gradients and update in one function."""

    def __init__(self, problem: Problem):
        super().__init__(problem, DEVICE)
        self.batches = batches(problem, DEVICE)
        self.half = problem.workload.precision == "bf16"
        if self.half:
            self.batches = [(x.to(HALF), t) for x, t in self.batches]

    def loss(self, state, x, t):
        if not self.half:
            return super().loss(state, x, t)
        halves = {name: p.to(HALF) for name, p in state.items()}
        return self.loss_fn(torch.func.functional_call(self.model, halves, (x,)).float(), t)

    def compile(self, options: dict[str, Any]) -> None:
        # else PyTorch makes no CUDA graphs of a function that changes its arguments
        for tensor in (*self.state.values(), *sum(self.moments.values(), ()), self.updates):
            torch._dynamo.mark_static_address(tensor)
        self.update = torch.no_grad()(torch.compile(self.update, **options))


class EnsembleStep(BlockStep):
    """Many models at once: their parameters stacked, the function of one model under `vmap`."""

    def __init__(self, problem: Problem):
        first = [(w[0], b[0]) for w, b in problem.weights]
        super().__init__(problem._replace(weights=first))
        arrays = [a for w, b in problem.weights for a in (w.swapaxes(1, 2), b)]
        tensors = [torch.tensor(a, device=DEVICE) for a in arrays]
        self.start_from(dict(zip(self.start, tensors, strict=True)))

    def gradients(self, x, t):
        one = torch.func.grad_and_value(self.loss)
        return torch.func.vmap(one, in_dims=(0, None, None))(self.state, x, t)


def make_step(problem: Problem, mode: str, graphs: bool) -> Step:
    """`graphs`: for CUDA graphs of our own, so that PyTorch should make none."""
    tuning = "max-autotune-no-cudagraphs" if graphs else "max-autotune"
    options = {"fullgraph": True, "dynamic": False, "mode": tuning}
    if mode == "compiled model":
        return CompiledModelStep(problem, options)
    if mode in ("compiled step", "vmap", "compiled vmap"):
        step = (EnsembleStep if "vmap" in mode else BlockStep)(problem)
        if "compiled" in mode:
            step.compile(options)
        return step
    way, _, implementation = mode.rpartition(" ")
    kind = {"": EagerStep, "autocast": AutocastStep, "bf16 weights,": HalfStep}[way]
    return kind(problem, implementation)
