"""The recorded functions of places: elements that are chosen, and shapes, which keep the values."""

import builtins
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic import formulas
from fastmlp.arithmetic.functions import amax, amin, maximum, minimum
from fastmlp.arithmetic.operands import array_of, axes_of, axis_of, operands, shape_of, sizes_of
from fastmlp.arithmetic.tape import record


class ValuesIndices(NamedTuple):
    """What `max` and `min` along a dimension find."""

    values: Tensor
    indices: Tensor


def getitem(input: Any, place: Any) -> Tensor:
    """input[place], with slices, integers, masks and arrays of integers."""
    parts = tuple(_place(part) for part in (place if isinstance(place, tuple) else (place,)))
    y, back = formulas.index(array_of(input), parts)
    return record(y, (input, back))


def _place(part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice | bool | int | np.integer):
        return part
    return _conversions.as_array(part, "index") if np.size(part) else np.asarray(part, np.int64)


def gather(input: Any, dim: int, index: Any) -> Tensor:
    """Elements at the indices along a dimension; `index` has as many dimensions as input."""
    at = array_of(index, "index")
    dimensions = len(shape_of(input))
    if at.dtype.kind not in "iu":
        raise TypeError(f"index: expected integers, got {at.dtype}")
    if at.ndim != dimensions:
        raise ValueError(f"index: expected {dimensions} dimensions, got shape {at.shape}")
    axis = axis_of(dim, at.ndim)
    grid = np.indices(at.shape, sparse=True)
    return getitem(input, (*grid[:axis], at, *grid[axis + 1 :]))


def index_select(input: Any, dim: int, index: Any) -> Tensor:
    """Rows, columns, ... with these numbers."""
    before = (slice(None),) * axis_of(dim, len(shape_of(input)))
    return getitem(input, (*before, array_of(index, "index")))


def reshape(input: Any, *shape: Any) -> Tensor:
    """The same values in another shape; one size may be -1."""
    x = array_of(input)
    return record(x.reshape(sizes_of(shape)), (input, lambda g: g.reshape(x.shape)))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Several dimensions as one."""
    shape = shape_of(input)
    first, last = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    return reshape(input, (*shape[:first], -1, *shape[last + 1 :]))


def squeeze(input: Any, dim: Any = None) -> Tensor:
    """Without dimensions of size 1, or without these if they are."""
    shape = shape_of(input)
    gone = [i for i in axes_of(dim, len(shape)) if shape[i] == 1]
    return reshape(input, tuple(n for i, n in enumerate(shape) if i not in gone))


def unsqueeze(input: Any, dim: int) -> Tensor:
    """With one more dimension, of size 1."""
    shape = shape_of(input)
    at = axis_of(dim, len(shape) + 1)
    return reshape(input, (*shape[:at], 1, *shape[at:]))


def permute(input: Any, *each: Any, dims: Any = None) -> Tensor:
    """The dimensions in another order."""
    x = array_of(input)
    order = axes_of(list(sizes_of(each) if dims is None else dims), x.ndim)
    back = np.argsort(order)
    return record(x.transpose(order), (input, lambda g: g.transpose(back)))


def transpose(input: Any, *dims: Any) -> Tensor:
    """Two dimensions exchanged; without them, or with all of them, as NumPy does it."""
    dimensions = len(shape_of(input))
    if len(dims) != 2:
        return permute(input, *(dims or [tuple(range(dimensions))[::-1]]))
    order = list(range(dimensions))
    i, j = (axis_of(dim, dimensions) for dim in dims)
    order[i], order[j] = j, i
    return permute(input, order)


def expand(input: Any, *sizes: Any) -> Tensor:
    """Repeated along dimensions of size 1; a size of -1 stays."""
    x = array_of(input)
    wanted = list(sizes_of(sizes))
    own = [1] * (len(wanted) - x.ndim) + list(x.shape)
    shape = [n if size == -1 else size for n, size in zip(own, wanted, strict=True)]
    return record(np.broadcast_to(x, shape), (input, lambda g: g))


def flip(input: Any, *each: Any, dims: Any = None) -> Tensor:
    """The other way round along dimensions."""
    x = array_of(input)
    axes = axes_of(list(sizes_of(each) if dims is None else dims), x.ndim)
    return record(np.flip(x, axes), (input, lambda g: np.flip(g, axes)))


def repeat(input: Any, *sizes: Any) -> Tensor:
    """The whole tensor so many times along each dimension, as torch means it; see `np.repeat`."""
    x = array_of(input)
    times = [_checks.integer("sizes", size, at_least=0) for size in sizes_of(sizes)]
    if len(times) < x.ndim:
        raise ValueError(f"sizes: expected at least {x.ndim}, one for each dimension, got {times}")
    own = [1] * (len(times) - x.ndim) + list(x.shape)
    blocks = [n for pair in zip(times, own, strict=True) for n in pair]
    repeated = tuple(range(0, len(blocks), 2))
    return record(
        np.tile(x, times), (input, lambda g: g.reshape(blocks).sum(repeated).reshape(x.shape))
    )


def cat(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join tensors along a dimension that they have.

    Parameters
    ----------
    tensors : sequence of array_like
        Tensors, parameters, arrays, torch's tensors on the CPU. Gradients flow to all that are
        recorded.
    dim : int
        Negative ones count from the last. NumPy's name for it, `axis`, will do.

    Raises
    ------
    TypeError
        If `tensors` is no sequence, or a part is not made of numbers.
    ValueError
        If there is none, or the shapes do not fit.
    """
    parts = _parts(tensors)
    axis = axis_of(dim if axis is None else axis, parts[0].ndim)
    ends = np.cumsum([part.shape[axis] if part.ndim > axis else 0 for part in parts])
    before = (slice(None),) * axis

    def back(i: int) -> formulas.Back:
        place = slice(ends[i] - parts[i].shape[axis], ends[i])
        return lambda g: g[(*before, place)]

    return record(
        np.concatenate(parts, axis), *((value, back(i)) for i, value in enumerate(tensors))
    )


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Join tensors side by side: along the second dimension, or the only one."""
    dimensions = builtins.max(part.ndim for part in _parts(tensors))
    return cat(tensors, 1 if dimensions > 1 else 0)


def vstack(tensors: Sequence[Any]) -> Tensor:
    """Join rows, or tensors of rows, one above the other."""
    return cat([unsqueeze(t, 0) if len(shape_of(t)) == 1 else t for t in tensors])


def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Join columns, or tensors of rows, side by side."""
    return cat([unsqueeze(t, 1) if len(shape_of(t)) == 1 else t for t in tensors], 1)


