"""Tables: two that are shipped, and those of CSV files."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastmlp import _checks

Array = npt.NDArray[Any]


def temperature() -> tuple[Array, Array]:
    """Return readings of a thermometer in Fahrenheit and the same in Celsius, (11, 1) each."""
    celsius = [0.5, 14, 15, 28, 11, 8, 3, -4, 6, 13, 21]
    fahrenheit = [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4]
    return np.array(fahrenheit)[:, None], np.array(celsius)[:, None]


def boston() -> tuple[Array, Array]:
    """Return Boston's 506 house prices, columns standardised; targets of shape (506, 1).

    Harrison and Rubinfeld, 1978; see the head of ``boston.csv``.
    """
    rows = np.loadtxt(Path(__file__).with_name("boston.csv"), delimiter=",", skiprows=3)
    x, t = rows[:, :-1], rows[:, -1:]
    return (x - x.mean(axis=0)) / x.std(axis=0), t


def csv(path: Any, target: str | int | list[str] = -1, **options: Any) -> tuple[Any, Any]:
    """Read a CSV file, and part its columns into inputs and targets.

    Parameters
    ----------
    path : str, path or file
        A file of this machine; addresses are an error.
    target : str, int or list of str
        The column of the targets by its name or its place, or several by their names.
    **options
        As `pandas.read_csv` takes them.

    Returns
    -------
    x : pandas.DataFrame
        All other columns. Those of text are for `fastmlp.sklearn` and its `categorical_features`.
    t : pandas.Series, or DataFrame for a list

    Raises
    ------
    ImportError
        If pandas is missing (it comes with the extra "pandas").
    TypeError, ValueError
        If there is no such column, or nothing beside it.
    OSError
        If the file cannot be read.
    """
    try:
        import pandas as pd  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError("csv() needs pandas: pip install pandas, or fastmlp[pandas]") from error
    if isinstance(path, str) and "://" in path:
        raise ValueError(f"path: expected a file, got the address {path!r}")
    frame = pd.read_csv(path, **options)
    columns = list(frame.columns)
    if not isinstance(target, str | list):
        place = _checks.integer("target", target, at_least=-len(columns), below=len(columns))
        target = columns[place]
    wanted: list[Any] = target if isinstance(target, list) else [target]
    missing = [name for name in wanted if name not in columns]
    if missing or not wanted:
        raise ValueError(f"target: expected names among {columns}, got {missing or wanted}")
    x = frame.drop(columns=wanted)
    if not x.shape[1]:
        raise ValueError(f"{path}: expected columns beside {wanted}, got none")
    return x, frame[target]
