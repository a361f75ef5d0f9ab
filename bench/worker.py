"""One peer with one workload at a time, in a process that answers commands from a pipe.

A command is a JSON list on a line, `[name, *arguments]`, the name being a method of `Worker`; the
answer is a JSON object with `value`, `left_out` or `error`. Between commands the process sleeps.
"""

import gc
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import problems
from peers import PEERS, CannotDo
from reference import Network
from shapes import WORKLOADS, from_dict


class Worker:
    peers = PEERS

    def __init__(self, peer: str, workload: str | None, threads: int, data: str | None):
        self.peer = self.peers[peer]
        self.workload = WORKLOADS[workload] if workload else None
        self.threads = threads
        self.data = Path(data) if data else None

    def load(self) -> dict[str, Any]:
        """Import the library."""
        self.module = import_module(f"peers.{self.peer.module}")
        package = sys.modules[self.peer.package]
        isa = {"isa": package._core.isa()} if self.peer.ours else {}
        return {"version": package.__version__, **isa}

    def where(self) -> str:
        """The file that was imported."""
        return sys.modules[self.peer.package].__file__

    def take(self, workload: dict[str, Any]) -> None:
        """Another workload in the place of the last; `prepare` comes next."""
        self.workload = from_dict(workload)
        self.problem = self.runner = None
        gc.collect()

    def prepare(
        self, seconds: float, modes: list[str] | None = None, steps: int | None = None
    ) -> dict[str, Any]:
        """Build the work, try the library's ways to do it (all or `modes`) and keep the fastest.

        `steps` to be done at once need not be found out: for a library that compiles each number.
        """
        self._build()
        modes = tuple(modes or self.runner.modes)
        chunks = {}
        for mode in modes:
            self._reset(mode)
            chunks[mode] = steps or self._chunk(seconds / 4)
            if steps:
                self._run(steps)  # compiles
        return self._choose(chunks, seconds)

    def _build(self) -> None:
        self.problem = problems.make(self.workload, self.data)
        self.runner = self.module.build(self.problem, self.threads, self.peer.name)

    def _choose(self, chunks: dict[str, int], seconds: float) -> dict[str, Any]:
        """Keep the fastest of the modes, of which each does so many steps at once."""
        trials = dict.fromkeys(chunks, float("inf"))
        for mode in 2 * tuple(chunks):  # in turns, as the machine's speed may change
            self._reset(mode)
            self.chunk = chunks[mode]
            trials[mode] = min(trials[mode], self.measure(seconds / 2))
        best = min(trials, key=trials.get)
        self._reset(best)
        self.chunk = chunks[best]
        return {"mode": best, "trials": trials}

    def strategy(self) -> str:
        """How fastmlp runs it."""
        return self.runner.model._compiled().network.strategy(
            self.workload.step_rows, self.workload.suite != "predict"
        )

    def check(self, expected: float | None) -> float:
        """Do the work once; how far the result is from the float64 reference, relative."""
        self._reset(self.mode)
        if self.problem.t is None:
            wanted = Network(self.problem, np.float64).forward(self.problem.x)[-1]
            return float(np.abs(self.runner.result() - wanted).max() / np.abs(wanted).max())
        self.runner.run(self.workload.check)
        trained = Network(self.problem, np.float64, self.runner.result())
        self._reset(self.mode)
        return abs(trained.loss() / expected - 1)

    def measure(self, seconds: float) -> float:
        """Microseconds a step over at least that time; going back to the start is not counted."""
        steps, elapsed = 0, 0.0
        while elapsed < seconds:
            elapsed += self._run(self.chunk)
            steps += self.chunk
        return elapsed / steps * 1e6

    def peak(self, seconds: float) -> float:
        """GFLOP/s of float32 FMA, on as many threads as fastmlp uses."""
        return sys.modules["fastmlp"]._core.fma_peak(seconds, self.threads)

    def _reset(self, mode: str) -> None:
        self.mode, self.done = mode, 0
        self.runner.reset(mode)

    def _run(self, n: int) -> float:
        """The seconds that `n` steps take."""
        if self.workload.length is not None and self.done + n > self.workload.length:
            self._reset(self.mode)
        start = time.perf_counter()
        self.runner.run(n)
        self.done += n
        return time.perf_counter() - start

    def _chunk(self, seconds: float) -> int:
        """Steps, in whole epochs, that take about that time, and not more than `length`."""
        epoch, most = self.workload.steps_per_epoch, self.workload.length or 10**9
        self.chunk = epoch
        while True:
            self._run(self.chunk)  # compiles, where the library does that
            wanted = min(most, self.chunk * seconds / self._run(self.chunk))
            if wanted < 2 * self.chunk:
                return self.chunk
            self.chunk = int(min(wanted, 100 * self.chunk)) // epoch * epoch


def settle() -> None:
    """Wait until the library's threads no longer spin, so that the next peer has the machine.

    The clock may show the time of a thread that runs on only when the system's tick comes.
    """
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.001:
            return


def main(kind: type[Worker] = Worker) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    worker = kind(*json.loads(sys.argv[1]))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"value": getattr(worker, name)(*arguments)}
        except CannotDo as reason:
            answer = {"left_out": str(reason)}
        except Exception as error:  # goes to the parent, which reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        settle()
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
