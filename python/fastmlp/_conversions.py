"""From what people hand over to plain arrays of real numbers, or an error that says what to write.

The native core takes plain NumPy arrays as they are and sends all else here; the libraries that it
may come from are never imported.
"""

import numbers
import sys
from typing import Any

import numpy as np

from fastmlp import _checks, _core, _rows
from fastmlp._types import Array

_KINDS = {"U": "text", "S": "text", "M": "dates", "m": "durations", "c": "complex numbers"}


def as_array(value: Any, name: str) -> Array:
    """The numbers of anything that holds some: arrays, frames, tensors, nested lists.

    Raises
    ------
    TypeError
        If it holds anything else, naming the argument and, of a frame, the column.
    ValueError
        If the parts of a nested list differ in length.
    """
    if isinstance(value, list | tuple):
        if any(map(_has_graph, value)):
            _warn_of_lost(name)
    elif (array := _of_library(value, name)) is not None:
        return array
    try:
        array = np.asarray(value)
    except Exception as error:
        if isinstance(error, ValueError):
            raise ValueError(
                f"{name}: expected an array of numbers, got a {type(value).__name__} whose parts"
                f" differ in length"
            ) from error
        raise TypeError(
            f"{name}: expected an array of numbers, got a {type(value).__name__}"
        ) from error
    return _numbers(array, name)


def _of_library(value: Any, name: str) -> Array | None:
    """What is known of some kinds of objects; None for others."""
    masked = sys.modules.get("numpy.ma")  # NumPy imports it when it is first used
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{name}: expected an array without a mask, got a masked one; fill it first"
        )
    if isinstance(value, _core.Symbolic):
        value.end_trace()
    if isinstance(value, np.memmap):
        return _numbers(_rows.in_memory(value, name), name)
    if value is None or isinstance(value, str | bytes | dict | set | frozenset):
        raise TypeError(f"{name}: expected an array of numbers, got {_checks.show(value)}")
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name}: expected a dense array, got a sparse one; write .toarray()")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _of_torch(torch, value, name)
    if is_frame(value):
        return _of_frame(value, name)
    if _is_column(value):
        return _of_column(value, name)
    if hasattr(value, "collect_schema"):
        raise TypeError(f"{name}: expected a table in memory, got a lazy one; write .collect()")
    return None


def kept(value: Any, name: str) -> Any:
    """The same, but for a sparse x and a large file, which stay what they are; rows are taken."""
    if name == "x" and _rows.is_sparse(value):
        return value.tocsr()
    return value if _rows.is_file(value) else as_array(value, name)


def _numbers(array: Array, name: str, what: str = "") -> Array:
    """An array of a real dtype; `what` names the part that this is of the argument."""
    kind = array.dtype.kind
    if kind in "fiub":
        return np.asarray(array)
    if kind == "O" and array.size and all(_is_number(item) for item in array.flat):
        return array.astype(np.float64)
    if kind == "O":
        odd = next((item for item in array.flat if not _is_number(item)), None)
        got = "no objects" if not array.size else f"one that holds {_checks.show(odd)}"
        if isinstance(odd, list | tuple):
            got = "rows of different lengths"
        elif not array.ndim:
            got = _checks.show(odd)
            if name == "x" and hasattr(odd, "__iter__"):
                got += "; an iterable of batches (x, t) goes without t"
        raise TypeError(f"{name}: expected an array of real numbers,{what} got {got}")
    raise TypeError(
        f"{name}: expected an array of real numbers,{what} got dtype {array.dtype}"
        + (f" ({_KINDS[kind]})" if kind in _KINDS else "")
    )


def _is_number(item: Any) -> bool:
    from decimal import Decimal

    return isinstance(item, numbers.Real | Decimal | np.bool_)


def _has_graph(value: Any) -> bool:
    return isinstance(value, _core.Tensor) and _core.graph_node(value) is not None


