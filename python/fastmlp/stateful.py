"""What a module holds: parameters and buffers, their names, their dtype and place."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.parameter import Buffer, Parameter

S = TypeVar("S", bound="Stateful")


class IncompatibleKeys(NamedTuple):
    """The keys in which a state dict and a model differed."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Stateful(_core.Model):
    """The half of `Module` that deals with what modules hold."""

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        raise NotImplementedError

    def _walk(self, name: str) -> Iterator[tuple[str, "Stateful"]]:
        raise NotImplementedError

    def modules(self) -> Iterator[Any]:
        raise NotImplementedError

    # Names

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, with names such as ``0.weight``.

        Parameters
        ----------
        prefix : str
            In front of all names.
        recurse : bool
            Whether to visit the modules below this one, too.
        """
        seen: set[int] = set()
        for name, parameter in self._all_parameters(recurse):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{prefix}.{name}" if prefix else name, parameter

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def _own(self, recurse: bool) -> Iterator[tuple[str, "Stateful"]]:
        return self._walk("") if recurse else iter([("", self)])

    def _all_parameters(self, recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        for prefix, module in self._own(recurse):
            for name, value in list(module.__dict__.items()):
                if isinstance(value, Parameter) and not isinstance(value, Buffer):
                    yield f"{prefix}.{name}" if prefix else name, value

    def _stored(self) -> Iterator[Parameter]:
        """All that the native core holds, parameters and buffers, each once."""
        seen: set[int] = set()
        for _, place in self._all_state():
            if isinstance(place, Parameter) and id(place) not in seen:
                seen.add(id(place))
                yield place

    # Buffers

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Keep an array with the module that is no parameter, such as a mean of the data.

        Parameters
        ----------
        name : str
            The attribute that holds it; assigning to that later replaces it.
        tensor : array_like or None
            Copied.
        persistent : bool
            Whether it is part of the state dict.

        Raises
        ------
        KeyError
            If the name is taken.
        TypeError
            If the values are not real numbers.
        """
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"name: expected a name without dots, got {name!r}")
        if name not in self._buffers() and (name in self.__dict__ or hasattr(type(self), name)):
            raise KeyError(f"name: {name!r} is an attribute already")
        persistent = _checks.flag("persistent", persistent)
        value = self._checked_buffer(name, tensor)
        self.__dict__.setdefault("_buffer_names", {})[name] = persistent
        setattr(self, name, value)

    def _buffers(self) -> dict[str, bool]:
        """The names of the module's own buffers, and whether they are persistent."""
        names: dict[str, bool] = self.__dict__.get("_buffer_names", {})
        return names

    @staticmethod
    def _checked_buffer(name: str, value: Any) -> Array | None:
        return None if value is None else np.array(_conversions.as_array(value, name)).view(Tensor)

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Array]]:
        """All buffers and their names."""
        for at, module in self._own(recurse):
            native = [name for name, value in module.__dict__.items() if isinstance(value, Buffer)]
            for name in (*native, *module._buffers()):
                if (value := module.__dict__[name]) is not None:
                    array = value.data if isinstance(value, Buffer) else value
                    yield ".".join(part for part in (prefix, at, name) if part), array

    def buffers(self, recurse: bool = True) -> Iterator[Array]:
        """All buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # State

    def state_dict(self) -> "OrderedDict[str, Tensor]":
        """Copies of all parameters and persistent buffers, by name.

        torch's `load_state_dict` wants tensors: `fastmlp.nn.utils.to_torch` makes them.
        """
        state: OrderedDict[str, Tensor] = OrderedDict()
        for name, place in self._all_state():
            value = place.data if isinstance(place, Parameter) else place[0].__dict__[place[1]]
            state[name] = np.array(value, order="C").view(Tensor)
        return state

    def _all_state(self) -> Iterator[tuple[str, Any]]:
        """What a state dict holds: parameters, and buffers as pairs of module and name."""
        for prefix, module in self._walk(""):
            at = f"{prefix}." if prefix else ""
            for name, value in list(module.__dict__.items()):
                if isinstance(value, Parameter):
                    yield at + name, value
            for name, persistent in module._buffers().items():
                if persistent and module.__dict__[name] is not None:
                    yield at + name, (module, name)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values into the parameters and buffers, after checking all of them.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            As `state_dict` returns it, or as torch does.
        strict : bool
            Whether the keys must be exactly those of this module.

        Returns
        -------
        IncompatibleKeys
            `missing_keys` and `unexpected_keys`.

        Raises
        ------
        TypeError
            If a value is not made of real numbers.
        ValueError
            If a shape differs, or, with `strict`, a key. Nothing has changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a mapping, got {_checks.show(state_dict)}")
        own = dict(self._all_state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        if _checks.flag("strict", strict) and (missing or unexpected):
            got = [f"no {name!r}" for name in missing] + [f"also {name!r}" for name in unexpected]
            raise ValueError(f"state_dict: expected the keys {list(own)}, got {', '.join(got)}")
        values = {
            name: self._checked_state(name, place, state_dict[name])
            for name, place in own.items()
            if name in state_dict
        }
        for name, value in values.items():
            place = own[name]
            if isinstance(place, Parameter):
                place.copy_(value)
            else:
                place[0].__dict__[place[1]][...] = value
        return IncompatibleKeys(missing, unexpected)

    @staticmethod
    def _checked_state(name: str, place: Any, value: Any) -> Array:
        if isinstance(value, Parameter) or "torch" in type(value).__module__:
            value = value.detach() if hasattr(value, "detach") else value
        if isinstance(place, Parameter):
            return place.checked(name, value).astype(place.dtype)  # what can fail, fails here
        current = place[0].__dict__[place[1]]
        array = _conversions.as_array(value, name)
        if array.shape != current.shape:
            raise ValueError(f"{name}: expected shape {current.shape}, got {array.shape}")
        return array.astype(current.dtype)

    # Place and dtype

    def to(
        self: S,
        *where: Any,
        device: Any = None,
        dtype: Any = None,
        precision: str | None = None,
    ) -> S:
        """Move all parameters, here and below, and their gradients, in place, or convert them.

        On a CUDA device, calls, `predict` and `Trainer.fit` compute there. `model(x)` takes arrays
        of the host, as always, and its output is one; `predict` and `fit` also take arrays that lie
        on the device. Optimizers go on as they are after a move; after a change of dtype they
        refuse to.

        Parameters
        ----------
        *where : str, dtype, or array
            A device, a dtype (torch's, too), or something of the dtype that is meant.
        device : {"cpu", "cuda", "cuda:0"}, optional
            Where to; without it the parameters stay where they are.
        dtype : {"float32", "float64"}, optional
            What to convert parameters and buffers of real numbers to.
        precision : {"float32", "float32x3", "tf32", "bf16"}, optional
            How float32 matrices are multiplied: in float32, or after rounding to bfloat16 or, on a
            CUDA device alone, to TF32; or, there alone, in float32 by three products of TF32
            ("float32x3": sums as exact as float32's of numbers above 1e-34; below, to 1e-41 times
            the other factor). All else stays float32: sums, parameters, activations; and,
            on a CUDA device, tiny networks, which train as a whole in one launch. Rounding pays
            for large layers, on a device and on processors with instructions for it (AMX,
            AVX512_BF16; `fastmlp info` names those in use); others compute bfloat16's products
            with float32's instructions. Without it, all stays as it is, but that a move to the
            CPU turns TF32 and float32x3 into float32.

        Returns
        -------
        Module
            This one.

        Raises
        ------
        RuntimeError
            If there is no CUDA device; the message says what is missing. Nothing has changed then.
            Also while the parameters are being trained.
        """
        for value in where:
            if value is None:
                continue
            if _checks.is_dtype(value):
                dtype = value
            elif hasattr(value, "dtype"):
                dtype = value.dtype
            else:
                device = value
        if dtype is not None:
            self._convert(_checks.dtype("dtype", dtype))
        if device is not None or precision is not None:
            torch_device = type(device).__name__ == "device"
            self._move(str(device) if torch_device else device, precision)
        return self

    def _convert(self, dtype: str) -> None:
        parameters = list(self._stored())
        for parameter in parameters:
            _checks.precision("precision", parameter._precision, parameter.device, dtype)
        for parameter in parameters:
            parameter._convert(dtype)
        for module in self.modules():
            for name in module._buffers():
                value = module.__dict__[name]
                if value is not None and value.dtype.kind == "f":
                    module.__dict__[name] = value.astype(dtype)
        _core.structure_changed()

    def _move(self, device: str | None, precision: str | None) -> None:
        raise NotImplementedError

    def float(self: S) -> S:
        """Convert all parameters to float32, in place; returns this module."""
        return self.to(dtype="float32")

    def double(self: S) -> S:
        """Convert all parameters to float64, in place; returns this module."""
        return self.to(dtype="float64")

    def half(self: S) -> S:
        """Not there: parameters are float32 or float64."""
        raise TypeError('dtype: expected float32 or float64, got float16; see precision="bf16"')

    def cpu(self: S) -> S:
        """Move all parameters to the host; returns this module."""
        return self.to(device="cpu")

    def cuda(self: S, device: int | str | None = None) -> S:
        """Move all parameters to the CUDA device; returns this module."""
        return self.to(device="cuda" if device in (None, 0) else str(device))
