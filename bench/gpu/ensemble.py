"""fastmlp in the suite of many models: the program of ensemble.cpp, which prints its times."""

import json
import subprocess
from pathlib import Path
from typing import Any

from peers import CannotDo
from process import PeerError
from shapes import Training

STEPS = 1000  # of a fit
SECONDS = 300  # that the program may take


class Program:
    """Stands in for a worker's process: each turn is a run of the program."""

    def __init__(self, program: Path | None, workload: Training, emulated: bool):
        self.program, self.workload, self.emulated = program, workload, emulated

    def receive(self) -> dict[str, Any]:
        if self.emulated:
            raise CannotDo("so many models take too long on the emulated device")
        if self.program is None:
            raise CannotDo("its program, that of bench/gpu/ensemble.cpp, was not named")
        return {}

    def ask(self, name: str, *arguments: Any) -> Any:
        if name == "prepare":
            self.record = self._run()
            return {"mode": f"a group of core/trainer.h, {STEPS} steps"}
        if name == "check":  # losses of the first models beside the CPU's
            return self.record["loss_difference"]
        if name == "measure":
            return self._run()["us_per_step"]
        return None

    def ended(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing runs between two turns."""

    def _run(self) -> dict[str, Any]:
        """The record of the workload: the median of some fits."""
        command = [str(self.program), str(self.workload.models), str(STEPS)]
        try:
            done = subprocess.run(command, text=True, capture_output=True, timeout=SECONDS)
            printed = json.loads(done.stdout)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerError(str(error)) from None
        except json.JSONDecodeError:
            raise PeerError(done.stderr.strip() or f"status {done.returncode}") from None
        name, models, batch = (
            self.workload.name.split()[0],
            self.workload.models,
            self.workload.batch,
        )
        for record in printed["results"]:
            if (record["problem"], record["models"], record["batch"]) == (name, models, batch):
                return record
        raise PeerError(f"the program tells nothing of {self.workload.name}")