def stack(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join tensors of one shape along a new dimension; see `cat`."""
    dim = dim if axis is None else axis
    shapes = [part.shape for part in _parts(tensors)]
    if len(set(shapes)) > 1:
        raise ValueError(f"tensors: expected one shape, got {', '.join(map(str, shapes))}")
    return cat([unsqueeze(value, dim) for value in tensors], axis_of(dim, len(shapes[0]) + 1))


def _parts(tensors: Any) -> list[Array]:
    if not isinstance(tensors, tuple | list):
        raise TypeError(f"tensors: expected a list of tensors, got {_checks.show(tensors)}")
    if not tensors:
        raise ValueError("tensors: expected at least one, got none")
    return [np.asarray(part) for part in operands(*tensors, names=("tensors",))]


def split(input: Any, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of this size along a dimension, or of the sizes in a list."""
    shape = shape_of(input)
    axis = axis_of(dim, len(shape))
    sizes = split_size
    if not isinstance(sizes, tuple | list):
        size = _checks.integer("split_size", sizes, at_least=1)
        sizes = [builtins.min(size, shape[axis] - i) for i in range(0, shape[axis], size)]
    if builtins.sum(sizes) != shape[axis]:
        raise ValueError(f"split_size: expected sizes with the sum {shape[axis]}, got {sizes}")
    ends = np.cumsum([0, *sizes])
    before = (slice(None),) * axis
    return tuple(getitem(input, (*before, slice(ends[i], ends[i + 1]))) for i in range(len(sizes)))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """As many equal parts along a dimension; the last may be smaller."""
    size = shape_of(input)[dim]
    count = _checks.integer("chunks", chunks, at_least=1)
    return split(input, -(-size // count) or 1, dim)


def unbind(input: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension."""
    shape = shape_of(input)
    before = (slice(None),) * axis_of(dim, len(shape))
    return tuple(getitem(input, (*before, i)) for i in range(shape[dim]))


def max(input: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    """The largest of all values; with `dim`, along it: (values, indices).

    With NumPy's `axis`, the values alone; with another tensor in the place of `dim`, `maximum`.
    """
    if dim is None:
        return amax(input, None, keepdim, **options)
    if hasattr(dim, "dtype") and not isinstance(dim, np.integer):
        return maximum(input, dim)
    return _extreme(np.argmax, input, dim, keepdim, **options)


def min(input: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    """As `max`, the smallest."""
    if dim is None:
        return amin(input, None, keepdim, **options)
    if hasattr(dim, "dtype") and not isinstance(dim, np.integer):
        return minimum(input, dim)
    return _extreme(np.argmin, input, dim, keepdim, **options)


def _extreme(find: Callable[..., Any], input: Any, dim: Any, keepdim: Any) -> ValuesIndices:
    keep = _checks.flag("keepdim", keepdim)
    x = array_of(input)
    axis = axis_of(dim, x.ndim)
    if x.ndim == 0:
        return ValuesIndices(record(x, (input, lambda g: g)), np.zeros((), np.int64).view(Tensor))
    at = np.expand_dims(find(x, axis), axis)
    values = gather(input, axis, at)
    if keep:
        return ValuesIndices(values, at.view(Tensor))
    return ValuesIndices(squeeze(values, axis), at.squeeze(axis).view(Tensor))
