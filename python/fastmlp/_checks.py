"""Checks of arguments: each returns the value in its plain type, or raises an error that names it.

Arrays are checked by the native core, which has to look at them anyway.
"""

import difflib
import inspect
import linecache
import math
import numbers
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import numpy as np

from fastmlp import _core

DTYPES = ("float32", "float64")
_HERE = os.path.dirname(__file__)


def warn_of_lost(name: str) -> None:
    """Warn, where the user's code calls, of an argument whose graph has been lost."""
    warnings.warn(
        f"{name}: got values of a recorded tensor without its graph, so that no gradient flows back"
        " to what it came from; write fm.cat, fm.stack, fm.where or the tensor's own arithmetic in"
        " place of what NumPy does not record, or .detach() where no gradient is wanted",
        stacklevel=user_level(),
    )


def user_level(*beside: str) -> int:
    """The `stacklevel` with which a warning of the caller's points at the user's code.

    That is the first line outside of this package, and of the folders `beside`.
    """
    here = inspect.currentframe()
    level, frame = 1, here and here.f_back
    while frame and frame.f_back and frame.f_code.co_filename.startswith((_HERE, *beside)):
        level, frame = level + 1, frame.f_back
    return level


def show(value: object) -> str:
    """The value and its type, short enough for an error message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    if len(text) > 60 or "\n" in text:
        return f"a value of type {type(value).__name__}"
    return f"{text} ({type(value).__name__})"


def integer(name: str, value: Any, *, at_least: int, below: int = 2**63) -> int:
    """An integer (NumPy's too, but no bool) in the given range, which int64 bounds."""
    if isinstance(value, bool | np.bool_) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name}: expected an integer, got {show(value)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array with several elements has __index__, too
        raise TypeError(f"{name}: expected an integer, got {show(value)}") from None
    if not at_least <= number < below:
        limits = f">= {at_least}" if number < at_least else f"from {at_least} to {below - 1}"
        raise ValueError(f"{name}: expected an integer {limits}, got {number}")
    return number


def real(
    name: str,
    value: Any,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> float:
    """A finite number (no bool) in the given range."""
    is_number = type(value) is float or (
        not isinstance(value, bool | np.bool_) and _is_scalar(value)
    )
    if not is_number:
        raise TypeError(f"{name}: expected a number, got {show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    inside = at_least <= number <= at_most and above < number < below
    if not (math.isfinite(number) and inside):
        limits = {">=": at_least, ">": above, "<=": at_most, "<": below}
        stated = [f"{sign} {limit:g}" for sign, limit in limits.items() if math.isfinite(limit)]
        expected = " ".join(["a finite number", " and ".join(stated)]).rstrip()
        raise ValueError(f"{name}: expected {expected}, got {number}")
    return number


def real_or_infinity(name: str, value: Any, **limits: float) -> float:
    """The same, but infinity will do."""
    if _is_scalar(value) and not isinstance(value, bool) and value == math.inf:
        return math.inf
    return real(name, value, **limits)


def _is_scalar(value: Any) -> bool:
    """A real number of Python's, or one that an array or tensor without dimensions holds."""
    if isinstance(value, numbers.Real):  # NumPy's scalars, too
        return True
    dtype = str(getattr(value, "dtype", ""))
    return getattr(value, "shape", None) == () and ("float" in dtype or "int" in dtype)


def flag(name: str, value: Any) -> bool:
    """True or False (NumPy's too), and nothing that merely counts as one of them."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {show(value)}")
    return bool(value)


# What other libraries call our arguments and options.
SYNONYMS = {
    other: ours
    for ours, others in {
        "lr": "learning_rate eta step_size learningrate",
        "betas": "beta beta1 beta2",
        "weight_decay": "l2 decay",
        "eps": "epsilon",
        "max_epoch": "epochs epoch num_epochs num_epoch n_epochs nb_epoch max_epochs max_iter",
        "batch_size": "batch bs minibatch batchsize",
        "validation_data": "validation val valid val_data valid_data eval_set",
        "max_grad": "max_norm clip clip_norm grad_clip clip_grad gradient_clip_val max_grad_norm",
        "x": "X input inputs data features",
        "t": "y Y target targets label labels",
        "seed": "random_state random_seed",
        "progress": "verbose disp",
        "callbacks": "callback hooks",
        "validation_split": "val_split validation_fraction valid_split",
        "early_stopping": "early_stop earlystopping",
        "accumulate": "accumulate_grad_batches gradient_accumulation_steps accumulation",
        "metrics": "metric scoring",
        "patience": "n_iter_no_change",
        "accuracy": "acc",
        "mae": "mean_absolute_error",
        "mse": "mean_squared_error",
        "rmse": "root_mean_squared_error",
        "r2": "r2_score",
        "loss_fn": "loss criterion loss_func loss_function lossfn objective",
        "optimizer": "opt optim optimiser",
        "model": "net network module",
    }.items()
    for other in others.split()
}


def similar(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, as the end of a message; else nothing."""
    known = list(known)
    meant = [SYNONYMS[name]] if SYNONYMS.get(name) in known else []
    meant += difflib.get_close_matches(name, known, 1, 0.7)
    return f"; did you mean {meant[0]}?" if meant else ""


def refuse_attribute(owner: object, name: str, known: Iterable[str]) -> NoReturn:
    """AttributeError for an attribute that nobody would read."""
    kind = type(owner).__name__
    raise AttributeError(f"{kind} has no option {name!r}{similar(name, known)}")


def refuse_unknown(call: str, unknown: dict[str, Any], function: Callable[..., Any]) -> None:
    """TypeError for an argument that does not exist, with what was probably meant."""
    for name in unknown:
        hint = similar(name, [*inspect.signature(function).parameters][1:-1])
        if not hint and name in _OF_OPTIMIZER:
            hint = "; it is an option of the optimizer"
        if not hint and name in _OF_TRAINER:
            hint = "; it is an argument of Trainer"
        raise TypeError(f"{call}() has no argument {name!r}{hint}")


_OF_OPTIMIZER = ("lr", "learning_rate", "momentum", "weight_decay")
_OF_TRAINER = ("loss_fn", "loss", "criterion", "optimizer", "model", "on_nonfinite", "scheduler")


def origin(value: object) -> str:
    """What somebody else's object is, where that explains the mistake."""
    torch = sys.modules.get("torch")
    if torch is None or isinstance(value, type):
        return ""
    if not isinstance(value, torch.Tensor | torch.nn.Module | torch.optim.Optimizer):
        return ""
    ours = sys.modules["fastmlp"]
    name = type(value).__name__
    known = name in ours.__all__ and not isinstance(value, torch.Tensor)
    known &= type(value).__module__.startswith("torch.")
    return ", which is torch's own" + (f"; use fastmlp.{name}" if known else "")


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known names."""
    known = tuple(known)
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(known)}, got {show(value)}")
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    return value


def dtype(name: str, value: Any) -> str:
    """The name of a supported dtype, from anything that NumPy or torch takes as one."""
    found = _dtype_name(value)
    if found not in DTYPES:
        raise TypeError(f"{name}: expected {' or '.join(DTYPES)}, got {show(value)}")
    return found


def any_dtype(name: str, value: Any) -> np.dtype[Any]:
    """NumPy's dtype, of anything that NumPy or torch takes as one."""
    try:
        return np.dtype(_dtype_name(value) or "none")
    except TypeError:
        raise TypeError(f"{name}: expected one of NumPy's dtypes, got {show(value)}") from None


def is_dtype(value: Any) -> bool:
    """Whether the value names a dtype, supported or not."""
    return _dtype_name(value) != ""


def _dtype_name(value: Any) -> str:
    if value is None:  # NumPy's default
        return ""
    if type(value).__name__ == "tensortype":  # such as torch.LongTensor
        value = value.dtype
    if type(value).__module__ == "torch" and type(value).__name__ == "dtype":
        return str(value).removeprefix("torch.")
    try:
        return str(np.dtype(value))
    except (TypeError, ValueError):
        return ""


def cuda() -> None:
    """RuntimeError that says what is missing, unless there is a CUDA device."""
    problem = _core.cuda_problem()
    if problem is not None:
        raise RuntimeError(f"no CUDA: {problem}")


def device(name: str, value: Any) -> str:
    """The name "cpu" or "cuda" of a device that is there: else RuntimeError."""
    if choice(name, value, ("cpu", "cuda", "cuda:0")) == "cpu":
        return "cpu"
    cuda()
    return "cuda"


# Without a counterpart on the CPU, where float32 takes their place.
CUDA_PRECISIONS = ("tf32", "float32x3")


def precision(name: str, value: Any, device: str, dtype: str) -> str:
    """How float32 matrices are multiplied; others leave nothing to choose."""
    if choice(name, value, _core.PRECISIONS) != "float32":
        if value in CUDA_PRECISIONS and device == "cpu":
            raise ValueError(
                f'{name}: expected float32 or bf16 on the CPU, got {value!r}, which needs "cuda"'
            )
        if dtype != "float32":
            raise ValueError(f"{name}: expected float32 with parameters of {dtype}, got {value!r}")
    return str(value)


def user_line() -> str:
    """Where the code that is traced has come to."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").split(".")[0] in ("fastmlp", "torch", "numpy"):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).strip()
    shown = f": {text[:80]}{'...' * (len(text) > 80)}" if text else ""
    return f" (line {line} of {file}{shown})"


def is_ours(error: Exception) -> bool:
    """Whether an error comes from this package, and not from what a user's code does itself."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code.co_filename.startswith(_HERE)
