"""The CUDA device: whether there is one, its name, and waiting for it.

Models move there by ``model.to("cuda")`` or are made there by ``MLP(..., device="cuda")``.
"""

from fastmlp import _checks, _core


def is_available() -> bool:
    """Whether models can be moved to a CUDA device: the build has its part, and there is one."""
    return _core.cuda_problem() is None


def device_count() -> int:
    """How many CUDA devices there are; 0 without a driver, or in a build without CUDA.

    The first one is used. `CUDA_VISIBLE_DEVICES` chooses which that is.
    """
    return _core.cuda_device_count()


def device_name(device: int = 0) -> str:
    """The name of a device.

    Parameters
    ----------
    device : int
        Its number, from 0.

    Raises
    ------
    RuntimeError
        If there is none; the message says what is missing.
    ValueError
        If there are fewer.
    """
    _checks.cuda()
    return _core.cuda_device_name(
        _checks.integer("device", device, at_least=0, below=_core.cuda_device_count())
    )


def synchronize() -> None:
    """Wait until the device has done all that fastmlp gave it.

    Raises
    ------
    RuntimeError
        If there is no device, or its work has failed.
    """
    _checks.cuda()
    _core.cuda_synchronize()
