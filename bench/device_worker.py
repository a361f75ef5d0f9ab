"""The process of one peer on a GPU; see worker.py."""

from typing import Any

import numpy as np

import worker
from peers import CUDA_PEERS, CannotDo
from reference import Network

SAMPLED = 8  # of many models, to be checked


class DeviceWorker(worker.Worker):
    peers = CUDA_PEERS

    def load(self) -> dict[str, Any]:
        return super().load() | self.module.device()

    def prepare(self, seconds: float, first_only: bool = False) -> dict[str, Any]:
        """Build the work and keep the fastest way to do it of those that work on this machine."""
        self._build()
        chunks: dict[str, int] = {}
        failed = {}
        for mode in self.runner.modes[: 1 if first_only else None]:
            try:
                self._reset(mode)
                chunk = next(iter(chunks.values()), 0) or self._chunk(seconds / 4)
                self._run(chunk)  # compiles, where the number of steps is another program
                chunks[mode] = chunk
            except CannotDo:
                raise
            except Exception as error:  # another mode may work; the table tells the reason
                first_line = next(iter(str(error).strip().splitlines()), "")
                failed[mode] = f"{type(error).__name__}: {first_line}"
        if not chunks:
            raise RuntimeError("; ".join(f"{mode}: {reason}" for mode, reason in failed.items()))
        return self._choose(chunks, seconds) | {"failed_modes": failed}

    def measure(self, seconds: float) -> float:
        """As on the CPU, after some steps that bring clocks and caches back from other peers."""
        self._run(self.chunk)
        return super().measure(seconds)

    def check(self, expected: float | None) -> float:
        """Of many models, the largest deviation of some."""
        if self.workload.models == 1:
            return super().check(expected)
        self._reset(self.mode)
        self.runner.run(self.workload.check)
        found = self.runner.result()
        models = range(0, self.workload.models, self.workload.models // SAMPLED)
        deviation = max(self._deviation(model, found) for model in models)
        self._reset(self.mode)
        return deviation

    def _deviation(self, model: int, found: list[Any]) -> float:
        wanted, trained = (
            Network(self.problem, np.float64, [(w[model], b[model]) for w, b in weights])
            for weights in (self.problem.weights, found)
        )
        wanted.train(self.workload.check)
        return abs(trained.loss() / wanted.loss() - 1)

    def copy_bandwidth(self, seconds: float) -> float | None:
        """GB/s of a copy within the device, where the library's module can measure it."""
        measure = getattr(self.module, "copy_bandwidth", None)
        return measure(seconds) if measure else None


if __name__ == "__main__":
    worker.main(DeviceWorker)
