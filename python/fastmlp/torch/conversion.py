"""from_torch and to_torch: the same model, in the other library, with copies of its values."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

import fastmlp
from fastmlp import _checks, seeds
from fastmlp.parameter import Buffer, Parameter
from fastmlp.torch.fused import FusedMLP
from fastmlp.torch.layers import Residual
from fastmlp.torch.table import options_of, row_of, runs_as


def from_torch(module: torch.nn.Module) -> fastmlp.Module:
    """Our model with the layers, options, values and modes of a torch module.

    Parameters
    ----------
    module : torch.nn.Module
        A layer of the kinds that fastmlp has, or a Sequential of such, as deep as may be.

    Returns
    -------
    fastmlp.Module
        On the CPU, wherever the tensors lie, and of their dtype, with the names of the Sequential's
        children, so that state dicts interchange. What occurs twice, a module or a parameter, is
        one here, too.

    Raises
    ------
    TypeError
        If `module` is no torch module, or one in it is of another kind, has a `forward` of its own,
        hooks, or values that are not float32 or float64. The message names the first of them by its
        path, such as "model.3.conv".
    ValueError
        If options are of values that the layer does not take here, or the layers do not fit
        together.
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: expected a torch module, got {_checks.show(module)}")
    with seeds.seeded(0):  # first values of no use, which cost the generator nothing
        model: fastmlp.Module = _FromTorch().run(module)
    return model


def to_torch(model: fastmlp.Module) -> torch.nn.Module:
    """The torch module with the layers, options, values and modes of our model.

    `Residual` and `Standardize` become those of `fastmlp.torch`.

    Parameters
    ----------
    model : fastmlp.Module
        A layer, or a Sequential of layers, as deep as may be. A `precision` is left out.

    Returns
    -------
    torch.nn.Module
        On the CPU, of the model's dtype, with the same names in its state dict. What occurs twice
        is one there, too.

    Raises
    ------
    TypeError
        If `model` is no Module of ours, or one in it has a `forward` of its own or hooks. The
        message names the first of them by its path.
    """
    if not isinstance(model, fastmlp.Module):
        raise TypeError(
            f"model: expected a fastmlp Module, got {_checks.show(model)}{_checks.origin(model)}"
        )
    module: torch.nn.Module = _ToTorch().run(model)
    return module


class _Conversion:
    """One model's way into the other library: what has been seen, and what was made of it."""

    def __init__(self) -> None:
        # By id, with what it is of, which so stays alive: modules, and parameters.
        self._made: dict[int, tuple[Any, Any]] = {}
        self._at = ""  # the path of the module that is at work

    def run(self, root: Any) -> Any:
        """The match of a model; what is wrong is of the module whose path the message gives."""
        try:
            return self._converted("model", root)
        except (TypeError, ValueError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"{self._at}: {error}") from None

    def _converted(self, path: str, module: Any) -> Any:
        if id(module) not in self._made:
            self._at = path
            made = self._new(path, module)
            self._fill(module, made)
            self._made[id(module)] = module, made
        return self._made[id(module)][1]

    def _new(self, path: str, module: Any) -> Any:
        raise NotImplementedError

    def _fill(self, module: Any, made: Any) -> None:
        raise NotImplementedError

    def _children(self, path: str, children: Iterable[tuple[str, Any]]) -> "OrderedDict[str, Any]":
        made = OrderedDict(
            (name, self._converted(f"{path}.{name}", child)) for name, child in children
        )
        self._at = path
        return made

    def _once(self, value: Any, make: Callable[[], Any]) -> Any:
        """What stands for a parameter: made at its first occurrence, which may not be its last."""
        if id(value) not in self._made:
            self._made[id(value)] = value, make()
        return self._made[id(value)][1]


