"""The methods of torch's tensors that NumPy's arrays lack, or have with other arguments.

Tensors and parameters have them, beside those of arithmetic. Where NumPy has a method of that name,
its arguments will do, too.
"""

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastmlp import _checks, _conversions, _core, seeds
from fastmlp._core import Tensor
from fastmlp.arithmetic.functions import cast
from fastmlp.arithmetic.operands import axis_of
from fastmlp.arithmetic.places import ValuesIndices, gather
from fastmlp.arithmetic.tape import node_of
from fastmlp.devices import device
from fastmlp.tensor_methods import check_writable, install

S = TypeVar("S", bound="TensorMethods")
_CPU = device("cpu")
_NAMES = {
    "bool": "Bool",
    "uint8": "Byte",
    "int32": "Int",
    "int64": "Long",
    "float32": "Float",
    "float64": "Double",
}


class Size(int):
    """The number of elements, which NumPy means; called, the sizes of the dimensions."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        if dim is None:
            return self.shape
        if not self.shape:
            raise ValueError(f"dim: expected none, for the tensor has no dimensions, got {dim}")
        return self.shape[axis_of(dim, len(self.shape))]


def _tensor(values: Any) -> Tensor:
    return np.asarray(values).view(Tensor)


def _operand(name: str, value: Any) -> Any:
    """Numbers as they are, so that they leave a tensor's dtype alone; all else as an array."""
    known = isinstance(value, bool | int | float | Tensor | TensorMethods)
    return value if known else _conversions.as_array(value, name)


def _store(tensor: S, values: Any) -> S:
    """Write values of any dtype into a tensor or parameter."""
    check_writable(tensor)
    if not isinstance(tensor, np.ndarray):
        return tensor.copy_(values)
    np.copyto(np.asarray(tensor), values, casting="unsafe")
    return tensor


def _update(tensor: S, function: Any, change: Any, alpha: float = 1) -> S:
    """Write a function of the tensor and an operand into it."""
    check_writable(tensor)
    _checks.real("alpha", alpha)
    with np.errstate(all="ignore"):  # infinity - infinity is NaN
        function(tensor, change if alpha == 1 else change * alpha, out=tensor)
    return tensor


def _draw(tensor: S, fill: Any, first: float, second: float, generator: None) -> S:
    if generator is not None:
        raise TypeError(f"generator: expected None, got {_checks.show(generator)}; see manual_seed")
    values = np.empty(tensor.shape)
    fill(values, first, second, *seeds.current().next_stream())
    return _store(tensor, values)


def _reduced(function: Any, tensor: Any, dim: Any, keepdim: Any, options: dict[str, Any]) -> Tensor:
    """NumPy's function over dimensions; `options` are NumPy's."""
    values = np.asarray(tensor)
    if dim is not None:
        dims = dim if isinstance(dim, tuple | list) else (dim,)
        axes = tuple(axis_of(one, values.ndim) for one in dims)
        if values.ndim:
            options["axis"] = axes if len(axes) > 1 else axes[0]
    if _checks.flag("keepdim", keepdim):
        options["keepdims"] = True
    with np.errstate(all="ignore"):
        return _tensor(function(values, **options))


def _elementwise(function: Any) -> Any:
    def method(self: Any) -> Tensor:
        return _tensor(function(np.asarray(self)))

    method.__doc__ = f"See `numpy.{function.__name__}`."
    return method


def _comparison(function: Any) -> Any:
    def method(self: Any, other: Any) -> Tensor:
        return _tensor(function(np.asarray(self), _operand("other", other)))

    method.__doc__ = f"See `numpy.{function.__name__}`."
    return method


