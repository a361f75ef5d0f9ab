"""DLPack's exchange API, made of Python functions: a type's table of C functions."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
CUDA = 2


class Tensor(ctypes.Structure):
    """What a table tells of an array."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


View = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(Tensor))
CurrentStream = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p)
)


class Table(ctypes.Structure):
    """The table itself."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 3),
        ("view", View),
        ("current_work_stream", CurrentStream),
    ]

    @property
    def address(self) -> int:
        return ctypes.addressof(self)

    @property
    def capsule(self) -> Any:
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
        return make(self.address, ctypes.addressof(_NAME), None)


_NAME = ctypes.create_string_buffer(b"dlpack_exchange_api")
_kept: list[Table] = []  # tables stay to the end of the process, as the API asks for


def table(
    view: Callable[[Any, Tensor], int],
    stream: Callable[[int, int], int] = lambda kind, number: 0,
    major: int = 1,
    previous: Table | None = None,
) -> Table:
    """One of these functions; the second gives a stream's handle."""

    def current_work_stream(kind: int, number: int, to: Any) -> int:
        to[0] = stream(kind, number)
        return 0

    made = Table(
        major=major,
        minor=2,
        previous=previous.address if previous else None,
        view=View(lambda array, to: view(array, to.contents)),
        current_work_stream=CurrentStream(current_work_stream),
    )
    _kept.append(made)
    return made


def table_at(capsule: Any) -> Table:
    """The table of another library."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_void_p]
    return Table.from_address(get(capsule, ctypes.addressof(_NAME)))


def describe(memory: np.ndarray, to: Tensor, strides: Any = None) -> Any:
    """Tell of a NumPy array as one of the device's; what comes back has to live as long."""
    sizes = (ctypes.c_int64 * memory.ndim)(*memory.shape)
    steps = None if strides is None else (ctypes.c_int64 * memory.ndim)(*strides)
    to.data, to.device_type, to.device_id, to.byte_offset = memory.ctypes.data, CUDA, 0, 0
    to.ndim, to.lanes = memory.ndim, 1
    to.code, to.bits = CODES[memory.dtype.kind], 8 * memory.dtype.itemsize
    to.shape = ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64))
    to.strides = ctypes.cast(steps, ctypes.POINTER(ctypes.c_int64)) if steps else None
    return sizes, steps
