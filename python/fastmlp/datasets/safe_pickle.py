"""Unpickle plain data without running anything: dicts, lists, scalars, bytes and uint8 arrays.

A pickle is a program for a small stack machine, and ``pickle.loads`` lets it call any function.
Here (1) only the opcodes that plain data need are let through, before anything is run; (2) the few
globals that NumPy's arrays name become stand-ins, so that no function named by the file is called.
"""

import io
import math
import pickle
import pickletools
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

_OPCODE_NAMES = """
    PROTO FRAME STOP MARK BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1
    BINSTRING SHORT_BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8
    SHORT_BINUNICODE BINUNICODE BINUNICODE8
    EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_OPCODES = frozenset(_OPCODE_NAMES.split())
# An array needs about three tuples. Without a limit, hashing a deep nest overflows C's stack.
_MAX_TUPLES = 1000


class UnsafePickleError(pickle.UnpicklingError):
    """The file asks for more than plain data, or is no pickle at all."""


def loads(data: bytes) -> Any:
    """Return the object that a pickle of plain data holds.

    Strings of Python 2 become bytes, as with ``pickle.loads(data, encoding="bytes")``.

    Parameters
    ----------
    data : bytes
        The pickle, of any protocol from 2 to 5.

    Returns
    -------
    object
        Arrays that are values of an outer dict are ndarrays of dtype uint8.

    Raises
    ------
    UnsafePickleError
        If anything else is in it, or it is damaged.
    """
    try:
        _check_opcodes(data)
        loaded = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if isinstance(loaded, dict):
            return {key: _plain(value) for key, value in loaded.items()}
        return _plain(loaded)
    except UnsafePickleError:
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise UnsafePickleError(f"not a readable pickle: {type(error).__name__}") from error


def _check_opcodes(data: bytes) -> None:
    tuples = 0
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise UnsafePickleError(f"the pickle uses {opcode.name}, which plain data do not need")
        tuples += opcode.name.startswith("TUPLE")
        if tuples > _MAX_TUPLES:
            raise UnsafePickleError(f"the pickle has more than {_MAX_TUPLES} tuples")
        # The unpickler makes room for as many memo entries as the largest index says.
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data):
            raise UnsafePickleError("the pickle has a memo index beyond its own size")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        known = _GLOBALS.get((module, name))
        if known is None:
            raise UnsafePickleError(f"the pickle names {module}.{name}, which plain data do not")
        return _Global(known)

    def persistent_load(self, pid: object, /) -> NoReturn:
        raise UnsafePickleError("the pickle refers to an object outside itself")


class _Global:
    """Stands for an admitted global; has no attributes that BUILD could change."""

    __slots__ = ("_make",)

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError("the pickle changes a global")


class _DType:
    """Stands for ``numpy.dtype("uint8")``; every other dtype is refused."""

    __slots__ = ()

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in (b"u1", "u1"):
            raise UnsafePickleError("the pickle has an array that is not of dtype uint8")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment: one byte has neither."""


class _Uint8Array:
    """Stands for an array while the pickle runs; `array` is the real one."""

    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, buffer = state
        self._fill(buffer, dtype, shape, "F" if fortran else "C")

    @classmethod
    def from_buffer(cls, buffer: Any, dtype: Any, shape: Any, order: Any) -> "_Uint8Array":
        made = cls()
        made._fill(buffer, dtype, shape, order)
        return made

    def _fill(self, buffer: Any, dtype: Any, shape: Any, order: Any) -> None:
        if (
            not isinstance(dtype, _DType)
            or not isinstance(buffer, bytes | bytearray)
            or not isinstance(shape, tuple)
            or not all(type(size) is int and size >= 0 for size in shape)
            or math.prod(shape) != len(buffer)
            or order not in ("C", "F")
        ):
            raise UnsafePickleError("the pickle has an array whose parts do not fit together")
        self.array = np.frombuffer(buffer, np.uint8).reshape(shape, order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    """Stand for ``_codecs.encode``, by which Python 3 writes bytes in protocols below 3."""
    if type(text) is not str or encoding != "latin1":
        raise UnsafePickleError("the pickle encodes something other than bytes")
    return text.encode("latin-1")


def _plain(value: Any) -> Any:
    if isinstance(value, _Uint8Array) and value.array is not None:
        return value.array
    if isinstance(value, _Uint8Array | _DType | _Global):
        raise UnsafePickleError("the pickle holds half an array")
    return value


_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Uint8Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _Uint8Array,
    ("numpy._core.multiarray", "_reconstruct"): _Uint8Array,
    ("numpy.core.numeric", "_frombuffer"): _Uint8Array.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _Uint8Array.from_buffer,
    ("_codecs", "encode"): _encode,
}
