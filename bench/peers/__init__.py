"""Everything that is timed, one module a library, behind one small interface.

A module has `build(problem, threads, name)`, which returns a `Runner` or raises `CannotDo`. One for
a GPU has `device()`, too: the facts about it, or `CannotDo` where the library finds none.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol


class CannotDo(Exception):  # noqa: N818 - a peer without that work is no error
    """The library has no way to do this work; the reason is the message."""


class Runner(Protocol):
    """One peer's way to do one workload."""

    modes: tuple[str, ...]  # its ways to do it; the fastest is the one that counts

    def reset(self, mode: str) -> None:
        """Go back to the initial weights and a fresh optimizer."""

    def run(self, n: int) -> None:
        """Do n updates (a multiple of an epoch's), or n calls, and wait for their end."""

    def result(self) -> Any:
        """The weights (in x out) and bias of each layer, or the prediction."""


@dataclass(frozen=True)
class Peer:
    name: str
    module: str  # in this package
    package: str  # what must be installed
    trains: bool = True
    predicts: bool = True
    asked_only: bool = False  # runs only where `--peers` names it
    tries_threads: bool = True  # one thread is tried beside all; else the library chooses

    @property
    def ours(self) -> bool:
        return self.package == "fastmlp"

    def does(self, suite: str) -> bool:
        return self.predicts if suite == "predict" else self.trains

    def installed(self) -> bool:
        return find_spec(self.package) is not None


PEERS = {
    peer.name: peer
    for peer in (
        Peer("fastmlp", "fastmlp_peer", "fastmlp", tries_threads=False),
        Peer("fastmlp-loop", "fastmlp_peer", "fastmlp", predicts=False, tries_threads=False),
        Peer("torch", "torch_peer", "torch"),
        Peer("torch-compile", "torch_peer", "torch", asked_only=True),
        Peer("jax", "jax_peer", "jax"),
        Peer("sklearn", "sklearn_peer", "sklearn"),
        Peer("numpy", "numpy_peer", "numpy"),
        Peer("onnxruntime", "onnxruntime_peer", "onnxruntime", trains=False),
    )
}

# on a GPU
CUDA_PEERS = {
    peer.name: peer
    for peer in (
        Peer("fastmlp", "fastmlp_cuda", "fastmlp"),
        Peer("torch", "torch_cuda", "torch"),
        Peer("torch-compile", "torch_cuda", "torch"),
        Peer("torch-graph", "torch_cuda", "torch"),
        Peer("jax", "jax_cuda", "jax"),
    )
}
