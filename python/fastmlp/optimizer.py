"""The base of the optimizers: parameters, options, and state in torch's layout."""

import copyreg
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks, _core
from fastmlp._types import Array
from fastmlp.options import (
    TORCH_ONLY,
    Option,
    ParameterGroup,
    check_torch_only,
)
from fastmlp.parameter import Parameter, check_each


def _native_options(name: str, value: Any) -> dict[str, float]:
    if name == "betas":
        return {"beta1": value[0], "beta2": value[1]}
    return {name: float(value)}


# What torch's groups hold beside our options.
_FOREIGN = (*TORCH_ONLY, "params", "param_names", "initial_lr", "decoupled_weight_decay")


class _Checked(NamedTuple):
    """A state dict as far as it has been looked at, ready for the native optimizer."""

    options: dict[str, Any]
    native: dict[str, Any]


class Optimizer(_core.Optimizer):
    """Base of the optimizers.

    Parameters
    ----------
    params : iterable of Parameter
        Such as `model.parameters()`.

    Attributes
    ----------
    parameters : tuple of Parameter
    options : mapping
        The options by name, to be read.
    param_groups : list of one dict
        The options by torch's names, and the parameters. Assigning to an option takes effect at the
        next step.

    Raises
    ------
    TypeError
        If `params` holds anything but parameters, or they differ in dtype.
    ValueError
        If `params` is empty or names a parameter twice, or an option is out of range.
    """

    _parameters: tuple[Parameter, ...]
    _options: dict[str, Any]
    _group: ParameterGroup
    _native_kind: str

    def __init__(
        self,
        kind: str,
        params: Iterable[Parameter],
        options: dict[str, Any],
        torch_only: dict[str, Any] | None = None,
    ) -> None:
        check_torch_only(type(self).__name__, torch_only or {}, list(options))
        self._parameters = _check_parameters(params)
        self._options = {name: self._check_option(name, value) for name, value in options.items()}
        self._check_together(self._options)
        self._native_kind = kind
        self._make()

    def _make(self) -> None:
        native: dict[str, float] = {}
        for name, value in self._options.items():
            native |= _native_options(name, value)
        super().__init__(self._native_kind, [p._native for p in self._parameters], native)
        self._group = ParameterGroup(self)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that it changes."""
        return self._parameters

    @property
    def options(self) -> Mapping[str, Any]:
        """The options by name, to be read; set them as attributes."""
        return MappingProxyType(self._options)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """One dict of the options and the parameters, through which options can be set, too."""
        return [self._group]

    def __setattr__(self, name: str, value: Any) -> None:
        # Subclasses of one's own have attributes of their own.
        if not hasattr(type(self), name) and name not in Optimizer.__annotations__:
            own = type(self).__module__.startswith("fastmlp.")
            if own or name in _checks.SYNONYMS:
                _checks.refuse_attribute(self, name, self._options)
        super().__setattr__(name, value)

    def set_option(self, name: str, value: Any) -> None:
        """Change an option; the same as assigning to the attribute of that name."""
        self._set_options({name: self._check_option(name, value)})

    def _set_options(self, changes: dict[str, Any]) -> None:
        options = {**self._options, **changes}
        self._check_together(options)
        for name, value in changes.items():
            for native_name, native in _native_options(name, value).items():
                super().set_option(native_name, native)
            dict.__setitem__(self._group, name, value)
        self._options = options

    def _check_option(self, name: str, value: Any) -> Any:
        option = getattr(type(self), name, None)
        if not isinstance(option, Option):
            known = self._options
            raise ValueError(
                f"{type(self).__name__} has no option {name!r}{_checks.similar(name, known)}"
            )
        return option.check(name, value)

    def _check_together(self, options: dict[str, Any]) -> None:
        """Check what depends on several options."""

    # State

    @property
    def _counts(self) -> bool:
        """Whether torch's states of this kind have a step."""
        return self._native_kind != "sgd"

    def state_dict(self) -> dict[str, Any]:
        """The options, and what was gathered over the steps, in torch's layout.

        Returns
        -------
        dict
            `state`: by the parameter's number its `step` and arrays of its shape, such as
            `exp_avg`. `param_groups`: a list of one dict of options, with the numbers as `params`.
            Arrays are copies; `fastmlp.nn.utils.to_torch` makes tensors of them.
        """
        native = self._state()
        state: dict[int, dict[str, Any]] = {}
        for number, parameter in enumerate(self._parameters):
            steps = native[f"{number}.steps"]
            if steps == 0:
                continue
            entry: dict[str, Any] = {"step": float(steps)} if self._counts else {}
            for name in _core.state_names(self._native_kind):
                if (array := native.get(f"{number}.{name}")) is not None:
                    entry[name] = _to_shape(array, parameter.shape)
            if entry:
                state[number] = entry
        group = {**self._options, **TORCH_ONLY, "params": list(range(len(self._parameters)))}
        if self._native_kind in ("adam", "adamw"):
            group["decoupled_weight_decay"] = self._native_kind == "adamw"
        return {"state": state, "param_groups": [group]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict of this optimizer's kind, torch's or ours.

        Raises
        ------
        TypeError, ValueError
            If it is of another layout, or for other parameters. Nothing has changed then.
        """
        self._load(self._checked(state_dict))

    def _load(self, checked: _Checked) -> None:
        self._set_state(checked.native)
        self._set_options(checked.options)

    def _checked(self, state_dict: Any) -> _Checked:
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise TypeError(
                "state_dict: expected a mapping with state and param_groups, got"
                f" {_checks.show(state_dict)}"
            )
        state, groups = state_dict["state"], state_dict["param_groups"]
        if not isinstance(state, Mapping) or not isinstance(groups, list | tuple):
            raise TypeError("state_dict: expected a mapping as state and a list as param_groups")
        if not all(
            isinstance(g, Mapping) and isinstance(g.get("params"), list | tuple) for g in groups
        ):
            raise TypeError("state_dict: expected dicts with params in param_groups")
        numbers = [number for group in groups for number in group["params"]]
        if len(groups) != 1 or len(numbers) != len(self._parameters):
            sizes = [len(group["params"]) for group in groups]
            raise ValueError(
                f"state_dict: expected one group of {len(self._parameters)} parameters, got groups"
                f" of {sizes}"
            )
        if odd := [number for number in state if number not in numbers]:
            raise ValueError(f"state_dict: expected the state of {numbers}, got also {odd[0]!r}")
        options = self._checked_options(groups[0])
        entries = [state.get(number, {}) for number in numbers]
        native: dict[str, Any] = {}
        for slot, entry in enumerate(entries):
            steps, arrays = self._native_state(numbers[slot], entry, self._parameters[slot])
            native[f"{slot}.steps"] = steps
            native |= {f"{slot}.{name}": array for name, array in arrays.items()}
        return _Checked(options, native)

    def _checked_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        for name in group:
            if name not in self._options and name not in _FOREIGN:
                kind = type(self).__name__
                raise ValueError(f"state_dict: expected that of {kind}, got one with {name!r}")
        options = {
            name: self._check_option(name, group[name]) for name in self._options if name in group
        }
        self._check_together({**self._options, **options})
        decoupled = group.get("decoupled_weight_decay", self._native_kind == "adamw")
        if decoupled != (self._native_kind == "adamw") and options.get("weight_decay"):
            other = "AdamW" if decoupled else "Adam"
            raise ValueError(f"state_dict: expected that of {type(self).__name__}, got {other}'s")
        return options

    def _native_state(
        self, number: Any, entry: Any, parameter: Parameter
    ) -> tuple[int, dict[str, Array]]:
        names, counts = _core.state_names(self._native_kind), self._counts
        what = f"state_dict: state {number}"
        if not isinstance(entry, Mapping):
            raise TypeError(f"{what}: expected a mapping, got {_checks.show(entry)}")
        arrays: dict[str, Array] = {}
        for name, value in entry.items():
            if name in names and value is not None:
                array = parameter.checked(f"{what}: {name}", value).astype(parameter.dtype)
                arrays[name] = np.ascontiguousarray(array.T).reshape(-1)
            elif value is not None and not (counts and name == "step"):
                kind = type(self).__name__
                raise ValueError(f"{what}: expected that of {kind}, got one with {name!r}")
        if not counts:
            return len(arrays), arrays
        steps = _checks.real(f"{what}: step", entry.get("step", 0), at_least=0, below=2**53)
        if steps != int(steps):
            raise ValueError(f"{what}: step: expected a whole number, got {steps}")
        gathered = names[:2] if self._native_kind in ("adam", "adamw") else names[:1]
        if steps and (missing := [name for name in gathered if entry.get(name) is None]):
            raise ValueError(f"{what}: expected {missing[0]!r} after {steps:.0f} steps, got none")
        return int(steps), arrays

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in self.__dict__.items() if name != "_group"}
        return {"attributes": own, "native": self._state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._make()
        self._set_state(state["native"])

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self._options.items())
        return f"{type(self).__name__}({options})"


def _to_shape(flat: Array, shape: tuple[int, ...]) -> Array:
    """A native state, stored in x out, in the parameter's shape."""
    return flat.reshape(shape[::-1]).T.copy()


def _check_parameters(params: Any) -> tuple[Parameter, ...]:
    found = check_each("params", params)
    if not found:
        raise ValueError(
            "params: expected at least one parameter, got none: a model without parameters, or a"
            " generator that has been used up; layers in a plain list are not found, keep them in"
            " attributes, a Sequential or a ModuleList"
        )
    if len({id(parameter) for parameter in found}) < len(found):
        raise ValueError("params: expected each parameter once, got one of them twice")
    if len(dtypes := sorted({str(parameter.dtype) for parameter in found})) > 1:
        raise TypeError(f"params: expected parameters of one dtype, got {' and '.join(dtypes)}")
    return found
