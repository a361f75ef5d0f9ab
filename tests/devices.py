"""The device of a test: the CPU, or CUDA, be it a GPU or the emulated one.

The emulated device (see cpp/cuda/block/block.h) runs a GPU's kernels on the host, thread by thread:
they are tested everywhere, but not with everything, for large networks would take hours.
"""

import itertools

import pytest

import fastmlp as fm

CUDA = fm.cuda.is_available()
EMULATED = CUDA and "emulated" in fm.cuda.device_name()
# Multiplications of a forward pass.
MOST_WORK = 10_000_000


def is_left_out(item: pytest.Item) -> bool:
    """Whether a test needs what is not there, or too much time for the emulated device."""
    if item.get_closest_marker("cuda") is None:
        return False
    return not CUDA or (EMULATED and _takes_too_long(item))


def _takes_too_long(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    parameters = call.params if call else {}
    if parameters.get("oracle") == "torch":  # NumPy's results are there, too
        return True
    case = parameters.get("case")
    if case is None:
        return False
    weights = sum(fan_in * fan_out for fan_in, fan_out in itertools.pairwise(case.widths))
    return bool(case.batch * weights > MOST_WORK)
