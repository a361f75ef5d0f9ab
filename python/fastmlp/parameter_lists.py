"""What an optimizer is given: parameters, or groups of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastmlp import _checks
from fastmlp.parameter import Parameter, check_each


def check_groups(params: Any) -> list[Mapping[str, Any]]:
    """The groups of an optimizer's first argument: mappings, or one group of all parameters."""
    if isinstance(params, dict) and "params" in params:
        raise TypeError("params: expected parameters or a list of groups, got a group; write [...]")
    single = isinstance(params, dict | Parameter) or hasattr(params, "parameters")
    if not single and hasattr(params, "__iter__"):
        params = list(params)
    if isinstance(params, list) and any(isinstance(item, Mapping) for item in params):
        for item in params:
            if not isinstance(item, Mapping):
                raise TypeError(f"params: expected groups or parameters, got both: {_show(item)}")
        return params
    return [{"params": params}]


def group_parameters(what: str, group: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """A group's parameters; a single one need not stand in a list."""
    if "params" not in group:
        raise ValueError(f"{what}: expected params among its entries, got {list(group)}")
    params = group["params"]
    return (params,) if isinstance(params, Parameter) else check_each("params", params)


def check_parameters(found: Sequence[Parameter]) -> None:
    """That there are some, each once, of one dtype."""
    if not found:
        raise ValueError(
            "params: expected at least one parameter, got none: a model without parameters, or a"
            " generator that has been used up; layers in a plain list are not found, keep them in"
            " attributes, a Sequential or a ModuleList"
        )
    if len({id(parameter) for parameter in found}) < len(found):
        raise ValueError("params: expected each parameter once, got one of them twice")
    if len(dtypes := sorted({parameter._native.dtype for parameter in found})) > 1:
        raise TypeError(f"params: expected parameters of one dtype, got {' and '.join(dtypes)}")


def _show(item: Any) -> str:
    return "a parameter" if isinstance(item, Parameter) else _checks.show(item)
