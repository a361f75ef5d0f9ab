"""The package `onnx`, which is imported where it is used, and what paths are."""

import os
from typing import Any

from fastmlp import _checks


def onnx_package() -> Any:
    """The package.

    Raises
    ------
    ImportError
        If it is missing; the message names the extra.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'ONNX files need the package onnx: pip install "fastmlp[onnx]"'
        ) from error
    return onnx


def checked_path(path: Any) -> str:
    """The path as text, or TypeError."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path: expected a path, got {_checks.show(path)}") from None
