"""A FusedMLP and the nn.Sequential of the same modules and values, to be compared."""

import copy
from typing import Any

import torch
from torch import nn

from fastmlp.torch import FusedMLP

F64 = torch.float64
SIZES = [(2, 10, 3), (1, 16, 16, 1), (5, 4), (40, 200, 70, 3)]  # the last one runs layer by layer


def pair_of(sizes: Any = (2, 10, 3), activation: Any = "tanh", **options: Any) -> tuple[Any, Any]:
    """A FusedMLP and the Sequential of the same modules and values."""
    torch.manual_seed(0)
    fused = FusedMLP(sizes, activation, **options)
    return fused, nn.Sequential(*copy.deepcopy(list(fused)))


def input_of(model: Any, *shape: int, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    weight = model[0].weight
    x = torch.randn(*shape, weight.shape[1], generator=generator, dtype=F64)
    return x.to(weight.dtype).requires_grad_()


def passes_of(model: Any, x: Any) -> list[Any]:
    """The output, and the gradients of the input and of all parameters."""
    model.zero_grad()
    x = x.detach().requires_grad_()
    y = model(x)
    y.backward(torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape) / len(y))
    return [y.detach(), x.grad, *(p.grad for p in model.parameters())]


def is_native(y: Any) -> bool:
    return bool(y.grad_fn.name() == "FusedBackward")


def assert_close(a: list[Any], b: list[Any], tolerance: float) -> None:
    for ours, theirs in zip(a, b, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
