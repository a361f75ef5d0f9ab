"""Inputs whose rows the native core fetches by the batch: those of sparse tables and of files.

A file that NumPy has mapped into memory is read instead, where it is large: one that shrinks
meanwhile is then an error and not the end of the process, and nothing of it stays in memory.
"""

import math
import mmap
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastmlp._types import Array

AT_ONCE = 1 << 22  # values of rows that are wanted as an array
LARGE = 1 << 24  # bytes; from there on, row_args.cpp asks for the file


def is_sparse(x: Any) -> bool:
    """Whether it is one of SciPy's sparse tables."""
    return type(x).__module__.startswith("scipy.sparse")


def is_file(x: Any) -> bool:
    """Whether it is an array that stays in its file."""
    return isinstance(x, np.ndarray) and x.nbytes >= LARGE and _map_of(x) is not None


def stay(x: Any) -> bool:
    """Whether the rows stay where they are until they are wanted, in a sparse table or a file."""
    return is_sparse(x) or is_file(x)


def parts(x: Any) -> Iterator[Any]:
    """The rows as they are, but those of a sparse table or a file as arrays, some at a time."""
    if not stay(x):
        yield x
        return
    rows, columns = x.shape[0], math.prod(x.shape[1:])
    most = max(1, AT_ONCE // max(columns, 1))
    for first in range(0, max(rows, 1), most):
        yield take(x, slice(first, first + most), "x")


def take(x: Any, rows: Any, name: str) -> Array:
    """Some rows, a slice or by their numbers, as an array; nothing else of a file is kept."""
    if is_sparse(x):
        return np.asarray(x[rows].toarray())
    whole = _map_of(x)
    if whole is None:
        return np.asarray(x[rows])
    _check_length(whole, name)
    part = np.array(x[rows])
    file: Any = whole.base
    if whole.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)
    return part


def sparse(x: Any, name: str) -> tuple[tuple[int, ...], Array, Array, Array]:
    """The shape of a table, where its rows start, their columns, and their values."""
    if x.ndim != 2:
        raise ValueError(f"{name}: expected shape (rows, features), got a sparse {x.shape}")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {x.dtype}")
    rows = x.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    if len(rows.indptr) != rows.shape[0] + 1 or len(rows.indices) < len(rows.data):
        raise ValueError(f"{name}: expected sparse rows whose indices fit their shape, got others")
    numbers = np.float64 if rows.dtype.itemsize > 8 else rows.dtype.newbyteorder("=")
    index = np.int32 if rows.indptr.dtype.itemsize == 4 else np.int64
    return (
        rows.shape,
        np.ascontiguousarray(rows.indptr, index),
        np.ascontiguousarray(rows.indices, index),
        np.ascontiguousarray(rows.data, numbers),
    )


def in_memory(x: np.memmap[Any, Any], name: str) -> Array:
    """A part of a file as a plain array: a copy, unless it is large."""
    _check_length(_map_of(x), name)
    return np.array(x) if x.nbytes < LARGE else np.asarray(x)


def file_of(x: Array, name: str) -> tuple[int, int] | None:
    """A descriptor of the file that x is a part of, for the caller to close, and where it begins.

    None where there is no such file any more, or where x has changes that the file has not.
    """
    whole = _map_of(x)
    _check_length(whole, name)
    if whole is None or whole.filename is None or whole.mode == "c" or not hasattr(os, "pread"):
        return None
    try:
        file = os.open(whole.filename, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    offset = int(whole.offset) + x.ctypes.data - whole.ctypes.data
    if _is_of(file, offset, x):
        return file, offset
    os.close(file)
    return None


def _map_of(x: Any) -> np.memmap[Any, Any] | None:
    """The array that NumPy made of a file, of which x is a part."""
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap) and isinstance(x.base, mmap.mmap):
            return x
        x = x.base
    return None


def _check_length(whole: np.memmap[Any, Any] | None, name: str) -> None:
    """ValueError where the file has not all of the array: touching the rest ends a process."""
    if whole is None:
        return
    file: Any = whole.base
    needed, length = int(whole.offset) + whole.nbytes, file.size()
    if length < needed:
        raise ValueError(
            f"{name}: expected a file of at least {needed} bytes behind the array, got one that has"
            f" become shorter: {length} bytes"
        )


def _is_of(file: int, offset: int, x: Array) -> bool:
    """Whether x is of this file, and not of one that had its name before; some rows tell."""
    rows = np.linspace(0, len(x) - 1, 16).astype(np.int64).tolist()
    return all(
        os.pread(file, x[i].nbytes, offset + i * x.strides[0]) == x[i].tobytes() for i in rows
    )
