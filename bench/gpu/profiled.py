"""The program that a profiler looks at: python bench/gpu/profiled.py WORKLOAD

It trains as the benchmark does, and the profiler begins when the device replays recordings: after
some epochs, which are made long enough for that. `ncu --profile-from-start off` waits for it.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fastmlp as fm
import problems
from gpu.workloads import WORKLOADS, label
from peers import fastmlp_cuda
from shapes import Training

STEPS = 64  # of an epoch, at least
WARM, PROFILED = 8, 2  # epochs


def _profiler(function: str) -> None:
    """cuProfilerStart and cuProfilerStop are the driver's; without one, nobody looks."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    getattr(driver, function)()


def main(name: str) -> int:
    workload = next(w for w in WORKLOADS if isinstance(w, Training) and label(w) == name)
    problem = problems.make(workload)
    copies = -(-STEPS // workload.steps_per_epoch)
    x, t = (np.tile(a, (copies, *(1 for _ in a.shape[1:]))) for a in (problem.x, problem.t))
    runner = fastmlp_cuda.Training(problem._replace(x=x, t=t))
    runner.reset(runner.modes[0])

    def begin(info: fm.EpochInfo) -> None:
        if info.epoch == WARM:
            _profiler("cuProfilerStart")

    runner.trainer.fit(
        runner.x,
        runner.t,
        max_epoch=WARM + PROFILED,
        batch_size=workload.batch,
        shuffle=False,
        progress=False,
        callbacks=begin,
    )
    fm.cuda.synchronize()
    _profiler("cuProfilerStop")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
