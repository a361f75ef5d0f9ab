"""Files of 1 MB that would take much memory or time, if one took their word for it."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastmlp as fm
import resuming
from file_mutations import with_document, with_header

SIZE = 1_000_000
ROOM = 159_000  # for the document of such a file
RELU = '{"class":"ReLU","options":{"inplace":false}}'


def _padded(data: bytes) -> bytes:
    def pad(header: dict[str, Any]) -> None:
        header["__metadata__"]["pad"] = "x" * max(0, SIZE - len(data))

    return with_header(data, pad)


def _text(text: str) -> Callable[[bytes, bytes], bytes]:
    return lambda model, trainer: _padded(with_document(model, lambda _: text))


def _values(item: str) -> Callable[[bytes, bytes], bytes]:
    return _text('{"format":1,"a":[' + ",".join([item] * (ROOM // (len(item) + 1) - 20)) + "]}")


def _layers(layers: list[str]) -> Callable[[bytes, bytes], bytes]:
    named = ",".join(f'"{i}":{layer}' for i, layer in enumerate(layers))
    model = '{"class":"Sequential","layers":{' + named + "}}"
    return _text('{"format":1,"kind":"model","model":' + model + "}")


def _nested(depth: int) -> Callable[[bytes, bytes], bytes]:
    begin, end = '{"class":"Sequential","layers":{"0":', "}}"
    return _text('{"format":1,"kind":"model","model":' + begin * depth + RELU + end * depth + "}")


def _trainer(**parts: Any) -> Callable[[bytes, bytes], bytes]:
    def change(document: dict[str, Any]) -> None:
        for path, value in parts.items():
            *way, last = path.split("__")
            where = document
            for key in way:
                where = where[key]
            where[last] = value(document) if callable(value) else value

    return lambda model, trainer: _padded(with_document(trainer, change))


def _tensors(model: bytes, _: bytes) -> bytes:
    def add(header: dict[str, Any]) -> None:
        for i in range(15_000):
            header[f"{i:x}"] = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}

    return with_header(model, add)


def _dimensions(model: bytes, _: bytes) -> bytes:
    return with_header(model, lambda header: header["bias"].update(shape=[2] + [1] * 330_000))


# Each layer twice the one before: 2^40 of them.
_DOUBLED = [
    '{"class":"Sequential","layers":{"0":' + RELU + "}}",
    *(
        f'{{"class":"Sequential","layers":{{"a":{{"same":"{i}"}},"b":{{"same":"{i}"}}}}}}'
        for i in range(40)
    ),
]
_WIDE = {"in_features": 10**9, "out_features": 10**9, "bias": True}
_EMPTY = {"class": "Sequential", "layers": {}}
_LINEAR = '{"class":"Linear","options":' + json.dumps(_WIDE) + "}"
_PROJECTED = (  # whose projection would be of any size
    '{"class":"Residual","layers":{"layers":{"class":"Sequential","layers":{"0":'
    + _LINEAR + "}}}}"
)  # fmt: skip

BOMBS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "brackets": _text("[" * ROOM),
    "lists": _values("[]"),
    "dicts": _values("{}"),
    "keys": _values('{"":0}'),
    "numbers": _values("1e9"),
    "long": lambda model, _: with_document(model, lambda _: "[" + "[]," * (SIZE // 3) + "[]]"),
    "digits": _text('{"format":' + "9" * 300_000 + "}"),
    "layers": _layers([RELU] * (ROOM // 54)),
    "same layers": _layers([RELU] + ['{"same":"0"}'] * (ROOM // 24)),
    "doubled layers": _layers(_DOUBLED),
    "nested": _nested(4000),
    "nested less": _nested(300),
    "wide": _text('{"format":1,"kind":"model","model":' + _LINEAR + "}"),
    "projection": _text('{"format":1,"kind":"model","model":' + _PROJECTED + "}"),
    "tensors": _tensors,
    "dimensions": _dimensions,
    "groups": _trainer(optimizer__groups=[{"params": []}] * 9_000),
    "parameters": _trainer(optimizer__groups=[{"params": ["1.weight"] * 11_000}]),
    "states": _trainer(optimizer__state=[{}] * 38_000),
    "milestones": _trainer(scheduler__state__milestones=[2**40 + i for i in range(9_000)]),
    "metrics": _trainer(metrics=[f"top_{i + 1}_accuracy" for i in range(5_500)]),
    "schedulers": _trainer(
        scheduler=lambda document: {
            "class": "SequentialLR",
            "state": {"_milestones": list(range(1, 1000))},
            "schedulers": [document["scheduler"]] * 1000,
        }
    ),
    "ties": _trainer(model__ties={f"{i}.weight": "1.weight" for i in range(5_000)}),
}


def main(folder: str) -> None:
    """Load each in a process of its own, and print what it has cost."""
    model, trainer = Path(folder, "model"), Path(folder, "trainer")
    fm.save(fm.Linear(5, 2), model)
    resuming.new_trainer(schedule=lambda o: fm.lr_scheduler.MultiStepLR(o, [3])).save(trainer)
    fm.load(model)
    fm.Trainer.load(trainer)
    for name, make in BOMBS.items():
        path = Path(folder, "bomb")
        path.write_bytes(make(model.read_bytes(), trainer.read_bytes()))
        sys.stdout.flush()
        if os.fork() == 0:
            errors, start, before = [], time.monotonic(), _memory()
            for load in (fm.load, fm.Trainer.load):
                try:
                    load(path)
                except ValueError as error:
                    errors.append(str(error))
            cost = [_memory() - before, time.monotonic() - start, path.stat().st_size]
            print(json.dumps([name, *cost, errors]), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, name


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
