"""Parameters: the tensors that training changes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastmlp import _checks, _conversions, _core, devices, pages
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.arithmetic import Arithmetic
from fastmlp.arithmetic.tape import node_of, recording
from fastmlp.pickling import tell_torch
from fastmlp.torch_methods import TensorMethods


class Parameter(Arithmetic, TensorMethods, NDArrayOperatorsMixin):
    """A tensor of weights and its gradient, held by the native core.

    Two names for one parameter are equal and hash alike, so that parameters go into sets.

    A weight has torch's shape, (out_features, in_features). `np.asarray(p)` and `p.data` are
    writable views; assigning (`p[...] = v`, `p.data = v`, `layer.weight = v`) copies into the
    storage that layers and optimizers hold. Arithmetic gives tensors, recorded for `backward`.

    On a CUDA device (see `Module.to`), `np.asarray(p)`, `p.data` and `p.grad` are read-only copies
    in the host's memory instead; assigning writes to the device, and so does `p -= v`. A copy
    stays on the device. A pickle comes back on the CPU, so that it can be read everywhere.

    Parameters
    ----------
    data : array_like of float32 or float64
        The first values, of at most two dimensions, copied.
    requires_grad : bool
        Whether a backward pass computes the gradient.

    Raises
    ------
    TypeError
        If `data` is of another dtype.
    ValueError
        If `data` is empty or has more than two dimensions.
    """

    _native: _core.Parameter
    _precision = "float32"  # how layers multiply with it, see Module.to

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        if type(data).__module__ == "torch" and data.is_leaf:
            data = data.detach()  # of nn.Parameter(torch.randn(1, requires_grad=True))
        values = _real_array("data", data)
        self._allocate(values.shape, _checks.dtype("data", values.dtype))
        self._native.value[...] = values
        self.requires_grad = requires_grad

    @classmethod
    def zeros(cls, shape: Sequence[int], dtype: str) -> "Parameter":
        """A parameter of zeros."""
        parameter = cls.__new__(cls)
        parameter._allocate(shape, dtype)
        parameter._native.value[...] = 0
        return parameter

    def _allocate(self, shape: Sequence[int], dtype: str) -> None:
        if len(shape) > 2 or 0 in shape:
            raise ValueError(
                f"data: expected at most two dimensions and no empty one, got shape {tuple(shape)}"
            )
        self._native = _core.Parameter(shape, dtype)
        tell_torch()  # before anybody loads a state

    def _convert(self, dtype: str) -> None:
        """Change the dtype. Recorded passes and optimizers made before are of no use afterwards."""
        if self._native.dtype != dtype:
            _checks.precision("precision", self._precision, self.device, dtype)
            old = self._native
            new = _core.Parameter(old.shape, dtype)
            new.value[...] = old.value
            new.requires_grad = old.requires_grad
            if (grad := old.grad) is not None:
                new.set_grad(grad)
            _core.move([(new, old.device)])
            old.abandon()
            self._native = new

    def _move(self, device: str, precision: str) -> None:
        """Move the values, and the gradient, if there is one."""
        _core.move([(self._native, device)])
        self._precision = precision

    def _assign(self, index: Any, values: Any) -> None:
        """Write into the storage, wherever it lies."""
        stored = self._native.value
        if stored.flags.writeable:
            stored[index] = values
            self._native.changed()
        else:
            changed = stored.copy()
            changed[index] = values
            self._native.write(changed)

    @property
    def grad(self) -> Tensor | None:
        """The gradient, of the parameter's shape; None before the first backward pass."""
        return self._native.grad

    @grad.setter
    def grad(self, values: Any) -> None:
        self._native.set_grad(values)

    @property
    def requires_grad(self) -> bool:
        """Whether a backward pass computes the gradient."""
        return self._native.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._native.requires_grad = _checks.flag("requires_grad", value)

    @property
    def device(self) -> devices.device:
        """Where the values lie: "cpu" or "cuda"."""
        return devices.device(self._native.device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(out_features, in_features) of a weight, (out_features,) of a bias."""
        return self._native.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return np.dtype(self._native.dtype)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def numpy(self) -> Array:
        """The values as a plain array: a view like `data`."""
        return self._native.value

    def tolist(self) -> Any:
        """The values as nested lists."""
        return self._native.value.tolist()

    def item(self) -> float:
        """The value of a parameter with one element, as a Python number."""
        return float(self._native.value.item())

    def copy_(self, values: Any) -> "Parameter":
        """Copy values of the same shape into this parameter.

        Raises
        ------
        TypeError
            If the values are not real numbers.
        ValueError
            If their shape differs. Nothing has changed then.
        """
        self._assign(..., self.checked("values", values))
        return self

    def checked(self, name: str, values: Any) -> Array:
        """The values as an array that fits this parameter; an error that names them otherwise."""
        array = _real_array(name, values)
        if array.shape != self.shape:
            raise ValueError(f"{name}: expected shape {self.shape}, got {array.shape}")
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = self._native.value
        if dtype is not None and np.dtype(dtype) != value.dtype:
            if copy is False:
                raise ValueError(f"copy: a parameter of {value.dtype} is no array of {dtype}")
            return value.astype(dtype)
        if copy is False and not value.flags.writeable:
            raise ValueError(f"copy: a parameter on {self.device} is an array only as a copy")
        return value.copy() if copy else value

    def __dlpack__(self, **options: Any) -> Any:
        value = self._native.value
        return (value if value.flags.writeable else value.copy()).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._native.value.__dlpack_device__()

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        if not any(isinstance(target, Parameter) for target in out):
            return super().__array_ufunc__(ufunc, method, *inputs, out=out, **options)
        if recording() and any(
            node_of(value) is not None for value in inputs if value is not out[0]
        ):
            raise RuntimeError(
                "a parameter cannot be changed in place by a recorded tensor; write"
                " with fm.no_grad():, or use the values of that with .detach()"
            )
        options["out"] = tuple(_target_of(target) for target in out)
        call: Callable[..., Any] = getattr(ufunc, method)
        result = call(*(_array_of(value) for value in inputs), **options)
        for target, array in zip(out, options.get("out", ()), strict=True):
            if isinstance(target, Parameter):
                if target.device == "cpu":
                    target._native.changed()
                else:
                    target._native.write(array)
        return out[0] if len(out) == 1 else result  # p -= v must leave p a parameter

    def _copied(self) -> Array:
        return np.array(self._native.value)

    def _add_gradient(self, gradient: Array) -> None:
        before = self._native.grad
        self._native.set_grad(gradient if before is None else before + gradient)

    def __eq__(self, other: Any) -> Any:
        """Of two parameters whether they are one; of other values element by element."""
        return self is other if isinstance(other, Parameter) else np.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return self is not other if isinstance(other, Parameter) else np.not_equal(self, other)

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return len(self._native.value)

    def __setitem__(self, index: Any, values: Any) -> None:
        self._assign(index, _real_array("values", values))

    def __reduce__(self) -> tuple[Any, ...]:
        lost = self._precision in _checks.CUDA_PRECISIONS  # on the CPU, where it comes back
        precision = "float32" if lost else self._precision
        state = {"_precision": precision}
        return type(self), (self._native.value.copy(), self.requires_grad), state

    def __copy__(self) -> "Parameter":
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameter":
        twin = type(self)(self._native.value, self.requires_grad)
        twin._move(self.device, self._precision)
        return twin

    def _repr_html_(self) -> str:
        """A table, and the values, for notebooks."""
        facts = {"shape": str(self.shape), "dtype": str(self.dtype), "device": str(self.device)}
        facts["requires_grad"] = str(self.requires_grad)
        return pages.parameter(type(self).__name__, facts, self._native.value)

    def __repr__(self) -> str:
        place = "" if self.device == "cpu" else f", device={self.device!r}"
        frozen = "" if self.requires_grad else ", requires_grad=False"
        about = f"shape={self.shape}, dtype={self.dtype}{place}{frozen}"
        return f"Parameter({about})\n{self._native.value}"


class Buffer(Parameter):
    """Numbers that a module keeps and no optimizer changes, such as running statistics.

    Like a parameter it lies with the native core, moves between devices and is part of a state
    dict; `parameters()` does not give it.

    Parameters
    ----------
    data : array_like of float32 or float64
        The first values, copied.
    """

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return (
            super()
            .__repr__()
            .replace("Parameter", "Buffer", 1)
            .replace(", requires_grad=False", "", 1)
        )


def check_successor(name: str, current: Parameter, value: Parameter | None) -> None:
    """Whether a parameter can take the place of another; an error that names it otherwise."""
    if value is None or type(value) is not type(current):
        kind = type(current).__name__
        raise TypeError(f"{name}: expected a {kind}, got {_checks.show(value)}")
    if value.shape != current.shape:
        raise ValueError(f"{name}: expected shape {current.shape}, got {value.shape}")
    if value.dtype != current.dtype:
        raise TypeError(f"{name}: expected {current.dtype}, the layer's dtype, got {value.dtype}")


def _real_array(name: str, values: Any) -> Array:
    if isinstance(values, Parameter):
        return values._native.value
    return _conversions.as_array(values, name)


def _array_of(value: Any) -> Any:
    return value._native.value if isinstance(value, Parameter) else value


def _target_of(value: Any) -> Any:
    """What a ufunc may write into; from a device, a copy that has to go back."""
    array = _array_of(value)
    return array if array is value or array.flags.writeable else array.copy()


def check_each(name: str, params: Any) -> tuple[Parameter, ...]:
    """The parameters of an iterable; TypeError naming the argument for anything else."""
    is_model = hasattr(params, "parameters")
    if isinstance(params, dict):
        raise TypeError(
            f"{name}: expected parameters, got a dict; write its values(), or model.parameters()"
        )
    if is_model or isinstance(params, Parameter) or not hasattr(params, "__iter__"):
        hint = "; write model.parameters()" if is_model else ""
        if callable(params) and not is_model:
            hint = "; write model.parameters(), with brackets"
        got = _checks.origin(params)
        raise TypeError(f"{name}: expected parameters, got {_checks.show(params)}{got}{hint}")
    found = tuple(params)
    for item in found:
        if not isinstance(item, Parameter):
            got = _checks.origin(item)
            named = isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Parameter)
            hint = "; write parameters() instead of named_parameters()" if named else ""
            raise TypeError(f"{name}: expected parameters, got {_checks.show(item)}{got}{hint}")
    return found
