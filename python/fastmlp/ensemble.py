"""Many models that predict the same thing: the mean of their outputs, and how far these differ."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastmlp import _checks, _core
from fastmlp._rows import parts, stay
from fastmlp._types import Array
from fastmlp.containers import ModuleList
from fastmlp.modules import Module


class Ensemble:
    """Models whose predictions are averaged; their spread tells how sure the mean is.

    Networks that have been trained from different seeds, or on different rows, agree where there
    are data and differ where there are none (Lakshminarayanan et al., arXiv 1612.01474).
    `fastmlp.save` writes all of them to one file, from which `fastmlp.load` makes an ensemble.

    Parameters
    ----------
    models : iterable of Module
        At least one, all with as many inputs and outputs and of one dtype. They are not copied.
        Outputs are averaged as they are: classifiers end with `Softmax` or `Sigmoid`, so that these
        are probabilities.

    Raises
    ------
    TypeError
        If something else is among them, or their dtypes differ.
    ValueError
        If there is none, or their numbers of inputs or outputs differ.
    """

    def __init__(self, models: Iterable[Module]) -> None:
        is_one = isinstance(models, Module) and not isinstance(models, ModuleList)
        if is_one or not isinstance(models, Iterable):
            raise TypeError(f"models: expected a list of modules, got {_checks.show(models)}")
        self._models = list(models)
        if not self._models:
            raise ValueError("models: expected at least one, got none")
        for i, model in enumerate(self._models):
            if not isinstance(model, Module):
                hint = _checks.origin(model)
                raise TypeError(f"models[{i}]: expected a Module, got {_checks.show(model)}{hint}")
        self._native: _core.Ensemble | None = None
        self._structure = 0  # of all modules, when that was made
        self._network()

    def __len__(self) -> int:
        return len(self._models)

    def __getitem__(self, index: int) -> Module:
        return self._models[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._models)

    def __repr__(self) -> str:
        first = repr(self._models[0]).replace("\n", "\n  ")
        return f"Ensemble(\n  {len(self)} models, the first of which is\n  {first}\n)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_native": None, "_structure": 0}

    def predict(self, x: Any, return_std: bool = False) -> Any:
        """The mean of the models' predictions, and their standard deviation.

        On the CPU it is one native call, with the models shared out among the threads. A result
        does not depend on how many these are.

        Parameters
        ----------
        x : array_like, shape (rows, in_features) or (in_features,)
            As each of the models takes it.
        return_std : bool
            Whether to return the deviations, too: the root of the mean square of what the models'
            outputs differ from the mean, as NumPy's `std`.

        Returns
        -------
        mean : ndarray, shape (rows, out_features) or (out_features,)
            Of the models' dtype, added up in float64.
        std : ndarray of the same shape
            With `return_std` alone.

        Raises
        ------
        TypeError, ValueError
            As by a model's `predict`.
        """
        return_std = _checks.flag("return_std", return_std)
        if stay(x):
            found = [self.predict(part, return_std=True) for part in parts(x)]
            both = [np.concatenate(each) for each in zip(*found, strict=True)]
            return (both[0], both[1]) if return_std else both[0]
        native = self._network()
        if native is not None and _is_plain(x):
            mean, std = native.moments(x, return_std)
        else:
            y = self.predict_each(x)
            mean = np.mean(y, axis=0, dtype=np.float64).astype(y.dtype)
            std = np.std(y, axis=0, dtype=np.float64).astype(y.dtype) if return_std else None
        return (mean, std) if return_std else mean

    def predict_each(self, x: Any) -> Array:
        """The prediction of each of the models.

        Parameters
        ----------
        x : array_like, shape (rows, in_features) or (in_features,)

        Returns
        -------
        ndarray, shape (models, rows, out_features) or (models, out_features)
        """
        native = self._network()
        if native is not None and _is_plain(x):
            return native.outputs(x)
        return np.stack([_on_host(model.predict(x)) for model in self._models])

    def _network(self) -> _core.Ensemble | None:
        """What predicts natively; None where the models have to be asked one by one."""
        if self._structure == _core.structure():
            return self._native
        plans = [model._compiled() for model in self._models]
        networks = [plan.network for plan in plans if plan.network is not None]
        _check_alike("inputs", [network.in_features for network in networks])
        _check_alike("outputs", [network.out_features for network in networks])
        is_simple = len(networks) == len(plans) and all(
            not plan.by_call and not plan.squeeze and plan.by_rows and plan.places[0][0] == "cpu"
            for plan in plans
        )
        self._native = None
        if len({plan.dtype for plan in plans}) > 1:
            raise TypeError("models: expected all of one dtype, got float32 and float64")
        if is_simple:
            self._native = _core.Ensemble(networks)
            if not any(plan.by_call for plan in plans):
                self._structure = _core.structure()
        return self._native


def _check_alike(what: str, widths: list[int | None]) -> None:
    first = next((width for width in widths if width is not None), None)
    for i, width in enumerate(widths):
        if width not in (first, None):
            raise ValueError(f"models[{i}]: expected {first} {what}, as the others, got {width}")


def _is_plain(x: Any) -> bool:
    """Whether native code takes it as it is: rows, or one."""
    is_elsewhere = stay(x) or hasattr(x, "__cuda_array_interface__")
    return not is_elsewhere and np.ndim(x) in (1, 2)


def _on_host(y: Any) -> Array:
    return np.asarray(y.get() if hasattr(y, "get") else y.cpu() if hasattr(y, "cpu") else y)
