"""Files that are wrong: raw bytes, headers and documents of valid ones, changed at random."""

import copy
import json
import random
from typing import Any

KEY = "fastmlp"
# Values that readers stumble over.
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**53, 2**63, 10**30, 0.5, -0.5, 1e308, 1e-320),
    *("", "x", "0", "Linear", "Sequential", "inf", "model", "\ud7ff", [], {}, [[]], [0], [1, 2]),
    *({"float": "nan"}, {"float": "inf"}, {"same": ""}, {"same": "0"}, {"class": "Linear"}),
    *({"class": "ReLU", "options": {"inplace": False}}, {"a": {"b": {"c": []}}}, "a" * 300),
]


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the rest of a valid file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: Any, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + rest


def with_document(data: bytes, change: Any) -> bytes:
    """The file with another document: what `change` makes of it, or has done to it."""
    header, rest = split(data)
    document = json.loads(header["__metadata__"][KEY])
    changed = change(document)
    document = document if changed is None else changed
    header["__metadata__"][KEY] = document if isinstance(document, str) else json.dumps(document)
    return join(header, rest)


def with_header(data: bytes, change: Any) -> bytes:
    header, rest = split(data)
    changed = change(header)
    return join(header if changed is None else changed, rest)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file with one to three changes of any sort."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        try:
            data = rng.choice([_bytes, _bytes, _header, _document, _document, _document])(data, rng)
        except (ValueError, KeyError, TypeError, AttributeError):  # not to be read any more
            data = _bytes(data, rng)
    return data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.randbytes(20)
    at, size = rng.randrange(len(data)), rng.choice([1, 2, 8, 64])
    if rng.random() < 0.5:
        at = rng.randrange(min(len(data), 8 + int.from_bytes(data[:8], "little") % 10**6))
    return rng.choice(
        [
            lambda: data[:at],
            lambda: data[:at] + rng.randbytes(size) + data[at + size :],
            lambda: data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :],
            lambda: data[:at] + data[at + size :],
            lambda: data[:at] + rng.randbytes(size) + data[at:],
            lambda: data + rng.randbytes(size),
            lambda: data[:at] + bytes(size) + data[at + size :],
            lambda: rng.randrange(2 ** rng.choice([8, 20, 64])).to_bytes(8, "little") + data[8:],
        ]
    )()


def _header(data: bytes, rng: random.Random) -> bytes:
    def change(header: dict[str, Any]) -> None:
        name = rng.choice([name for name in header if name != "__metadata__"])
        entry, last = header[name], sorted(header)[-1]
        sizes = [0, 1, 2, 5, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, -1]
        dtypes = ["F16", "F32", "F64", "I64", "U8", "BF16", 3]
        rng.choice(
            [
                lambda: entry.update(dtype=rng.choice(dtypes)),
                lambda: entry.update(shape=[rng.choice(sizes) for _ in range(rng.randrange(4))]),
                lambda: entry["shape"].reverse(),
                lambda: entry["shape"].append(rng.choice(sizes)),
                lambda: entry["data_offsets"].__setitem__(rng.randrange(2), rng.choice(sizes)),
                lambda: entry.update(data_offsets=header[last]["data_offsets"]),
                lambda: header.pop(name),
                lambda: header.update({rng.choice(["", "x", last, name + "x"]): header.pop(name)}),
                lambda: header.update({rng.choice(["x", "model.x", name]): copy.deepcopy(entry)}),
                lambda: header.update({name: rng.choice(ODD)}),
                lambda: header.update(__metadata__=rng.choice([*ODD, {KEY: rng.choice(ODD)}])),
            ]
        )()

    return with_header(data, change)


def _document(data: bytes, rng: random.Random) -> bytes:
    def change(document: dict[str, Any]) -> None:
        places = list(_places(document))
        where, key = rng.choice(places)
        other, its = rng.choice(places)
        value = rng.choice([rng.choice(ODD), copy.deepcopy(other[its]), _near(where[key], rng)])
        if rng.random() < 0.2:
            del where[key]
        elif isinstance(where, dict) and rng.random() < 0.2:
            where[rng.choice([*map(str, where), "x", "class", "same", "own", "layers"])] = value
        else:
            where[key] = value

    return with_document(data, change)


def _near(value: Any, rng: random.Random) -> Any:
    """A value of the same sort."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, 2 * value, -value, 10**9])
    if isinstance(value, float):
        return rng.choice([-value, value + 1, int(value), 1e300])
    if isinstance(value, str):
        return rng.choice(["Dropout", "Tanh", "Adam", "SGD", "MSELoss", "StepLR", value + "x"])
    return rng.choice(ODD)


def _places(value: Any) -> Any:
    """Each container in a document, with each key or index."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
