"""The base of the optimizers whose steps look at all rows, several times."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp._types import Array
from fastmlp.optimizer import Optimizer, Params
from fastmlp.parameter import Parameter
from fastmlp.state_layouts import StateLayout


class Restored(NamedTuple):
    """A state dict that has been looked at."""

    options: dict[str, Any]
    memory: Any


class WholeBatchOptimizer(Optimizer):
    """Of one group of parameters, which are a vector to it; its native part holds them alone."""

    def __init__(self, params: Params, options: dict[str, Any], kind: str = "sgd") -> None:
        super().__init__(kind, params, options)
        if len(self._groups) != 1:
            kind = type(self).__name__
            raise ValueError(f"params: expected one group for {kind}, got {len(self._groups)}")

    @property
    def _layout(self) -> StateLayout:
        return StateLayout(numbers=())

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Not here: a step moves all parameters together."""
        raise ValueError(f"param_group: expected none, for {type(self).__name__} has one group")

    def _native_options(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"lr": float(options["lr"])} if "lr" in options else {}

    # The parameters as one vector, in torch's order.

    def _moved(self) -> list[Parameter]:
        return self._groups[0]["params"]  # type: ignore[no-any-return]

    def _values(self) -> Array:
        return np.concatenate([np.ravel(p.numpy()) for p in self._moved()])

    def _assign(self, values: Array) -> None:
        start = 0
        for parameter in self._moved():
            end = start + parameter.size
            parameter.copy_(values[start:end].reshape(parameter.shape))
            start = end

    @contextmanager
    def _whole(self, before: Array) -> Iterator[None]:
        """A step that fails, or is interrupted, leaves the parameters as they were."""
        try:
            yield
        except BaseException:
            self._assign(before)
            raise

    # State

    def _entries(self) -> dict[str, Any]:
        """The memory as a state dict has it."""
        raise NotImplementedError

    def _recalled(self, entries: Mapping[str, Any]) -> Any:
        """The memory of such entries, checked."""
        raise NotImplementedError

    def _remember(self, memory: Any) -> None:
        """From now on."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The options, and what was gathered over the steps.

        Returns
        -------
        dict
            `state`: that of all parameters together, under 0. `param_groups`: a dict of the options
            and the parameters' numbers. Arrays are copies.
        """
        entries = self._entries()
        group = {name: value for name, value in self._groups[0].items() if name != "params"}
        numbers = list(range(len(self.parameters)))
        return {
            "state": {0: entries} if entries else {},
            "param_groups": [{**group, "params": numbers}],
        }

    def _checked(self, state_dict: Any) -> Any:
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise TypeError(
                "state_dict: expected a mapping with state and param_groups, got"
                f" {_checks.show(state_dict)}"
            )
        state, groups = state_dict["state"], state_dict["param_groups"]
        if not isinstance(state, Mapping) or not isinstance(groups, list | tuple):
            raise TypeError("state_dict: expected a mapping as state and a list as param_groups")
        count = len(self.parameters)
        sizes = [len(g["params"]) for g in groups if isinstance(g, Mapping) and "params" in g]
        if sizes != [count]:
            raise ValueError(
                f"state_dict: expected a group of {count} parameters, got groups of {sizes}"
            )
        if not set(state) <= {0}:
            raise ValueError(f"state_dict: expected one state, under 0, got {list(state)}")
        entries = state.get(0, {})
        if not isinstance(entries, Mapping):
            raise TypeError(f"state_dict: state 0: expected a mapping, got {_checks.show(entries)}")
        return Restored(self._checked_options(self._groups[0], groups[0]), self._recalled(entries))

    def _load(self, checked: Any) -> None:
        self._remember(checked.memory)
        self._groups[0].update(checked.options)

    def _vector(self, name: str, value: Any) -> Array:
        """An array of as many numbers as there are weights; a copy."""
        size = sum(parameter.size for parameter in self._moved())
        given = _conversions.as_array(value, f"state_dict: {name}")
        array = np.array(given, self.parameters[0].dtype)
        if array.shape != (size,):
            raise ValueError(f"state_dict: {name}: expected shape ({size},), got {array.shape}")
        return array
