"""`save` and `load` of models."""

import os
from typing import Any, TypeVar, overload

import numpy as np

from fastmlp import _checks
from fastmlp._types import Array
from fastmlp.containers import ModuleList
from fastmlp.ensemble import Ensemble
from fastmlp.files import architecture
from fastmlp.files.architecture import COUNTERS, Reader
from fastmlp.files.container import Contents, opened, pack
from fastmlp.modules import Module
from fastmlp.parameter import Parameter
from fastmlp.writing import file_path, replace_file

M = TypeVar("M", bound=Module)
Path = str | os.PathLike[str]


def save(model: Module | Ensemble, path: Path) -> None:
    """Write a model or an ensemble to one safetensors file, which `load` reads, and torch, too.

    The tensors are those of `model.state_dict()`, under its keys. The architecture is JSON in the
    metadata: layers with their options and names, modes, devices, precisions, `requires_grad`.
    Hooks, gradients and buffers that are not persistent are left out. The code of a class of one's
    own is in no file: its weights are saved, and `load` fills an instance. Of an ensemble, the
    models are called "0", "1", ...

    The file is written beside the old one and takes its place when it is on the disk: an error, or
    the process's end, at any moment, leaves the old one whole.

    Parameters
    ----------
    model : Module or Ensemble
    path : str or os.PathLike
        By custom it ends in ".safetensors".

    Raises
    ------
    TypeError
        If an argument is of another kind.
    OSError
        If the file cannot be written.
    """
    document: dict[str, Any] = {"kind": "model"}
    if isinstance(model, Ensemble):
        model, document["ensemble"] = ModuleList(model), True
    if not isinstance(model, Module):
        hint = _checks.origin(model)
        raise TypeError(f"model: expected a Module, got {_checks.show(model)}{hint}")
    name = file_path(path)
    document["model"] = architecture.describe(model)
    replace_file(name, pack(model_tensors(model, ""), document))


@overload
def load(path: Path, into: None = None, *, device: str | None = None) -> Any: ...
@overload
def load(path: Path, into: M, *, device: str | None = None) -> M: ...
@overload
def load(path: Path, into: Ensemble, *, device: str | None = None) -> Ensemble: ...
def load(path: Path, into: Any = None, *, device: str | None = None) -> Any:
    """Read a model or an ensemble from a file of `save`, or the model of one of `Trainer.save`.

    Nothing is imported or run because a file says so, and nothing is made before the tensors that
    are really there have been found to fit.

    Parameters
    ----------
    path : str or os.PathLike
    into : Module or Ensemble, optional
        Fill this one, which has to have the same names, shapes and dtype, instead of making one:
        for classes of one's own, and for safetensors files of others. It stays where it lies; modes
        and `requires_grad` become those of the file.
    device : {"cpu", "cuda"}, optional
        Where the model goes. By default, to where it was, or to the CPU if there is no such device.

    Returns
    -------
    Module or Ensemble
        A new one, or `into`.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If the file is damaged, of another sort, of a later version, or does not fit `into`, which
        is as it was then; or if it has layers of a class of one's own, and `into` is missing.
    OSError
        If there is no such file.
    """
    name = file_path(path)
    if into is not None and not isinstance(into, Module | Ensemble):
        raise TypeError(f"into: expected a Module, got {_checks.show(into)}")
    if device is not None:
        if into is not None:
            raise ValueError(f"device: expected none with into, got {device!r}")
        device = _checks.device("device", device)
    with opened(name) as contents:
        if isinstance(into, Ensemble):
            read_model(contents, ModuleList(into), device)
            return into
        model = read_model(contents, into, device)
        is_ensemble = contents.document is not None and contents.document.get("ensemble") is True
        return Ensemble(model) if is_ensemble and isinstance(model, ModuleList) else model


def model_tensors(model: Module, prefix: str) -> dict[str, Array]:
    """The values of all parameters and persistent buffers."""
    return {prefix + name: np.asarray(value) for name, value in model.state_dict().items()}


def read_model(contents: Contents, into: Module | None, device: str | None) -> Module:
    """The model of an open file, or `into` with its values."""
    prefix = "model." if contents.kind == "trainer" else ""
    node = None
    if contents.document is not None:
        reader = Reader(len(contents.names))
        node = reader.read(contents.document.get("model"))
    if into is not None:
        fill(into, contents, prefix)
        if node is not None:
            architecture.apply_settings(node, into)
        return into
    if node is None:
        raise ValueError(
            "expected a file of fastmlp.save, got one without an architecture; fastmlp.load(path,"
            " into=model) fills a model from its tensors"
        )
    if (own := architecture.own_class(node)) is not None:
        where = f"layer {own.path!r}" if own.path else "the model"
        raise ValueError(
            f"{where} is of the class {own.name}, whose code is in no file: make the model, and"
            " write fastmlp.load(path, into=model)"
        )
    architecture.check_tensors(node, contents, prefix)
    model = architecture.make(node)
    _set_values(model, contents, prefix)
    architecture.apply_settings(node, model)
    architecture.place(node, device)
    return model


def fill(model: Module, contents: Contents, prefix: str) -> None:
    """Give a model the file's values, if all of them fit."""
    places = dict(model._all_state())
    names = {name[len(prefix) :] for name in contents.names if name.startswith(prefix)}
    if missing := sorted(places.keys() - names):
        raise ValueError(f"expected a tensor {missing[0]!r} for the model, got none")
    if extra := sorted(names - places.keys()):
        raise ValueError(f"expected the model's tensors, got also {extra[0]!r}")
    for name, place in places.items():
        own = place if isinstance(place, Parameter) else vars(place[0])[place[1]]
        shape, dtype = contents.shape(prefix + name), contents.dtype(prefix + name)
        if shape != own.shape or dtype != str(own.dtype):
            raise ValueError(
                f"{name!r}: expected {own.dtype} of shape {own.shape}, as the model has, got"
                f" {dtype} of {shape}"
            )
    model.load_state_dict({name: _checked(contents, prefix + name) for name in names})


def _set_values(model: Module, contents: Contents, prefix: str) -> None:
    """Give a new model the file's values."""
    seen: dict[Any, str] = {}
    for name, place in model._all_state():
        key = id(place) if isinstance(place, Parameter) else (id(place[0]), place[1])
        value = _checked(contents, prefix + name)
        first = seen.setdefault(key, prefix + name)
        if first != prefix + name:  # a parameter with several names has one value
            if value.tobytes() != contents.array(first).tobytes():
                raise ValueError(f"{name!r}: expected the values of {first!r}, which it shares")
        elif isinstance(place, Parameter):
            place.copy_(value)
        else:
            vars(place[0])[place[1]][...] = value


def _checked(contents: Contents, name: str) -> Array:
    value = contents.array(name)
    if name.rpartition(".")[2] in COUNTERS and value.dtype == np.int64 and (value < 0).any():
        raise ValueError(f"{name!r}: expected at least 0, got {value}")
    return value
