"""Threads, and what this installation runs on."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastmlp import _checks, _core


def set_num_threads(n: int) -> None:
    """Let the native core use up to n threads, in the whole process.

    The results do not depend on it. The first value comes from the environment
    (`FASTMLP_NUM_THREADS`, else `OMP_NUM_THREADS`), else from the processors at hand.
    """
    _core.set_num_threads(_checks.integer("n", n, at_least=1, below=2**31))


def get_num_threads() -> int:
    """How many threads the native core uses at most."""
    return _core.get_num_threads()


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use up to n threads within the block, in the whole process."""
    previous = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(previous)


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print the versions, the instruction set, the threads and the CUDA devices, and the build.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Whether to print, or to return a dict.
    """
    _checks.choice("mode", mode, ("stdout", "dicts"))
    config: dict[str, Any] = {
        **_core.build_info(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "isa": _core.isa(),
        "available isas": _core.available_isas(),
        "bf16 by": _core.bf16_instructions(),
        "strategy": _core.strategy(),
        "threads": get_num_threads(),
        "caches": "L1 {L1} KiB, L2 {L2} KiB".format(
            **{name: _core.product_blocks()[name] >> 10 for name in ("L1", "L2")}
        ),
        "blocks of products": "MR {MR}, NR {NR}, KC {KC}, MC {MC}".format(**_core.product_blocks()),
        "cuda": _core.cuda_problem() or _cuda_devices(),
    }
    if mode == "dicts":
        return config
    width = max(map(len, config))
    for name, value in config.items():
        print(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return None


def _cuda_devices() -> list[str]:
    return [_core.cuda_device_name(device) for device in range(_core.cuda_device_count())]