class TensorMethods:
    """For tensors, and for the classes that hold their numbers elsewhere."""

    __slots__ = ()
    if TYPE_CHECKING:
        requires_grad: bool

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def dtype(self) -> np.dtype[Any]: ...
        def clone(self) -> Tensor: ...

    # Shapes and places

    @property
    def size(self) -> Any:
        """The number of elements, as NumPy calls it. Called, the shape, or one size of it."""
        size = Size(math.prod(self.shape))
        size.shape = self.shape
        return size

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """The number of elements."""
        return int(self.size)

    nelement, ndimension = numel, dim

    @property
    def device(self) -> str:
        """Where the values lie: "cpu"."""
        return _CPU

    @property
    def is_cuda(self) -> bool:
        """Whether the values lie on a CUDA device."""
        return self.device != "cpu"

    def contiguous(self) -> Any:
        """This tensor, or a copy, if its rows do not lie one after the other."""
        return self if np.asarray(self).flags.c_contiguous else self.clone()

    # Copies and views

    def detach(self) -> Tensor:
        """A tensor of no graph, on the same memory.

        Of what is recorded, whose memory others need, a copy; of a device's memory a read-only one.
        """
        values = np.asarray(self)
        if isinstance(self, Tensor) and not values.flags.writeable and node_of(self) is not None:
            values = values.copy()
        return _tensor(values)

    @property
    def data(self) -> Tensor:
        """The values themselves, of no graph; assigning copies values into the tensor."""
        return _tensor(self)

    @data.setter
    def data(self, values: Any) -> None:
        self.copy_(values)

    def requires_grad_(self: S, requires_grad: bool = True) -> S:
        """Set `requires_grad`; returns this tensor."""
        self.requires_grad = requires_grad
        return self

    def register_hook(self, hook: Any) -> Any:
        """Not there: RuntimeError that says what to write."""
        raise RuntimeError(
            "register_hook: single tensors have no hooks; change p.grad between backward() and"
            " step(), or see Module.register_full_backward_hook"
        )

    @property
    def is_leaf(self) -> Any:
        """Whether this is no result of recorded operations."""
        return not isinstance(self, Tensor) or node_of(self) is None or _core.is_leaf(self)

    @property
    def grad_fn(self) -> Any:
        """The operation that the tensor is a result of; None for leaves."""
        return None if self.is_leaf else node_of(self)

    # Comparison and order

    eq, ne = _comparison(np.equal), _comparison(np.not_equal)
    gt, ge = _comparison(np.greater), _comparison(np.greater_equal)
    lt, le = _comparison(np.less), _comparison(np.less_equal)
    isnan, isinf, isfinite = map(_elementwise, (np.isnan, np.isinf, np.isfinite))

    def all(self, dim: Any = None, keepdim: bool = False, **options: Any) -> Tensor:
        """Whether all are true, along dimensions or in all."""
        return _reduced(np.all, self, dim, keepdim, options)

    def any(self, dim: Any = None, keepdim: bool = False, **options: Any) -> Tensor:
        """Whether one is true, along dimensions or in all."""
        return _reduced(np.any, self, dim, keepdim, options)

    def argmax(self, dim: Any = None, keepdim: bool = False, **options: Any) -> Tensor:
        """Where the largest value is, along a dimension or in the flattened tensor."""
        return _reduced(np.argmax, self, dim, keepdim, options)

    def argmin(self, dim: Any = None, keepdim: bool = False, **options: Any) -> Tensor:
        """Where the smallest value is, along a dimension or in the flattened tensor."""
        return _reduced(np.argmin, self, dim, keepdim, options)

    def argsort(self, dim: int = -1, descending: bool = False, **options: Any) -> Tensor:
        """The indices that sort along a dimension."""
        values = np.atleast_1d(np.asarray(self))
        given = {name: value for name, value in options.items() if value is not None}
        given.pop("stable", None)  # it is
        how: dict[str, Any] = {"axis": axis_of(dim, values.ndim), "kind": "stable"} | given
        if not _checks.flag("descending", descending):
            return _tensor(np.argsort(values, **how).reshape(self.shape))
        axis = how["axis"]
        order = np.flip(np.argsort(np.flip(values, axis), **how), axis)
        return _tensor((values.shape[axis] - 1 - order).reshape(self.shape))

    def sort(self, dim: int = -1, descending: bool = False, **options: Any) -> Any:
        """Sorted values and their indices, as in torch; with NumPy's `axis` or `kind`, in place."""
        if {"axis", "kind", "order"} & options.keys():
            return np.asarray(self).sort(**{k: v for k, v in options.items() if v is not None})
        indices = self.argsort(dim, descending, **options)
        values = gather(self, dim, indices) if self.dim() else self.clone()
        return ValuesIndices(values, indices)

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
        """The k largest values along a dimension, or smallest, in order, and their indices."""
        size = self.size(dim)
        count = _checks.integer("k", k, at_least=0, below=size + 1)
        values, indices = self.sort(dim, _checks.flag("largest", largest))
        place = (*[slice(None)] * (dim % self.dim()), slice(count))
        return ValuesIndices(values[place], indices[place])

    def nonzero(self, *, as_tuple: Any = False) -> Any:
        """Where values differ from zero: a row of indices for each, or an array a dimension."""
        found = np.nonzero(np.atleast_1d(np.asarray(self)))
        if _checks.flag("as_tuple", as_tuple):
            return tuple(map(_tensor, found))
        return _tensor(np.stack(found, 1)[:, : self.dim()])

    # In place

    def copy_(self: S, src: Any) -> S:
        """Write values, converted to this dtype and repeated where dimensions are 1."""
        return _store(self, _operand("src", src))

    def fill_(self: S, value: Any) -> S:
        """The same number everywhere."""
        number = np.asarray(_operand("value", value))
        if number.ndim:
            raise ValueError(f"value: expected one number, got shape {number.shape}")
        return _store(self, np.full(self.shape, number))

    def zero_(self: Any) -> Any:
        """Zeros."""
        return self.fill_(0)

    def add_(self: S, other: Any, *, alpha: float = 1) -> S:
        """Add alpha * other."""
        return _update(self, np.add, _operand("other", other), alpha)

    def sub_(self: S, other: Any, *, alpha: float = 1) -> S:
        """Subtract alpha * other."""
        return _update(self, np.subtract, _operand("other", other), alpha)

    def mul_(self: S, other: Any) -> S:
        """Multiply."""
        return _update(self, np.multiply, _operand("other", other))

    def div_(self: S, other: Any) -> S:
        """Divide."""
        return _update(self, np.divide, _operand("other", other))

    def clamp_(self: S, min: Any = None, max: Any = None) -> S:
        """Limit to [min, max]."""
        if min is None and max is None:
            raise ValueError("min: expected a number for min or max, got None for both")
        low = None if min is None else _operand("min", min)
        high = None if max is None else _operand("max", max)
        if low is not None:
            _update(self, np.maximum, low)
        return self if high is None else _update(self, np.minimum, high)

    def normal_(self: S, mean: float = 0.0, std: float = 1.0, *, generator: None = None) -> S:
        """Normally distributed random numbers; see `fastmlp.manual_seed`."""
        mean, std = _checks.real("mean", mean), _checks.real("std", std, at_least=0)
        return _draw(self, _core.fill_normal, mean, std, generator)

    def uniform_(self: S, a: float = 0.0, b: float = 1.0, *, generator: None = None) -> S:
        """Random numbers within [a, b); see `fastmlp.manual_seed`."""
        low = _checks.real("a", a)
        high = _checks.real("b", b, at_least=low)
        return _draw(self, _core.fill_uniform, low, high, generator)

    # Conversion. Last, for some hide the names of Python's types.

    def to(self, *where: Any, dtype: Any = None, device: Any = None, **options: Any) -> Any:
        """This tensor, or, if its dtype is another, a copy of the wanted one.

        Tensors lie in the host's memory, from where models on a CUDA device read them, too.

        Parameters
        ----------
        *where, dtype, device : dtype, device, or a tensor
            A tensor stands for its dtype.
        copy, non_blocking : bool
            With `copy`, always a copy.
        """
        for value in where:
            if _checks.is_dtype(value):
                dtype = value
            elif hasattr(value, "dtype"):
                dtype = value.dtype
            elif value is not None and not isinstance(value, bool):
                device = value
        if unknown := options.keys() - {"copy", "non_blocking", "memory_format"}:
            raise TypeError(f"to: expected a dtype, a device or a tensor, got {unknown.pop()}=...")
        source = self
        if device is not None and _checks.device("device", str(device)) == "cpu" and self.is_cuda:
            source = self.detach()
        wanted = source.dtype if dtype is None else _checks.any_dtype("dtype", dtype)
        if wanted == source.dtype and not options.get("copy"):
            return source
        with np.errstate(all="ignore"):
            return cast(source, wanted)

    def type(self, dtype: Any = None) -> Any:
        """A copy of another dtype; without one, torch's name of this one's type."""
        if dtype is None:
            return f"torch.{_NAMES.get(str(self.dtype), self.dtype.name.title())}Tensor"
        names = {f"torch.{name}Tensor": known for known, name in _NAMES.items()}
        return self.to(dtype=names.get(dtype, dtype) if isinstance(dtype, str) else dtype)

    def type_as(self, other: Any) -> Any:
        """The same as `to(other)`."""
        return self.to(other)

    def cpu(self) -> Any:
        """This tensor; of what lies on a device, a copy."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Any:
        """The same as `to("cuda")`: this tensor, if there is a CUDA device."""
        return self.to(device="cuda")

    def double(self) -> Any:
        """In float64."""
        return self.to(dtype="float64")

    def long(self) -> Any:
        """In int64."""
        return self.to(dtype="int64")

    def __float__(self) -> float:
        return float(np.asarray(self).item())

    def __int__(self) -> int:
        return int(np.asarray(self).item())

    def half(self) -> Any:
        """In float16."""
        return self.to(dtype="float16")

    def float(self) -> Any:
        """In float32."""
        return self.to(dtype="float32")

    def int(self) -> Any:
        """In int32."""
        return self.to(dtype="int32")

    def bool(self) -> Any:
        """Whether values differ from zero."""
        return self.to(dtype="bool")


for _name, _method in vars(TensorMethods).items():
    if (callable(_method) or isinstance(_method, property)) and (
        _name[:2] != "__" or _name in ("__float__", "__int__")
    ):
        install(_name, _method)
