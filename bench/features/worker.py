"""One library with one case at a time, in a process that answers as worker.py does."""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import worker
from features.cases import CASES


class FeatureWorker(worker.Worker):
    def __init__(self, peer: str, case: str, threads: int, data: str | None) -> None:
        self.module = import_module(f"features.{peer}_side")
        self.workload, self.threads = CASES[case], threads
        if peer == "torch":
            sys.modules["torch"].set_num_threads(threads)

    def prepare(self, way: str, seconds: float) -> None:
        """Build the work, and find how many steps take about that time."""
        self.runner = self.module.build(self.workload, way)
        self._reset("")
        self.chunk = self._chunk(seconds / 4)
        self._reset("")
        self._run(self.chunk)  # compiles

    def loss(self) -> float | None:
        """After the case's check, in evaluation; None where the library's cannot be compared."""
        if not hasattr(self.runner, "loss"):
            return None
        self._reset("")
        if self.workload.check:
            self.runner.run(self.workload.check)
        loss = self.runner.loss()
        self._reset("")
        return loss

    def _reset(self, mode: str) -> None:
        self.mode, self.done = mode, 0
        self.runner.reset()


if __name__ == "__main__":
    worker.main(FeatureWorker)
