"""The parent's side of a worker process."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import CannotDo

WORKER = Path(__file__).with_name("worker.py")


class PeerError(RuntimeError):
    """A peer raised, or its process ended."""


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(threads: int) -> dict[str, str]:
    names = ("FASTMLP", "OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")
    limits = {f"{name}_NUM_THREADS": str(threads) for name in names}
    eigen = "" if threads > 1 else " --xla_cpu_multi_thread_eigen=false"
    flags = os.environ.get("XLA_FLAGS", "") + eigen
    return {**limits, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}


class WorkerProcess:
    """A running `worker.py`; `send` and `receive` apart let several of them start at once."""

    def __init__(
        self,
        peer: str,
        workload: str | None,
        threads: int,
        data: Path | None = None,
        python: Sequence[str] = (sys.executable,),
        env: Mapping[str, str] | None = None,
        script: Path = WORKER,
        limit: float | None = None,
    ):
        self.limit = limit  # seconds that an answer may take
        self.peer, self.threads = peer, threads
        arguments = json.dumps([peer, workload, threads, str(data) if data else None])
        self._process = subprocess.Popen(
            [*python, str(script), arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(threads), **(env or {})},
        )

    def send(self, *command: Any) -> None:
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"its process ended with status {self._process.wait()}") from None

    def receive(self) -> Any:
        """The value of the oldest command not answered yet; CannotDo or PeerError."""
        if self.limit is not None and not self._answers_in(self.limit):
            self.close()
            raise PeerError(f"no answer in {self.limit:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "left_out" in answer:
            raise CannotDo(answer["left_out"])
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["value"]

    def _answers_in(self, seconds: float) -> bool:
        """For one command at a time, so that the answer is not in the buffer already."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def ask(self, *command: Any) -> Any:
        self.send(*command)
        return self.receive()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self._process.kill()
        self._process.communicate()
