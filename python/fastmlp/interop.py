"""The libraries whose CUDA arrays `predict` and `fit` take in place: their streams, and new arrays.

Arrays themselves are read by the native core (cpp/bindings/device_arrays.cpp), which calls these
functions where it has no quicker way. No library is imported here: an array of one that is not
imported yet cannot come.
"""

import sys
from typing import Any, NamedTuple


class Stream(NamedTuple):
    """A CUDA stream: its handle, and the object that keeps it alive."""

    handle: int
    owner: Any


def _library_of(array: Any) -> str:
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(array, torch.Tensor):
        return "torch"
    if cupy is not None and isinstance(array, cupy.ndarray):
        return "cupy"
    return ""


def current_stream(array: Any) -> Stream | None:
    """The stream that the array's library works in; None where that is not known.

    Both libraries reuse an array's memory in the order of its stream only, so that work in this
    stream need not be waited for.
    """
    library = _library_of(array)
    if library == "torch":
        stream = sys.modules["torch"].cuda.current_stream(array.device)
        return Stream(stream.cuda_stream, stream)
    if library == "cupy":
        stream = sys.modules["cupy"].cuda.get_current_stream()
        return Stream(stream.ptr, stream)
    return None


def empty_like(array: Any, shape: tuple[int, ...]) -> Any:
    """A new array of the same library, not torch, dtype and device, with any values.

    Raises
    ------
    TypeError
        If the library is neither torch nor CuPy nor one that follows the array API standard.
    """
    if _library_of(array) == "cupy":
        with array.device:
            return sys.modules["cupy"].empty(shape, dtype=array.dtype)
    if not hasattr(array, "__array_namespace__"):
        raise TypeError(
            "out: expected an array for the result, got none, and one like x, a"
            f" {type(array).__name__}, can be made for torch, CuPy and the array API only"
        )
    namespace = array.__array_namespace__()
    return namespace.empty(shape, dtype=array.dtype, device=array.device)
