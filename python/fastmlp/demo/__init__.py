"""The networks that fastmlp exists for, trained through its public API: ``fastmlp demo NAME``."""

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.demo import activations, boston, cifar2, circles, spiral, temperature, xor
from fastmlp.demo.session import Session

__all__ = ["DEMOS", "Demo", "Session"]


class Demo(NamedTuple):
    """A line for the list of demos, and what runs one."""

    summary: str
    run: Callable[[Session], None]


DEMOS = {
    "xor": Demo("XOR by 2-2-1", xor.run),
    "xor-deep": Demo("XOR by 2-10-10-10-1", xor.run_deep),
    "circles": Demo("two noisy circles by 2-4-1, Adam", circles.run),
    "boston": Demo("house prices by 13-3-3-3-1, ReLU and leaky ReLU", boston.run),
    "spiral": Demo("three spirals by 2-10-3, mini-batches", spiral.run),
    "temperature": Demo("a thermometer's scale by a line and two tanh networks", temperature.run),
    "cifar2": Demo("airplanes against birds by 3072-512-2 (needs --data)", cifar2.run),
    "activations": Demo("the gallery of activations (trains nothing)", activations.run),
}
