"""The base of the optimizers: parameters, options, and state in torch's layout."""

import copyreg
from collections.abc import Iterable, Mapping
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks, _core
from fastmlp._core import Tensor
from fastmlp._types import Array
from fastmlp.options import (
    NOTES,
    TORCH_ONLY,
    Option,
    ParameterGroup,
    ParameterGroups,
    check_torch_only,
)
from fastmlp.parameter import Parameter
from fastmlp.parameter_lists import check_groups, check_parameters, group_parameters
from fastmlp.state_layouts import LAYOUTS, StateLayout

# What torch's groups hold beside our options.
_FOREIGN = (*TORCH_ONLY, "params", "param_names", "decoupled_weight_decay")


Params = Iterable[Parameter] | Iterable[Mapping[str, Any]]


class _Checked(NamedTuple):
    """A state dict as far as it has been looked at, ready for the native optimizer."""

    groups: list[dict[str, Any]]  # options and notes
    native: dict[str, Any]


class Optimizer(_core.Optimizer):
    """Base of the optimizers.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        Such as `model.parameters()`; or groups with options of their own, dicts of `params` and of
        those options that differ from the optimizer's.

    Attributes
    ----------
    parameters : tuple of Parameter
        Of all groups.
    options : mapping
        The options of the first group by name, to be read.
    defaults : mapping
        The options of groups without their own, to be read.
    param_groups : list of dict
        The options of each group by torch's names, and its parameters. Assigning to an option takes
        effect at the next step, also from a callback. An option that is set as an attribute of the
        optimizer, such as `optimizer.lr`, is set in all groups.

    Raises
    ------
    TypeError
        If `params` holds anything but parameters or groups, or the parameters differ in dtype.
    ValueError
        If `params` is empty or names a parameter twice, or an option is out of range.
    """

    _defaults: dict[str, Any]
    _groups: ParameterGroups
    _native_kind: str

    def __init__(
        self,
        kind: str,
        params: Params,
        options: dict[str, Any],
        torch_only: dict[str, Any] | None = None,
    ) -> None:
        check_torch_only(type(self).__name__, torch_only or {}, list(options))
        self._native_kind = kind
        given = check_groups(params)
        self._defaults = dict(options)  # so that messages know the names
        self._defaults = self._checked_changes(options)
        self._check_together(self._defaults)
        checked = [self._checked_group(i, group) for i, group in enumerate(given)]
        check_parameters([p for group in checked for p in group["params"]])
        self._make(checked)

    def _make(self, groups: list[dict[str, Any]]) -> None:
        first = next(p for group in groups for p in group["params"])
        super().__init__(self._native_kind, str(first.dtype))
        self._groups = ParameterGroups()
        for group in groups:
            self._append(group)

    def _append(self, group: dict[str, Any]) -> None:
        options = {name: group[name] for name in self._defaults}
        super()._add_group([p._native for p in group["params"]], self._native_options(options))
        own = ParameterGroup(self, len(self._groups), group["params"], options)
        list.append(self._groups, own)
        if notes := {name: value for name, value in group.items() if name in NOTES}:
            own.update(notes)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters from the next step on, also from a callback during `fit`.

        Parameters
        ----------
        param_group : mapping
            `params`: a parameter or an iterable of them, of the optimizer's dtype. Options that are
            missing are the optimizer's `defaults`.

        Raises
        ------
        TypeError, ValueError
            If it is no such mapping, or a parameter is in the optimizer already. Nothing has
            changed then.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(
                f"param_group: expected a mapping with params, got {_checks.show(param_group)}"
            )
        group = self._checked_group(len(self._groups), param_group)
        check_parameters([*self.parameters, *group["params"]])
        self._append(group)

    def _checked_group(self, number: int, group: Mapping[str, Any]) -> dict[str, Any]:
        what = f"param_groups[{number}]"
        params = group_parameters(what, group)
        if "decoupled_weight_decay" in self._defaults:
            foreign = tuple(name for name in _FOREIGN if name != "decoupled_weight_decay")
        else:
            foreign = _FOREIGN
        for name in group:
            if name not in self._defaults and name not in NOTES and name not in foreign:
                similar = _checks.similar(name, self._defaults)
                kind = type(self).__name__
                raise ValueError(f"{what}: expected options of {kind}, got {name!r}{similar}")
        own = {name: group[name] for name in self._defaults if name in group}
        options = {**self._defaults, **self._checked_changes(own)}
        self._check_together(options)
        notes = {name: check(name, group[name]) for name, check in NOTES.items() if name in group}
        return {"params": params, **options, **notes}

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that it changes."""
        return tuple(parameter for group in self._groups for parameter in group["params"])

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the first group by name, to be read; set them as attributes."""
        return MappingProxyType(self._groups[0].options)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The options that groups have where they do not say otherwise, to be read."""
        return MappingProxyType(self._defaults)

    @property
    def param_groups(self) -> list[ParameterGroup]:
        """A dict of the options and the parameters of each group, through which options are set."""
        return self._groups

    def __setattr__(self, name: str, value: Any) -> None:
        # Subclasses of one's own have attributes of their own.
        if not hasattr(type(self), name) and name not in Optimizer.__annotations__:
            own = type(self).__module__.startswith("fastmlp.")
            if own or name in _checks.SYNONYMS:
                _checks.refuse_attribute(self, name, self._defaults)
        super().__setattr__(name, value)

    def set_option(self, name: str, value: Any) -> None:
        """Change an option of all groups; the same as assigning to the attribute of that name."""
        if name == "lr":  # which nothing depends on
            for group in self._groups:
                self._set_rate(group._number, value)
            return
        change = self._checked_changes({name: value})
        for group in self._groups:
            self._check_together({**group.options, **change})
        for group in self._groups:
            self._set_group(group._number, change)

    def _set_group(self, number: int, changes: Mapping[str, Any]) -> None:
        group = self._groups[number]
        checked = self._checked_changes(changes)
        self._check_together({**group.options, **checked})
        for name, value in self._native_options(checked).items():
            super()._set_option(number, name, value)
        dict.update(group, checked)

    def _native_options(self, options: Mapping[str, Any]) -> dict[str, float]:
        native: dict[str, float] = {}
        for name, value in options.items():
            if name == "betas":
                native |= {"beta1": value[0], "beta2": value[1]}
            else:
                native[name] = float(value)
        return native

    def _set_scheduled(self, number: int, rate: float, momentum: float) -> None:
        """What a schedule has made; the momentum, or first beta, may be NaN: as it is."""
        group = self._groups[number]
        if momentum == momentum:
            betas = "betas" in group
            group.update(
                {"betas": (momentum, group["betas"][1])} if betas else {"momentum": momentum}
            )
        self._set_rate(number, rate)

    def _set_rate(self, number: int, rate: Any) -> None:
        if type(rate) is float and 0 <= rate < inf:  # as nearly always: nothing to find out
            super()._set_option(number, "lr", rate)
            dict.__setitem__(self._groups[number], "lr", rate)
        else:
            self._set_group(number, {"lr": rate})

    def _checked_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._check_option(name, value) for name, value in changes.items()}

    def _check_option(self, name: str, value: Any) -> Any:
        option = getattr(type(self), name, None)
        if not isinstance(option, Option):
            similar = _checks.similar(name, self._defaults)
            raise ValueError(f"{type(self).__name__} has no option {name!r}{similar}")
        return option.check(name, value)

    def _check_together(self, options: dict[str, Any]) -> None:
        """Check what depends on several options."""

    # State

    @property
    def _layout(self) -> StateLayout:
        return LAYOUTS[self._native_kind]

    def state_dict(self) -> dict[str, Any]:
        """The options, and what was gathered over the steps, in torch's layout.

        Returns
        -------
        dict
            `state`: by the parameter's number its `step` and arrays of its shape, such as
            `exp_avg`. `param_groups`: a dict of options for each group, with the numbers as
            `params`; parameters are numbered over all groups.
            Arrays are copies; `fastmlp.nn.utils.to_torch` makes tensors of them.
        """
        native, layout = self._state(), self._layout
        state: dict[int, dict[str, Any]] = {}
        for number, parameter in enumerate(self.parameters):
            steps = native[f"{number}.steps"]
            if steps == 0 and not layout.at_once:
                continue
            entry: dict[str, Any] = {"step": float(steps)} if layout.numbers else {}
            if "mu_product" in layout.numbers:  # an array, which keeps its digits in torch
                entry["mu_product"] = np.array(native[f"{number}.momentum_product"]).view(Tensor)
            for name in _core.state_names(self._native_kind):
                if (array := native.get(f"{number}.{name}")) is not None:
                    entry[name] = _to_shape(array, parameter.shape)
            if entry:
                state[number] = entry
        numbers = iter(range(len(self.parameters)))
        groups = []
        for group in self._groups:
            own = {name: value for name, value in group.items() if name != "params"}
            own |= TORCH_ONLY
            if layout.decoupled is not None:
                own["decoupled_weight_decay"] = layout.decoupled
            groups.append({**own, "params": list(islice(numbers, len(group["params"])))})
        return {"state": state, "param_groups": groups}

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
        for group, own in zip(self._groups, checked.groups, strict=True):
            group.update(own)

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
        sizes = [len(group["params"]) for group in groups]
        expected = [len(group["params"]) for group in self._groups]
        if sizes != expected:
            raise ValueError(
                f"state_dict: expected groups of {expected} parameters, got groups of {sizes}"
            )
        if odd := [number for number in state if number not in numbers]:
            raise ValueError(f"state_dict: expected the state of {numbers}, got also {odd[0]!r}")
        checked = [
            self._checked_options(own, group)
            for own, group in zip(self._groups, groups, strict=True)
        ]
        entries = [state.get(number, {}) for number in numbers]
        native: dict[str, Any] = {}
        parameters = self.parameters
        for slot, entry in enumerate(entries):
            own_state = self._native_state(numbers[slot], entry, parameters[slot])
            native |= {f"{slot}.{name}": value for name, value in own_state.items()}
        return _Checked(checked, native)

    def _checked_options(self, own: ParameterGroup, group: Mapping[str, Any]) -> dict[str, Any]:
        for name in group:
            if name not in self._defaults and name not in _FOREIGN and name not in NOTES:
                kind = type(self).__name__
                raise ValueError(f"state_dict: expected that of {kind}, got one with {name!r}")
        given = {name: group[name] for name in self._defaults if name in group}
        if _is_zero_but_for_rounding(group):
            given["lr"] = 0.0
        options = self._checked_changes(given)
        self._check_together({**own.options, **options})
        expected = self._layout.decoupled
        if expected is not None and options.get("weight_decay"):
            decoupled = group.get("decoupled_weight_decay", expected)
            if decoupled != expected:
                other = "AdamW" if decoupled else "Adam"
                kind = type(self).__name__
                raise ValueError(f"state_dict: expected that of {kind}, got {other}'s")
        notes = {name: check(name, group[name]) for name, check in NOTES.items() if name in group}
        return {**options, **notes}

    def _native_state(self, number: Any, entry: Any, parameter: Parameter) -> dict[str, Any]:
        names, layout = _core.state_names(self._native_kind), self._layout
        what = f"state_dict: state {number}"
        if not isinstance(entry, Mapping):
            raise TypeError(f"{what}: expected a mapping, got {_checks.show(entry)}")
        arrays: dict[str, Array] = {}
        for name, value in entry.items():
            if name in names and value is not None:
                array = parameter.checked(f"{what}: {name}", value).astype(parameter.dtype)
                arrays[name] = np.ascontiguousarray(array.T).reshape(-1)
            elif value is not None and name not in layout.numbers:
                kind = type(self).__name__
                raise ValueError(f"{what}: expected that of {kind}, got one with {name!r}")
        if not layout.numbers:
            return {"steps": len(arrays), **arrays}
        steps = _checks.real(f"{what}: step", entry.get("step", 0), at_least=0, below=2**53)
        if steps != int(steps):
            raise ValueError(f"{what}: step: expected a whole number, got {steps}")
        gathered = [*layout.numbers[1:], *names[: layout.gathered]]
        if steps and (missing := [name for name in gathered if entry.get(name) is None]):
            raise ValueError(f"{what}: expected {missing[0]!r} after {steps:.0f} steps, got none")
        native = {"steps": int(steps), **arrays}
        if (product := entry.get("mu_product")) is not None:
            native["momentum_product"] = _checks.real(
                f"{what}: mu_product", product, at_least=0, at_most=1
            )
        return native

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in self.__dict__.items() if name != "_groups"}
        groups = [dict(group) for group in self._groups]
        return {"attributes": own, "groups": groups, "native": self._state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._make(state["groups"])
        self._set_state(state["native"])

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        groups = [
            ", ".join(f"{name}={value}" for name, value in group.options.items())
            for group in self._groups
        ]
        kind = type(self).__name__
        if len(groups) == 1:
            return f"{kind}({groups[0]})"
        return f"{kind}(\n" + "".join(f"  group {i}: {g}\n" for i, g in enumerate(groups)) + ")"


def _is_zero_but_for_rounding(group: Mapping[str, Any]) -> bool:
    """Whether the rate lies below 0 by no more than torch's schedules that end at 0 leave there."""
    rate, first = group.get("lr"), group.get("initial_lr")
    if not isinstance(rate, int | float) or not isinstance(first, int | float):
        return False
    return -1e-12 * first <= rate < 0


def _to_shape(flat: Array, shape: tuple[int, ...]) -> Tensor:
    """A native state, stored in x out, in the parameter's shape."""
    return flat.reshape(shape[::-1]).T.copy().view(Tensor)
