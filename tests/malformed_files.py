"""THE TABLE of what can be wrong with a file: a change of a valid one, and what the error says."""

import json
from collections.abc import Callable
from typing import Any

from file_mutations import join, split, with_document, with_header

Change = Callable[[bytes], bytes]


def header(change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda data: with_header(data, change)


def document(change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda data: with_document(data, change)


def put(path: str, value: Any) -> Change:
    """A file whose document has another value there."""

    def change(found: Any) -> None:
        *way, last = path.split("/")
        for key in way:
            found = found[int(key) if isinstance(found, list) else key]
        found[int(last) if isinstance(found, list) else last] = value

    return document(change)


def drop(path: str) -> Change:
    def change(found: Any) -> None:
        *way, last = path.split("/")
        for key in way:
            found = found[int(key) if isinstance(found, list) else key]
        del found[last]

    return document(change)


def shape(name: str, *sizes: int) -> Change:
    return header(lambda h: h[name].update(shape=list(sizes)))


def offsets(name: str, begin: int, end: int) -> Change:
    return header(lambda h: h[name].update(data_offsets=[begin, end]))


def length(number: int) -> Change:
    return lambda data: number.to_bytes(8, "little") + data[8:]


def renamed(old: str, new: str) -> Change:
    return header(lambda h: h.update({new: h.pop(old)}))


LINEAR = {"in_features": 5, "out_features": 2, "bias": True}
WHOLE = "expected a whole safetensors file"

# Of a model, Sequential(Linear(5, 2), BatchNorm1d(2), Dropout(0.5)): the change and the message.
MODELS: list[tuple[str, Change, str]] = [
    ("empty", lambda data: b"", f"{WHOLE}, got 0 bytes"),
    ("seven bytes", lambda data: data[:7], f"{WHOLE}, got 7 bytes"),
    ("header cut", lambda data: data[:100], f"{WHOLE}, got 100 bytes with a header of"),
    ("data cut", lambda data: data[:-1], WHOLE),
    ("data more", lambda data: data + b"x", WHOLE),
    ("a pickle", lambda data: b"\x80\x04\x95" + data, WHOLE),
    ("header 0", length(0), WHOLE),
    ("header 2", length(2), WHOLE),
    ("header of 2^40", length(2**40), f"{WHOLE}, got .* with a header of 1099511627776"),
    ("header of 2^64", length(2**64 - 1), WHOLE),
    ("no JSON", lambda data: join(b"x" * 80, split(data)[1]), WHOLE),
    ("a list", lambda data: join([], split(data)[1]), WHOLE),
    (
        "no tensors",
        lambda data: join({"__metadata__": split(data)[0]["__metadata__"]}, b""),
        "got none",
    ),
    (
        "overlap",
        header(lambda h: h["0.bias"].update(data_offsets=h["1.bias"]["data_offsets"])),
        WHOLE,
    ),
    ("offsets that fall", offsets("0.bias", 8, 0), WHOLE),
    ("offsets below 0", offsets("0.bias", -8, 0), WHOLE),
    ("offsets outside", offsets("0.bias", 10**6, 10**6 + 8), WHOLE),
    ("offsets of 2^64", offsets("0.bias", 2**64 - 8, 2**64), WHOLE),
    ("another dtype", header(lambda h: h["0.bias"].update(dtype="F64")), WHOLE),
    ("unknown dtype", header(lambda h: h["0.bias"].update(dtype="F31")), WHOLE),
    ("half", header(lambda h: h["0.bias"].update(dtype="F16", shape=[4])), "F64, I64, got F16"),
    (
        "integers",
        header(lambda h: h["0.bias"].update(dtype="I32")),
        "0.bias': .* F32, F64, I64, got I32",
    ),
    (
        "bits as int64",
        header(lambda h: h["1.num_batches_tracked"].update(dtype="F64")),
        "expected int64",
    ),
    ("shape of 2^62", shape("0.weight", 2**62, 2**62), WHOLE),
    ("shape of 2^32", shape("0.weight", 2**32, 2**32), WHOLE),
    ("shape of 0", shape("0.weight", 0, 5), WHOLE),
    ("turned shape", shape("0.weight", 5, 2), r"'0.weight': expected shape \(2, 5\), got \(5, 2\)"),
    ("flat shape", shape("0.weight", 10), r"'0.weight': expected shape \(2, 5\), got \(10,\)"),
    ("three dimensions", shape("0.weight", 2, 5, 1), "at most two dimensions, got 3"),
    ("missing tensor", renamed("0.bias", "0.bia"), "'0.bias': expected a tensor, got none"),
    ("extra tensor", renamed("0.bias", "x"), "'0.bias': expected a tensor, got none"),
    ("no metadata", header(lambda h: h.pop("__metadata__") and None), "without an architecture"),
    (
        "metadata of others",
        header(lambda h: h.update(__metadata__={"format": "pt"})),
        "without an arch",
    ),
    ("document cut", document(lambda d: json.dumps(d)[:-2]), "delimiter"),
    ("document empty", document(lambda d: ""), "Expecting value"),
    ("document a list", document(lambda d: "[1]"), "a JSON object"),
    ("document with NaN", document(lambda d: '{"format": NaN}'), "got NaN in it"),
    ("no format", drop("format"), "format: expected a int, got none"),
    ("format 0", put("format", 0), "expected a file of format 1 to 1, got one of format 0"),
    (
        "format 2",
        put("format", 2),
        r"got one of format 2, written by fastmlp '0.*'; this is fastmlp",
    ),
    ("format true", put("format", True), "format: expected a int, got True"),
    ("format 1.0", put("format", 1.0), "format: expected a int, got 1.0"),
    ("no kind", drop("kind"), "kind: expected one of model, trainer, got None"),
    ("other kind", put("kind", "pickle"), "kind: expected one of model, trainer, got 'pickle'"),
    ("no model", drop("model"), "expected a description of a layer"),
    ("model a number", put("model", 3), "expected a description of a layer"),
    ("no class", drop("model/class"), "class: expected a str, got none"),
    (
        "class of a module",
        put("model/layers/0/class", "os.system"),
        "fastmlp's layers, got 'os.system'",
    ),
    (
        "class not a layer",
        put("model/layers/0/class", "Trainer"),
        "fastmlp's layers, got 'Trainer'",
    ),
    ("class a number", put("model/layers/0/class", 3), "class: expected a str, got 3"),
    ("no options", drop("model/layers/0/options"), "expected Linear with in_features"),
    ("options a list", put("model/layers/0/options", [5, 2]), "expected Linear with in_features"),
    (
        "unknown option",
        put("model/layers/0/options/device", "cuda"),
        "expected Linear with in_feat",
    ),
    ("missing option", drop("model/layers/0/options/bias"), "expected Linear with in_features"),
    ("10^9 features", put("model/layers/0/options/in_features", 10**9), r"\(2, 1000000000\), got"),
    ("features -5", put("model/layers/0/options/in_features", -5), r"shape \(2, -5\), got"),
    ("features a list", put("model/layers/0/options/in_features", [5]), "expected shape"),
    (
        "features true",
        put("model/layers/2", {"class": "Linear", "options": LINEAR | {"bias": 1}}),
        "2.w",
    ),
    (
        "p of 2",
        put("model/layers/2/options/p", 2),
        "p: expected a finite number >= 0 and <= 1, got 2",
    ),
    ("p a string", put("model/layers/2/options/p", "0.5"), "p: expected a number, got '0.5'"),
    ("momentum of -1", put("model/layers/1/options/momentum", -1), "momentum: expected"),
    ("eps of -1", put("model/layers/1/options/eps", -1), "eps: expected a finite number >= 0"),
    ("layers a list", put("model/layers", []), "expected layers by name"),
    (
        "a layer's layers",
        put("model/layers/0/layers", {"0": {"class": "Tanh"}}),
        "expected Linear with",
    ),
    ("a name with a dot", put("model/layers", {"0.1": {"class": "Tanh"}}), "expected"),
    ("a name of a method", put("model/layers/forward", {"class": "Tanh"}), "free for attributes"),
    ("a name of ours", put("model/layers/_seed", {"class": "Tanh"}), "expected layers by name"),
    (
        "layers that do not fit",
        put("model/layers/2", {"class": "Softmax", "options": {"dim": 3}}),
        "dim",
    ),
    ("widths that do not fit", put("model/layers/1/options/num_features", 3), "expected shape"),
    (
        "same of nothing",
        put("model/layers/2", {"same": "7"}),
        "expected the name of a layer, got '7'",
    ),
    (
        "same of itself",
        put("model/layers/2", {"same": "2"}),
        "expected the name of a layer, got '2'",
    ),
    ("same of all", put("model/layers/2", {"same": ""}), "expected the name of a layer, got ''"),
    ("training 3", put("model/training", 3), "training: expected True or False, got 3"),
    ("device", put("model/layers/0/device", "tpu"), "device: expected one of cpu, cuda, got 'tpu'"),
    ("precision", put("model/layers/0/precision", "int8"), "precision: expected one of"),
    ("frozen 3", put("model/layers/0/frozen", 3), "expected names of parameters as frozen"),
    ("seed -1", put("model/seed", -1), "seed: expected an integer >= 0, got -1"),
    ("ties of nothing", put("model/ties", {"9.weight": "0.weight"}), "9"),
    ("ties of layers", put("model/ties", {"0": "1"}), "ties: expected names of parameters"),
    ("ties of shapes", put("model/ties", {"0.bias": "0.weight"}), "bias: expected shape"),
    (
        "ties of values",
        put("model/ties", {"0.bias": "1.weight"}),
        "1.weight': expected the values of",
    ),
]

COSINE = "scheduler/schedulers/1/state"


def flatten(found: dict[str, Any]) -> None:
    found["history.loss"]["shape"].insert(0, 1)


def exchange(found: dict[str, Any]) -> None:
    names = "history.loss", "history.steps"
    found.update(dict(zip(names, [found[name] for name in reversed(names)], strict=True)))


# Of `make_trainer`: the change and the message.
TRAINERS: list[tuple[str, Change, str]] = [
    ("no optimizer", drop("optimizer"), "optimizer: expected a dict, got none"),
    ("optimizer a list", put("optimizer", []), "optimizer: expected a dict"),
    ("unknown optimizer", put("optimizer/class", "Trainer"), "expected one of SGD, Adam"),
    ("another optimizer", put("optimizer/class", "Lion"), "eps"),
    ("optimizer's options", put("optimizer/options/lr", "x"), "lr: expected a number, got 'x'"),
    ("lr of -1", put("optimizer/groups/0/lr", -1), "lr: expected a finite number >= 0, got -1"),
    ("lr infinite", put("optimizer/groups/0/lr", {"float": "inf"}), "lr: expected a finite number"),
    ("betas of 3", put("optimizer/groups/0/betas", [0.9, 0.9, 0.9]), "betas: expected two"),
    ("unknown option", put("optimizer/groups/0/odd", 1), "expected options of Adam, got 'odd'"),
    ("option missing", drop("optimizer/options/eps"), "expected the options lr"),
    ("no groups", put("optimizer/groups", []), "params: expected at least one"),
    ("group a list", put("optimizer/groups/0", []), "expected groups with names"),
    ("group of nothing", put("optimizer/groups/0/params", []), "expected groups with names"),
    ("group of numbers", put("optimizer/groups/0/params", [1]), "expected groups with names"),
    ("unknown name", put("optimizer/groups/0/params", ["x"]), "names of parameters, got 'x'"),
    ("a name twice", put("optimizer/groups/0/params", ["1.weight"] * 2), "each parameter once"),
    ("no state", drop("optimizer/state"), "state: expected a list, got none"),
    ("state too short", put("optimizer/state", []), "expected 11 states of numbers by name"),
    ("steps of -1", put("optimizer/state/0/step", -1), "step: expected a finite number >= 0"),
    ("steps of half", put("optimizer/state/0/step", 0.5), "step: expected a whole number, got 0.5"),
    ("steps of 1e300", put("optimizer/state/0/step", 1e300), "step: expected a finite number"),
    ("steps a dict", put("optimizer/state/0/step", {}), "step: expected a number"),
    ("unknown number", put("optimizer/state/0/odd", 1), "'odd'"),
    ("state in both", put("optimizer/state/0/exp_avg", 1), "exp_avg': expected no such tensor"),
    ("state missing", renamed("optimizer.0.exp_avg", "optimizer.0.exp"), "'exp'"),
    ("state of nobody", renamed("optimizer.0.exp_avg", "optimizer.99.exp_avg"), "no such tensor"),
    ("state of x", renamed("optimizer.0.exp_avg", "optimizer.x.exp_avg"), "no such tensor"),
    ("turned state", shape("optimizer.0.exp_avg", 5, 8), r"expected float32 of shape \(8, 5\)"),
    ("unknown tensor", renamed("history.loss", "hist.loss"), "'hist.loss': expected no such"),
    ("model's tensor", renamed("model.1.weight", "model.1.x"), "'model.1.weight': expected a"),
    ("no loss", drop("loss"), "loss: expected a dict, got none"),
    ("unknown loss", put("loss/class", "Loss"), "expected one of fastmlp's losses, got 'Loss'"),
    ("another loss", put("loss/class", "MSELoss"), "fastmlp's losses, got 'MSELoss'"),
    ("loss's option", put("loss/options/reduction", "max"), "reduction: expected one of"),
    ("loss's weight", renamed("loss.weight", "loss.pos_weight"), "expected one of fastmlp's loss"),
    ("both weights", put("loss/options/weight", None), "expected one of fastmlp's losses"),
    ("no state of the schedule", drop("scheduler/state"), "state: expected a dict, got none"),
    ("schedule a number", put("scheduler", 3), "expected a description of a schedule"),
    ("unknown schedule", put("scheduler/schedulers/0/class", "eval"), "lr_scheduler, got 'eval'"),
    ("plateau in a row", put("scheduler/schedulers/0/class", "ReduceLROnPlateau"), "'"),
    (
        "milestones fall",
        put("scheduler/state/_milestones", [3, 1]),
        "milestones: expected 2 rising",
    ),
    ("no rates", put("scheduler/state/_last_lr", []), "_last_lr: expected 1 values"),
    ("rates of text", put("scheduler/state/_last_lr", ["x"]), r"_last_lr\[0\]: expected a number"),
    ("steps far off", put("scheduler/state/last_epoch", 2**60), "last_epoch: expected less than"),
    (
        "steps before",
        put("scheduler/state/last_epoch", -2),
        "last_epoch: expected an integer >= -1",
    ),
    ("period of 0", put(f"{COSINE}/T_i", 0), "T_cur: expected a place in a period, got . of 0"),
    ("period of -1", put(f"{COSINE}/T_i", -1), "T_cur: expected a place in a period"),
    ("place outside", put(f"{COSINE}/T_cur", 7), "T_cur: expected a place in a period, got 7 of"),
    ("T_0 of 0", put(f"{COSINE}/T_0", 0), "T_0: expected an integer >= 1, got 0"),
    ("milestone of -1", put("scheduler/schedulers/2/state/milestones", [-1]), "milestones"),
    (
        "schedulers nested",
        put("scheduler/schedulers/0", {"class": "SequentialLR"}),
        "state: expected",
    ),
    ("interval", put("scheduler_interval", "day"), "scheduler_interval: expected one of"),
    ("on_nonfinite", put("on_nonfinite", "stop"), "on_nonfinite: expected one of"),
    ("metric", put("metrics", ["odd"]), "metrics: expected one of accuracy"),
    ("metrics of numbers", put("metrics", [3]), "metrics: expected up to 1000 names"),
    ("seed", put("seed", -1), "seed: expected an integer >= 0, got -1"),
    ("seed null", put("seed", None), "seed: expected a int, got None"),
    ("best epoch", put("best_epoch", 99), "best_epoch: expected an integer from 0 to"),
    ("curve missing", renamed("history.loss", "history.los"), "history"),
    ("curve flat", header(flatten), "history.loss: expected a curve or a number"),
    ("curve a number", header(exchange), "expected an array, got a number"),
    ("best without options", put("early_stopping", None), "expected a dict with the best values"),
    ("search a list", put("early_stopping", []), r"early_stopping: expected a dict, got \[\]"),
    (
        "search without options",
        drop("early_stopping/options"),
        "options: expected a dict, got none",
    ),
    ("search with another", put("early_stopping/options/odd", 1), "'odd'"),
    ("patience", put("early_stopping/options/patience", -1), "patience: expected an integer >= 0"),
    ("waited", put("early_stopping/waited", -1), "numbers that belong together"),
    ("waited missing", drop("early_stopping/waited"), "waited: expected an integer, got None"),
    ("best a text", put("early_stopping/best", "x"), "could not convert"),
    ("best NaN", put("early_stopping/best", {"float": "nan"}), "numbers that belong together"),
    ("no best epoch", put("early_stopping/best_epoch", -1), "expected values of the best epoch"),
    ("best missing", renamed("best.1.weight", "best.x"), "expected a tensor '1.weight'"),
    ("best turned", shape("best.1.weight", 5, 8), r"expected float32 of shape \(8, 5\)"),
    ("a model's file", put("kind", "model"), "got one of a model alone"),
]
