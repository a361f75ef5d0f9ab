"""Helpers under the names of `torch.nn.utils`, and `to_torch`."""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastmlp import _checks, _conversions
from fastmlp.arithmetic.places import cat, flatten
from fastmlp.clipping import clip_grad_norm_, clip_grad_value_
from fastmlp.parameter import Parameter, check_each
from fastmlp.tensor import Tensor

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "parameters_to_vector",
    "to_torch",
    "vector_to_parameters",
]


def parameters_to_vector(parameters: Iterable[Parameter]) -> Tensor:
    """All values in one vector, one parameter after the other.

    Parameters
    ----------
    parameters : iterable of Parameter

    Returns
    -------
    Tensor, shape (values,)
        Recorded, so that gradients flow back to the parameters.
    """
    found = check_each("parameters", parameters)
    return cat([flatten(parameter) for parameter in found])


def vector_to_parameters(vec: Any, parameters: Iterable[Parameter]) -> None:
    """Copy the values of one vector into parameters, one after the other.

    Parameters
    ----------
    vec : array_like, shape (values,)
        As `parameters_to_vector` gives it.
    parameters : iterable of Parameter

    Raises
    ------
    ValueError
        If there are more or fewer values than the parameters take. Nothing has changed then.
    """
    found = check_each("parameters", parameters)
    values = _conversions.as_array(vec, "vec")
    expected = sum(parameter.size for parameter in found)
    if values.shape != (expected,):
        raise ValueError(f"vec: expected shape ({expected},), got {values.shape}")
    at = 0
    for parameter in found:
        parameter.copy_(values[at : at + parameter.size].reshape(parameter.shape))
        at += parameter.size


def to_torch(state: Any) -> Any:
    """The same with torch tensors for arrays: a state dict for torch's `load_state_dict`.

    Parameters
    ----------
    state : dict, list, array or number
        Such as a model's or an optimizer's `state_dict()`.

    Returns
    -------
    dict, list, torch.Tensor or number
        Of the same layout; tensors have memory of their own.

    Raises
    ------
    ImportError
        If torch is missing.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ImportError("to_torch needs torch: pip install torch") from error
    if isinstance(state, Mapping):
        return {key: to_torch(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_torch(value) for value in state)
    if isinstance(state, np.ndarray):
        return torch.from_numpy(np.array(state))
    if isinstance(state, bool | int | float | str) or state is None:
        return state
    raise TypeError(f"state: expected dicts, lists, arrays and numbers, got {_checks.show(state)}")
