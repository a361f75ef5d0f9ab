"""The same training four ways: fastmlp's five-line loop, `Trainer.fit`, torch, the NumPy oracle.

Each function returns the weights at the end, in the order of `parameters()`, and the loss of every
step (`fit_run`: of every epoch). Rows are taken in order, so that all four see the same batches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastmlp as fm
import reference
from cases import Case, Problem
from specs import LOSSES, Optimizer

Run = tuple[list[np.ndarray], np.ndarray]

TINY = Case((2, 10, 3), 30, activation="tanh", loss="cross_entropy")
MEDIUM = Case((40, 70, 33, 5), 50, activation="sigmoid", loss="mse")


@dataclass(frozen=True)
class Plan:
    """How long, and on what batches; the last one of an epoch may be short."""

    epochs: int
    batch_size: int | None = None
    max_grad: float | None = None

    def batches(self, rows: int) -> Iterator[slice]:
        size = self.batch_size or rows
        for _ in range(self.epochs):
            for start in range(0, rows, size):
                yield slice(start, min(start + size, rows))

    def epoch_losses(self, step_losses: np.ndarray, rows: int) -> np.ndarray:
        """The mean over an epoch's rows, from losses that are means over a batch's rows."""
        sizes = [s.stop - s.start for s in self.batches(rows)]
        per_epoch = math.ceil(rows / (self.batch_size or rows))
        return (step_losses * sizes).reshape(-1, per_epoch).sum(axis=1) / rows


# 200 steps: of all rows, and of mini-batches with a short last one (30 = 8+8+8+6, 50 = 16+16+16+2).
FULL_BATCH = Plan(200)
MINI_BATCHES = {TINY: Plan(50, 8), MEDIUM: Plan(50, 16)}
CLIPPED = {TINY: Plan(50, 8, 0.05), MEDIUM: Plan(50, 16, 0.05)}


def loop_run(problem: Problem, optimizer: Optimizer, plan: Plan, device: str = "cpu") -> Run:
    """The loop of every tutorial, through fastmlp."""
    model = problem.fastmlp(device)
    loss_fn = LOSSES[problem.case.loss].module(problem.case.reduction)
    update = optimizer.fastmlp(model.parameters())
    losses = []
    for rows in plan.batches(len(problem.x)):
        loss = loss_fn(model(problem.x[rows]), problem.t[rows])
        update.zero_grad()
        loss.backward()
        if plan.max_grad is not None:
            fm.clip_grad_norm_(model.parameters(), plan.max_grad)
        update.step()
        losses.append(loss.item())
    return weights_of(model), np.array(losses)


def fit_run(problem: Problem, optimizer: Optimizer, plan: Plan, device: str = "cpu") -> Run:
    """The native loop."""
    model = problem.fastmlp(device)
    loss_fn = LOSSES[problem.case.loss].module(problem.case.reduction)
    trainer = fm.Trainer(model, optimizer.fastmlp(model.parameters()), loss_fn)
    history = trainer.fit(
        problem.x,
        problem.t,
        max_epoch=plan.epochs,
        batch_size=plan.batch_size,
        max_grad=plan.max_grad,
        shuffle=False,
        progress=False,
    )
    return weights_of(model), np.asarray(history.loss)


def torch_run(torch: Any, problem: Problem, optimizer: Optimizer, plan: Plan) -> Run:
    model = problem.torch(torch)
    loss_fn = LOSSES[problem.case.loss].torch(torch.nn, problem.case.reduction)
    update = optimizer.torch(torch, model.parameters())
    x, t = map(torch.from_numpy, problem.exact_data)
    losses = []
    for rows in plan.batches(len(x)):
        loss = loss_fn(model(x[rows]), t[rows])
        update.zero_grad()
        loss.backward()
        if plan.max_grad is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.max_grad)
        update.step()
        losses.append(loss.item())
    return [p.detach().numpy() for p in model.parameters()], np.array(losses)


def numpy_run(problem: Problem, optimizer: Optimizer, plan: Plan) -> Run:
    layers = problem.numpy()
    loss_fn = LOSSES[problem.case.loss].numpy
    x, t = problem.exact_data
    weights = [
        w for layer in layers if isinstance(layer, reference.Affine) for w in layer.parameters
    ]
    states: list[dict[str, Any]] = [{} for _ in weights]
    losses = []
    for rows in plan.batches(len(x)):
        found = reference.gradients(layers, loss_fn, problem.case.reduction, x[rows], t[rows])
        if plan.max_grad is not None:
            reference.clip_grad_norm(found.grads, plan.max_grad)
        for w, g, state in zip(weights, found.grads, states, strict=True):
            optimizer.numpy(w, g, state)
        losses.append(found.loss)
    return weights, np.array(losses)


def weights_of(model: fm.Module) -> list[np.ndarray]:
    return [np.array(p) for p in model.parameters()]
