"""A training step of `fastmlp.torch.FusedMLP` beside that of the `nn.Sequential` of the same sizes.

python bench/torch_bridge.py [--rounds N]

Both run in turns; the table shows medians in microseconds, and how many times faster FusedMLP is:
of the forward pass alone, without gradients; of forward and backward; of whole steps, with the loss
and one of torch's optimizers; and what loss and optimizer take of such a step by themselves. "At
most" is how many times faster a `torch.autograd.Function` of the same tensors is that computes
nothing: what torch takes around any such function.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fastmlp.torch import FusedMLP

# Sizes, batch, activation and loss.
NETWORKS: list[tuple[list[int], int, str, type[nn.Module]]] = [
    ([2, 10, 3], 30, "sigmoid", nn.CrossEntropyLoss),
    ([1, 16, 16, 1], 32, "tanh", nn.MSELoss),
    ([17, 64, 64, 6], 256, "relu", nn.MSELoss),
    ([784, 512, 512, 10], 128, "relu", nn.CrossEntropyLoss),
    ([100, 256, 256, 256, 1], 256, "relu", nn.MSELoss),
]
SECONDS = 0.02  # of one timing


class _Nothing(torch.autograd.Function):
    """Makes an output and gradients, and leaves their memory as it is."""

    @staticmethod
    def forward(ctx: Any, width: int, x: Any, *parameters: Any) -> Any:
        ctx.save_for_backward(*parameters)
        return x.new_empty(len(x), width)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None, *[torch.empty_like(value) for value in ctx.saved_tensors]


class _Least(nn.Sequential):
    """The layers of a Sequential, of which nothing is computed."""

    def forward(self, x: Any) -> Any:
        layers = [layer for layer in self if isinstance(layer, nn.Linear)]
        values = [value for layer in layers for value in (layer.weight, layer.bias)]
        return _Nothing.apply(layers[-1].out_features, x, *values)


class _Side:
    """One of the two models, and what is measured of it."""

    def __init__(self, model: nn.Module, x: Any, t: Any, loss: nn.Module) -> None:
        self.model, self.x, self.t, self.loss = model, x, t, loss
        self.plain = torch.optim.SGD(model.parameters(), lr=1e-3)
        self.fused = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
        self.gradient = torch.randn_like(model(x)) / len(x)
        self.y = model(x).detach().requires_grad_()

    def forward(self) -> None:
        with torch.no_grad():
            self.model(self.x)

    def forward_backward(self) -> None:
        self.model.zero_grad()
        self.model(self.x).backward(self.gradient)

    def step(self) -> None:
        self._step(self.plain)

    def step_fused(self) -> None:
        self._step(self.fused)

    def _step(self, optimizer: Any) -> None:
        optimizer.zero_grad()
        self.loss(self.model(self.x), self.t).backward()
        optimizer.step()

    def loss_alone(self) -> None:
        self.loss(self.y, self.t).backward()

    def optimizer_alone(self) -> None:
        self.plain.step()


MEASURED = ("forward", "forward_backward", "step", "step_fused")
SHARED = ("loss_alone", "optimizer_alone")


def _seconds(function: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def _medians(functions: list[Callable[[], None]], rounds: int) -> list[float]:
    """Of each function, in microseconds; the functions take turns."""
    repeats = []
    for function in functions:
        function()
        once = min(_seconds(function, 3) for _ in range(3))
        repeats.append(max(1, int(SECONDS / once)))
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, count, found in zip(functions, repeats, times, strict=True):
            found.append(_seconds(function, count))
    return [1e6 * statistics.median(found) for found in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    names = " | ".join(name.replace("_", " ") for name in (*MEASURED, *SHARED))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads;"
        " microseconds, FusedMLP / Sequential (times faster, at most)"
    )
    print(f"| network | {names} |\n|{'---|' * (1 + len(MEASURED) + len(SHARED))}")
    for sizes, batch, activation, loss in NETWORKS:
        torch.manual_seed(0)
        fused = FusedMLP(sizes, activation)
        plain = nn.Sequential(*FusedMLP(sizes, activation))
        x = torch.randn(batch, sizes[0])
        t = torch.randn(batch, sizes[-1])
        if loss is nn.CrossEntropyLoss:
            t = torch.randint(sizes[-1], (batch,))
        models = (fused, plain, _Least(*plain))
        sides = [_Side(model, x, t, loss()) for model in models]
        ours = sides[0]
        cells = []
        for name in MEASURED:
            a, b, least = _medians([getattr(side, name) for side in sides], rounds)
            cells.append(f"{a:.1f} / {b:.1f} ({b / a:.2f}, {b / least:.2f})")
        cells += [
            f"{value:.1f}" for name in SHARED for value in _medians([getattr(ours, name)], rounds)
        ]
        print(f"| {'-'.join(map(str, sizes))}, batch {batch} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
