"""Numbers as C's constants, which are read back as the same bits."""

from collections.abc import Iterable, Iterator

import numpy as np

from fastmlp._types import Array

_SPECIAL = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}


def literals(numbers: Array) -> list[str]:
    """The shortest decimal of each number, with C's suffix; float16 by its bits."""
    numbers = numbers.ravel()
    if numbers.dtype == np.float16:
        return [f"0x{bits:04x}" for bits in numbers.view(np.uint16).tolist()]
    suffix = "f" if numbers.dtype == np.float32 else ""
    texts = numbers.astype(str).tolist()  # NumPy's are as short as reading them back allows
    return [_SPECIAL.get(text) or text + suffix for text in texts]


def literal(number: float, dtype: str) -> str:
    """One number, rounded to a dtype."""
    with np.errstate(over="ignore"):
        return literals(np.array([number]).astype(dtype))[0]


def lines(texts: Iterable[str], width: int = 100) -> Iterator[str]:
    """Texts with commas, as many on a line as there is room for."""
    line = ""
    for text in texts:
        if line and len(line) + len(text) + 2 > width:
            yield line
            line = ""
        line += f" {text}," if line else f"  {text},"
    yield line
