"""The safetensors file around tensors and a document: reading with limits, and packing.

The document is JSON in the file's metadata. The package `safetensors` reads the header and checks
that tensors lie in the file, one after the other; what it does not limit is limited here.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._core import __version__
from fastmlp._types import Array

KEY = "fastmlp"  # of the document, in the metadata
# From the document of format 1 to that of 2, and so on: a new format adds a function, and old files
# are read for ever.
UPGRADES: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()
_DTYPES = {"F32": "float32", "F64": "float64", "I64": "int64"}
_WRONG = (
    *(ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError),
    *(ZeroDivisionError, NotImplementedError, RecursionError),
)


def newest_format() -> int:
    """The number of the format that is written."""
    return 1 + len(UPGRADES)


class Contents:
    """An open file.

    Attributes
    ----------
    path : str
    document : dict or None
        None in a file of somebody else.
    names : set of str
        Of the tensors.
    metadata : dict of str to str
        As the file has it: what others than `KEY` are, nobody has checked.
    """

    def __init__(self, path: str, file: Any, size: int) -> None:
        self.path = path
        self._file = file
        self.names = set(file.keys())
        self.metadata: dict[str, str] = file.metadata() or {}
        text = self.metadata.get(KEY)
        self.document = None if text is None else _document(text, size)

    def look(self, name: str) -> tuple[str, list[int]]:
        """The dtype and the shape of a tensor that is there, as the file has them."""
        found = self._file.get_slice(name)
        return str(found.get_dtype()), found.get_shape()

    def dtype(self, name: str) -> str:
        """The name of NumPy's dtype, of the three that our files have."""
        code, _ = self.look(name)
        if code not in _DTYPES:
            raise ValueError(f"{name!r}: expected one of {', '.join(_DTYPES)}, got {code}")
        return _DTYPES[code]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the tensor of this name, which is there."""
        _, shape = self.look(name)
        if len(shape) > 2:
            raise ValueError(f"{name!r}: expected at most two dimensions, got {len(shape)}")
        return tuple(shape)

    def array(self, name: str) -> Array:
        """Its values, in memory of their own."""
        self.dtype(name)  # or an error
        value: Array = self._file.get_tensor(name)
        return value

    def arrays(self, prefix: str) -> dict[str, Array]:
        """All tensors whose names begin so, by what follows."""
        names = sorted(name for name in self.names if name.startswith(prefix))
        return {name[len(prefix) :]: self.array(name) for name in names}

    @property
    def kind(self) -> str | None:
        """Either "model" or "trainer"; None in a file of somebody else."""
        if self.document is None:
            return None
        return _checks.choice("kind", self.document.get("kind"), ("model", "trainer"))


def entry(mapping: Mapping[str, Any], name: str, kind: type) -> Any:
    """What the mapping has under this name, if it is of that type."""
    if name not in mapping:
        raise ValueError(f"{name}: expected a {kind.__name__}, got none")
    if not isinstance(mapping[name], kind) or (kind is int and isinstance(mapping[name], bool)):
        raise ValueError(f"{name}: expected a {kind.__name__}, got {_checks.show(mapping[name])}")
    return mapping[name]


@contextmanager
def opened(path: str) -> Iterator[Contents]:
    """A file to read; what is wrong with it is a ValueError that names it.

    Raises
    ------
    OSError
        If there is no such file, or no permission.
    ValueError
        If it is not what it should be.
    """
    from safetensors import SafetensorError

    try:
        size = _checked_size(path)
        try:
            file = _safe_open(path)
        except SafetensorError as error:
            raise ValueError(f"expected a whole safetensors file, got one with {error}") from None
        # Numbers of any size become errors, where they are checked, and no warnings before.
        with file as tensors, np.errstate(all="ignore"):
            yield Contents(path, tensors, size)
    except (*_WRONG, SafetensorError) as error:
        raise ValueError(f"{path}: {_told(error)}") from error


def _safe_open(path: str) -> Any:
    """Where that is possible, read and not mapped: somebody may make the file shorter meanwhile."""
    from safetensors import safe_open

    try:
        return safe_open(path, "numpy", backend="pread")
    except TypeError:  # before version 0.8
        return safe_open(path, "numpy")


def _told(error: BaseException) -> str:
    """What an error says, which may quote names of any length."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text if len(text) <= 600 else text[:600] + "..."


def _checked_size(path: str) -> int:
    """Of the file, whose header is looked at as far as `safetensors` does not limit it."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError("expected a regular file, got a device, a pipe or a socket")
    size = status.st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > size - 8:
            raise ValueError(
                f"expected a whole safetensors file, got {size} bytes"
                + (f" with a header of {length}" if len(head) == 8 else "")
            )
        header = file.read(length)
    # Shapes are lists outside of strings, in which all quotes have a backslash.
    header = header.replace(rb"\\", b"").replace(rb"\"", b"")
    if re.search(rb'"\s*:\s*\[[^\]]{100}', header):
        raise ValueError("expected tensors of at most two dimensions, got one of many")
    if (count := header.count(b'"data_offsets"')) > 2000 + size // 100:
        raise ValueError(f"expected fewer tensors in {size} bytes, got {count}")
    return size


def pack(
    tensors: Mapping[str, Array],
    document: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a file, with `metadata` beside the document.

    Raises
    ------
    ValueError
        If the document is larger than what is read again.
    """
    from safetensors.numpy import save

    whole = {"format": newest_format(), "fastmlp": __version__, **document}
    text = json.dumps(_plain(whole), separators=(",", ":"), allow_nan=False)
    arrays = {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in tensors.items()}
    data = save(arrays, {KEY: text})
    if metadata:
        data = _with_metadata(data, metadata)
    if len(text) > most_text(len(data)):
        raise ValueError(
            f"model: expected one whose description takes at most {most_text(len(data))}"
            f" characters, got {len(text)}"
        )
    return data


def _with_metadata(data: bytes, more: Mapping[str, str]) -> bytes:
    """The same file with more metadata, in a fixed order, which `safetensors` does not keep."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] |= more
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors are aligned
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def most_text(size: int) -> int:
    """How long the document of a file of so many bytes may be: objects take more than its text."""
    return 60_000 + size // 10


def _document(text: str, size: int) -> dict[str, Any]:
    if len(text) > most_text(size):
        raise ValueError(
            f"expected a description of at most {most_text(size)} characters, got {len(text)}"
        )
    try:
        document = json.loads(text, parse_constant=_refuse, object_hook=_special)
    except RecursionError:
        raise ValueError("expected a description that is not nested so deeply") from None
    if not isinstance(document, dict):
        raise ValueError("expected a description that is a JSON object")
    number = entry(document, "format", int)
    if not 1 <= number <= newest_format():
        raise ValueError(
            f"expected a file of format 1 to {newest_format()}, got one of format {number}, written"
            f" by fastmlp {document.get('fastmlp')!r}; this is fastmlp {__version__}"
        )
    result: dict[str, Any] = document
    for upgrade in UPGRADES[number - 1 :]:
        result = upgrade(result)
    return result


# JSON has no infinity and no NaN.


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    return value


def _special(mapping: dict[str, Any]) -> Any:
    if len(mapping) == 1 and (text := mapping.get("float")) in ("inf", "-inf", "nan"):
        return float(text)
    return mapping


def _refuse(name: str) -> Any:
    raise ValueError(f"expected a description in JSON, got {name} in it")