def _warn_of_lost(name: str) -> None:
    """Of arguments that gradients flow back to."""
    if name in ("x", "input", "other") and _core.recording():
        _checks.warn_of_lost(name)


def _of_torch(torch: Any, tensor: Any, name: str) -> Array:
    if "backward" in tensor.__dict__:  # what torch computed from a recorded tensor of ours
        _warn_of_lost(name)
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got a sparse one; write .to_dense()")
    if tensor.requires_grad:
        raise TypeError(
            f"{name}: expected a tensor that needs no gradient, for torch's graph ends here, got"
            " one that requires grad; write .detach()"
        )
    if tensor.device.type != "cpu":
        raise TypeError(
            f"{name}: expected a tensor in the host's memory, got one on {tensor.device}; write"
            " .cpu()"
        )
    if tensor.is_quantized:
        raise TypeError(
            f"{name}: expected plain numbers, got a quantized tensor; write .dequantize()"
        )
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.float().numpy())  # exact: NumPy has no such type
    return _numbers(tensor.resolve_conj().resolve_neg().numpy(), name)


def is_frame(value: Any) -> bool:
    """Whether it is a table with columns, such as those of pandas and polars."""
    return hasattr(value, "to_numpy") and hasattr(value, "columns") and hasattr(value, "dtypes")


def _is_column(value: Any) -> bool:
    return hasattr(value, "to_numpy") and hasattr(value, "dtype")


def without_gaps(value: Any, name: str) -> Any:
    """The numbers of a frame or a column, or anything else as it came.

    Raises
    ------
    ValueError
        For a missing or infinite value, naming the column.
    """
    if not is_frame(value) and (isinstance(value, np.ndarray) or not _is_column(value)):
        return value
    array = as_array(value, name)
    finite = np.isfinite(array)
    if finite.all():
        return array
    first = np.unravel_index(np.argmin(finite), array.shape)
    where = f" in column {list(value.columns)[first[1]]!r}" if is_frame(value) else ""
    got = "a missing value" if np.isnan(array[first]) else "an infinite one"
    raise ValueError(
        f"{name}: expected finite numbers, got {got}{where}, row {first[0]}; fill it in, drop the"
        " row, or let it pass with allow_nonfinite=True"
    )


def _of_frame(frame: Any, name: str) -> Array:
    names = list(frame.columns)
    # By place in pandas, where several columns may have the same name.
    each = [frame.iloc[:, i] if hasattr(frame, "iloc") else frame[n] for i, n in enumerate(names)]
    columns = [
        _of_column(column, name, f" in column {n!r}") for n, column in zip(names, each, strict=True)
    ]
    if not columns:
        return np.empty((len(frame), 0))
    dtype = np.result_type(*columns)
    return np.stack([column.astype(dtype, copy=False) for column in columns], axis=1)


def _missing(column: Any, length: int) -> Array:
    for test in ("isna", "is_null"):  # pandas, polars
        if hasattr(column, test):
            return np.asarray(getattr(column, test)())
    return np.zeros(length, bool)


def _of_column(column: Any, name: str, what: str = "") -> Array:
    kind = str(column.dtype)
    if kind == "category":
        raise TypeError(f"{name}: expected numbers{what}, got categories; encode them first")
    array = column.to_numpy()
    if array.ndim != 1:
        raise TypeError(f"{name}: expected numbers{what}, got {kind}; make columns of its parts")
    if array.dtype.kind == "O":
        missing = _missing(column, len(array))
        if all(_is_number(item) for item in array[~missing]):  # nullable numbers
            return np.where(missing, np.nan, np.where(missing, 0, array)).astype(np.float64)
        odd = next(item for item in array[~missing] if not _is_number(item))
        raise TypeError(f"{name}: expected numbers{what}, got {_checks.show(odd)}; encode it first")
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected numbers{what}, got {_KINDS.get(array.dtype.kind, array.dtype)};"
            " encode them first"
        )
    return np.asarray(array)