class _FromTorch(_Conversion):
    def _new(self, path: str, module: Any) -> Any:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"expected a torch module, got {_checks.show(module)}")
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        if any(hooks) or module._backward_pre_hooks:
            raise TypeError("expected a module without hooks, which would be lost")
        children = module._modules.items()  # each as often as it occurs
        if runs_as(module, torch.nn.Sequential) or runs_as(module, FusedMLP):
            return fastmlp.Sequential(self._children(path, children))
        if runs_as(module, Residual):
            made = self._children(path, (pair for pair in children if pair[1] is not None))
            residual = fastmlp.Residual(*made["layers"])
            residual.layers, residual.projection = made["layers"], made.get("projection")
            return residual
        row = row_of(module)
        if row is None:
            raise TypeError(_refusal(module, module.__module__.startswith("torch.")))
        _refuse_inner(module, row.theirs, children)
        options = options_of(module, row)
        dtypes = {
            _checks.dtype(name, value.dtype)
            for name, value in _own_tensors(module)
            if value.is_floating_point()
        }
        if len(dtypes) > 1:
            raise TypeError("expected values of one dtype, got float32 and float64")
        return row.ours(**options).to(dtype=dtypes.pop() if dtypes else None)

    def _fill(self, module: Any, made: Any) -> None:
        for name, tensor in _own_tensors(module):
            place = getattr(made, name, None)
            if not isinstance(place, Parameter | np.ndarray):
                raise TypeError(
                    f"expected no value called {name!r}, which this layer has no use for"
                )
            if tensor.is_meta:
                raise TypeError(f"{name}: expected values, got a tensor on the device meta")
            values = tensor.detach().cpu().numpy()
            if isinstance(place, np.ndarray):
                place[...] = values
                continue
            place.copy_(values)
            if isinstance(tensor, torch.nn.Parameter):
                place.requires_grad = tensor.requires_grad
                setattr(made, name, self._once(tensor, lambda: place))  # noqa: B023 - called here
        made.training = module.training


class _ToTorch(_Conversion):
    def _new(self, path: str, module: Any) -> Any:
        if any(vars(module).get("_hooks", {}).values()):
            raise TypeError("expected a module without hooks, which would be lost")
        children = tuple(module.named_children())
        if runs_as(module, fastmlp.Sequential):
            return torch.nn.Sequential(self._children(path, children))
        if runs_as(module, fastmlp.Residual):
            return Residual(**self._children(path, children))
        row = row_of(module)
        if row is None:
            raise TypeError(
                _refusal(module, isinstance(module, fastmlp.ModuleList | fastmlp.ModuleDict))
            )
        _refuse_inner(module, row.ours, children)
        with torch.device("meta"):  # without memory, or numbers drawn: values follow
            return row.theirs(**options_of(module, row))

    def _fill(self, module: Any, made: Any) -> None:
        for name, value in vars(module).items():
            if isinstance(value, Parameter) or name in module._buffers():
                if not hasattr(made, name):
                    raise TypeError(
                        f"expected no value called {name!r}, which torch's has no use for"
                    )
                if value is not None:
                    setattr(made, name, self._once(value, partial(_tensor, value)))
        made.training = module.training


def _tensor(value: Any) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, Parameter) and not isinstance(value, Buffer):
        return torch.nn.Parameter(tensor, value.requires_grad)
    return tensor


def _own_tensors(module: Any) -> Iterable[tuple[str, Any]]:
    for name, value in (*module._parameters.items(), *module._buffers.items()):
        if value is not None:
            yield name, value


def _refuse_inner(module: Any, kind: type, children: Iterable[tuple[str, Any]]) -> None:
    """TypeError for a layer that somebody has put more into, such as a parametrization."""
    for name, _ in children:
        raise TypeError(f"expected a {kind.__name__} with nothing in it, got one with {name!r}")


def _refusal(module: Any, known: bool) -> str:
    name = type(module).__name__
    if known:
        return f"expected a Sequential, or a layer that both libraries have, got {name}"
    return (
        f"expected a Sequential or one of its layers, got {name}, which has a forward of its own;"
        " write the class in the other library, where its forward can be the same, and give it the"
        " values with load_state_dict"
    )
