"""PyTorch: the loop with each implementation of its optimizers, and `torch.func.jacrev`."""

from typing import Any

import torch
from torch import nn

from features.cases import Case, data, rows, schedule_arguments
from features.modules import LOSSES, OPTIMIZERS, Calls, Loop, layers, set_weights, split


class Residual(nn.Module):
    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def network(case: Case) -> nn.Sequential:
    model = nn.Sequential(*layers(case, nn, Residual))

    def assign(parameter: torch.Tensor, values: Any) -> None:
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))

    set_weights(case, model, nn.Linear, assign)
    return model


class Training:
    def __init__(self, case: Case, implementation: str) -> None:
        self.case, self.implementation = case, implementation
        self.x, self.t = (torch.from_numpy(a) for a in data(case))
        self.batches, self.held_out = split(case, self.x, self.t)

    def reset(self) -> None:
        case = self.case
        self.model = network(case)
        kind = getattr(torch.optim, OPTIMIZERS[case.optimizer])
        optimizer = kind(self.model.parameters(), lr=case.lr, **{self.implementation: True})
        self.loss_fn = getattr(nn, LOSSES[case.loss])()
        self.loop = Loop(self.model, optimizer, self.loss_fn, self.batches)
        schedules = torch.optim.lr_scheduler
        if case.schedule:
            kind = getattr(schedules, case.schedule)
            self.loop.scheduler = kind(optimizer, **schedule_arguments(case))
        self.by_epoch = schedules.ExponentialLR(optimizer, 0.9999)
        self.best = float("inf")

    def run(self, n: int) -> None:
        if not self.case.stopping:
            return self.loop.run(n)
        for _ in range(n // self.case.steps_per_epoch):
            self.model.train()
            self.loop.run(self.case.steps_per_epoch)
            self.by_epoch.step()
            self.model.eval()
            with torch.no_grad():
                loss = float(self.loss_fn(self.model(self.held_out[0]), self.held_out[1]))
            if loss < self.best:
                self.best = loss
                self.kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        return None

    def loss(self) -> float:
        if self.case.stopping:
            self.model.load_state_dict(self.kept)
        self.model.eval()
        with torch.no_grad():
            own = slice(0, self.case.rows)
            return float(self.loss_fn(self.model(self.x[own]), self.t[own]))


def jacobian(case: Case) -> Calls:
    x = torch.from_numpy(rows(case))
    one = torch.func.jacrev(network(case))
    call = one if x.ndim == 1 else torch.func.vmap(one)
    return Calls(torch.no_grad()(lambda: call(x)))


def build(case: Case, way: str) -> Any:
    return jacobian(case) if case.kind == "jacobian" else Training(case, way)
