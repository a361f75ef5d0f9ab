"""The device of a test: the CPU, or CUDA, be it a GPU or the emulated one.

The emulated device (see cpp/cuda/block.h) runs a GPU's kernels on the host, thread by thread: they
are tested everywhere, but not with everything, for large networks would take hours.
"""

import itertools
from typing import Any

import pytest

import fastmlp as fm

CUDA = fm.cuda.is_available()
EMULATED = CUDA and "emulated" in fm.cuda.device_name()
# Multiplications of a forward pass.
MOST_WORK = 1_000_000


def skip_without_cuda() -> None:
    if not CUDA:
        pytest.skip(f"no CUDA: {fm.show_config('dicts')['cuda']}")


def too_long_for_emulation(parameters: dict[str, Any]) -> bool:
    """Whether to leave out a test with these parameters: large ones, and what there is twice."""
    if parameters.get("oracle") == "torch":  # NumPy's results are there, too
        return True
    case = parameters.get("case")
    if case is None:
        return False
    weights = sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(case.widths))
    return bool(case.batch * weights > MOST_WORK)
