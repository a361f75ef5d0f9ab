"""Protobuf's wire format, read with bounds.

A file of a megabyte must not cost many: protobuf's own parsers make an object of every two bytes
if a file says so. Here only what is asked for is looked at, numbers are views of the file's bytes,
and the parts of a file are counted.
"""

import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from fastmlp._types import Array

Field: TypeAlias = "int | memoryview"

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class Budget:
    """How many parts of a file may be looked at.

    Parameters
    ----------
    size : int
        Of the file. Models have parts of hundreds of bytes, small ones of ten.
    """

    def __init__(self, size: int) -> None:
        self.limit = self.left = 15_000 + size // 100

    def spend(self) -> None:
        """Take one away, or ValueError."""
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"expected at most {self.limit} parts in a file of its size, got more")


class Message:
    """A message's fields, by number.

    Parameters
    ----------
    data : memoryview
        The message.
    budget : Budget
        That of the file.
    """

    __slots__ = ("_budget", "_fields")

    def __init__(self, data: memoryview, budget: Budget) -> None:
        self._budget = budget
        self._fields: dict[int, list[Field]] = {}
        for number, value in _fields(data, budget):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integers(self, number: int) -> list[int]:
        """Signed integers, packed or not."""
        found: list[int] = []
        for value in self._fields.get(number, ()):
            if isinstance(value, int):
                found.append(_signed(value))
                continue
            at = 0
            while at < len(value):
                self._budget.spend()
                item, at = _varint(value, at)
                found.append(_signed(item))
        return found

    def integer(self, number: int, default: int = 0) -> int:
        """The last one, as protobuf has it."""
        return (self.integers(number) or [default])[-1]

    def bytes(self, number: int) -> list[memoryview]:
        """Strings, messages and arrays as they are."""
        values = self._fields.get(number, ())
        for value in values:
            if isinstance(value, int):
                raise ValueError(f"expected bytes in field {number} of a message, got a number")
        return [value for value in values if not isinstance(value, int)]

    def texts(self, number: int) -> list[str]:
        """Strings."""
        try:
            return [str(value, "utf-8") for value in self.bytes(number)]
        except UnicodeDecodeError:
            raise ValueError(f"expected text in field {number}, got other bytes") from None

    def text(self, number: int) -> str:
        """The last one; "" without any."""
        return (self.texts(number) or [""])[-1]

    def messages(self, number: int) -> "Iterator[Message]":
        """Messages, one after another."""
        return (Message(value, self._budget) for value in self.bytes(number))

    def message(self, number: int) -> "Message | None":
        """The only one, or None."""
        found = self.bytes(number)
        if len(found) > 1:
            raise ValueError(f"expected one message in field {number}, got {len(found)}")
        return Message(found[0], self._budget) if found else None

    def array(self, number: int, dtype: str) -> Array:
        """Floating-point numbers, packed or not."""
        parts = self.bytes(number)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        return numbers(data, dtype)

    def real(self, number: int) -> float:
        """A float32."""
        (data,) = self.bytes(number)[-1:] or [memoryview(bytes(4))]
        if len(data) != 4:
            raise ValueError(f"expected a float in field {number}, got {len(data)} bytes")
        return float(struct.unpack("<f", data)[0])


def numbers(data: Any, dtype: str) -> Array:
    """An array of bytes."""
    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise ValueError(f"expected numbers of {size} bytes, got {len(data)} bytes")
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))


def _fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, Field]]:
    at, end = 0, len(data)
    while at < end:
        budget.spend()
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"expected fields as ONNX has them, got one of wire type {kind}")
        if at + size > end:
            raise ValueError(f"expected {size} bytes of a field, got {end - at}; it is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number and where the next field begins."""
    number = 0
    for place, byte in enumerate(data[at : at + 10]):
        number |= (byte & 127) << (7 * place)
        if byte < 128:
            return number & (2**64 - 1), at + place + 1
    raise ValueError("expected a number, got bytes that are none, or the end of the file")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
