"""The package `onnx`, which is imported where it is used."""

from typing import Any


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
