"""A model as JSON, and back: THE TABLE of what a file can name, and how it is made.

A description is a dict for each layer: `class`, `options` for its constructor, `layers` below it by
name; and where they are not as usual, `training`, `frozen` (parameters without gradient), `device`,
`precision`, `seed` (MLP's). A layer that is in a model twice is `{"same": name}` the second time.
What the table does not have is described, too, with `own`, but can only be filled, not made.

From a file, everything is checked against the shapes of the tensors that it really has, before
anything is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastmlp import _checks, _core, activations, seeds
from fastmlp.containers import ModuleDict, ModuleList, Sequential
from fastmlp.files.container import Contents, entry
from fastmlp.layers import Dropout, Flatten, Linear
from fastmlp.modules import Module
from fastmlp.normalization import BatchNorm1d, LayerNorm, Standardize
from fastmlp.onnx.layers import Graph, Scale
from fastmlp.parameter import Buffer, Parameter
from fastmlp.residual import Residual
from fastmlp.tracing import Trace

Options = Mapping[str, Any]
Shapes = dict[str, tuple[Any, ...]]
MOST_NESTED = 100
COUNTERS = ("num_batches_tracked", "count")  # whole numbers of at least 0


def _linear(o: Options) -> Shapes:
    weight = {"weight": (o["out_features"], o["in_features"])}
    return weight | ({"bias": (o["out_features"],)} if o["bias"] is True else {})


def _affine(o: Options, features: str, there: str) -> Shapes:
    has = {"weight": o[there] is True, "bias": o[there] is True and o["bias"] is True}
    return {name: (o[features],) for name, is_there in has.items() if is_there}


def _batch_norm(o: Options) -> Shapes:
    shapes = _affine(o, "num_features", "affine")
    if o["track_running_stats"] is True:
        shapes |= dict.fromkeys(("running_mean", "running_var"), (o["num_features"],))
        shapes["num_batches_tracked"] = ()
    return shapes


def _scale_arrays(features: Any) -> Shapes:
    return dict.fromkeys(("scale", "shift"), (features,))


class Layer(NamedTuple):
    """Its class, the constructor's options that a file has, and its tensors' shapes."""

    make: Callable[..., Module]
    options: tuple[str, ...] = ()
    shapes: Callable[[Options], Shapes] = lambda options: {}


LAYERS = {
    "Linear": Layer(Linear, ("in_features", "out_features", "bias"), _linear),
    "Dropout": Layer(Dropout, ("p", "inplace")),
    "Flatten": Layer(Flatten, ("start_dim", "end_dim")),
    "LayerNorm": Layer(
        LayerNorm,
        ("normalized_shape", "eps", "elementwise_affine", "bias"),
        lambda o: _affine(o, "normalized_shape", "elementwise_affine"),
    ),
    "BatchNorm1d": Layer(
        BatchNorm1d,
        ("num_features", "eps", "momentum", "affine", "track_running_stats", "bias"),
        _batch_norm,
    ),
    "Standardize": Layer(
        Standardize,
        ("num_features",),
        lambda o: {
            **dict.fromkeys(("mean", "scale", "variance"), (o["num_features"],)),
            "count": (),
        },
    ),
    "Scale": Layer(
        Scale,
        ("scale", "shift", "features"),
        lambda o: {} if o["features"] is None else _scale_arrays(o["features"]),
    ),
    "PReLU": Layer(
        activations.PReLU,
        ("num_parameters", "init"),
        lambda o: {"weight": (o["num_parameters"],)},
    ),
    **{
        name: Layer(getattr(activations, name), options)
        for options, names in {
            (): "Identity Sigmoid Tanh LogSigmoid Softsign",
            ("inplace",): "ReLU ReLU6 SiLU Mish Hardswish Hardsigmoid SELU",
            ("negative_slope", "inplace"): "LeakyReLU",
            ("min_val", "max_val", "inplace"): "Hardtanh",
            ("alpha", "inplace"): "ELU CELU",
            ("beta", "threshold"): "Softplus",
            ("approximate",): "GELU",
            ("dim",): "Softmax LogSoftmax",
        }.items()
        for name in names.split()
    },
}


def _graph(layers: dict[str, Module], options: Options) -> Module:
    inner = layers.get("layers")
    if set(layers) != {"layers"} or not isinstance(inner, ModuleList):
        raise ValueError(f"layers: expected those of a Graph, got {list(layers)}")
    return Graph([*inner], entry(options, "steps", list), options["squeeze"])


def _list(layers: dict[str, Module], _: Options) -> Module:
    if list(layers) != [str(number) for number in range(len(layers))]:
        raise ValueError(f"layers: expected those of a list, 0, 1, ..., got {list(layers)}")
    return ModuleList(layers.values())


def _residual(layers: dict[str, Module], _: Options) -> Module:
    inner, projection = layers.get("layers"), layers.get("projection")
    if not isinstance(inner, Sequential) or set(layers) - {"layers", "projection"}:
        raise ValueError(f"layers: expected those of a Residual, got {list(layers)}")
    # Past the constructor, which would make a projection of any size.
    residual = Residual.__new__(Residual)
    residual.layers, residual.projection = inner, None
    if projection is not None:
        if type(projection) is not Linear:
            raise ValueError(f"projection: expected a Linear, got {type(projection).__name__}")
        residual.projection = projection
    return residual


class Container(NamedTuple):
    """Its class, how it is made of its layers, and the options that a file has."""

    kind: type[Module]
    make: Callable[[dict[str, Module], Options], Module]
    options: tuple[str, ...] = ()


CONTAINERS = {
    "Sequential": Container(Sequential, lambda layers, _: Sequential(layers)),
    "ModuleList": Container(ModuleList, _list),
    "ModuleDict": Container(ModuleDict, lambda layers, _: ModuleDict(layers)),
    "Residual": Container(Residual, _residual),
    "Graph": Container(Graph, _graph, ("steps", "squeeze")),
}

# From a model


def describe(model: Module, resting: Sequence[Module] = ()) -> dict[str, Any]:
    """The description of a model, with `ties` for parameters of several names.

    Layers that rest will be in evaluation mode, though they are not now.
    """
    description = _describe(model, "", {}, {id(module) for module in resting})
    first: dict[int, str] = {}
    ties = {}
    for name, place in model._all_state():
        if isinstance(place, Parameter) and first.setdefault(id(place), name) != name:
            ties[name] = first[id(place)]
    return description | ({"ties": ties} if ties else {})


def _describe(module: Module, path: str, seen: dict[int, str], resting: set[int]) -> dict[str, Any]:
    if id(module) in seen:
        return {"same": seen[id(module)]}
    name = type(module).__name__
    result: dict[str, Any] = {"class": name}
    children = dict(module.named_children())
    if (options := _options_of(module, children)) is None:
        result["own"] = True
    elif options:
        result["options"] = options
    if children:
        result["layers"] = {
            child: _describe(layer, f"{path}.{child}" if path else child, seen, resting)
            for child, layer in children.items()
        }
    seen[id(module)] = path
    if not module.training or id(module) in resting:
        result["training"] = False
    if isinstance(seed := module.__dict__.get("_seed"), int):  # MLP's
        result["seed"] = seed
    own = {n: v for n, v in module.__dict__.items() if isinstance(v, Parameter)}
    if frozen := [n for n, v in own.items() if not v.requires_grad and not isinstance(v, Buffer)]:
        result["frozen"] = frozen
    if own:
        first = next(iter(own.values()))
        usual = {"device": "cpu", "precision": "float32"}
        found = {"device": first._native.device, "precision": first._precision}
        result |= {n: value for n, value in found.items() if value != usual[n]}
    return result


def _options_of(module: Module, children: Mapping[str, Module]) -> dict[str, Any] | None:
    """The constructor's options; None where it would not make this module."""
    name, own = type(module).__name__, vars(module)
    tensors = {n for n, value in own.items() if isinstance(value, Parameter)}
    tensors |= {n for n in module._buffers() if own[n] is not None}
    if "forward" in own:
        return None
    if (container := CONTAINERS.get(name)) is not None and type(module) is container.kind:
        plain = type(module) is not Residual or (
            set(children) <= {"layers", "projection"} and type(module.layers) is Sequential
        )
        options = {option: getattr(module, option) for option in container.options}
        return options if plain and not tensors else None
    layer = LAYERS.get(name)
    if layer is None or type(module) is not layer.make or children:
        return None
    options = {option: _READ.get(option, getattr)(module, option) for option in layer.options}
    return options if tensors == set(layer.shapes(options)) else None


def _number(value: Any) -> float:
    """An option that is a number, or, of arrays, which are tensors of the file, any."""
    return 0.0 if isinstance(value, Parameter) else value


_READ: dict[str, Callable[[Any, str], Any]] = {
    "bias": lambda module, _: module.bias is not None,
    "normalized_shape": lambda module, _: module.normalized_shape[0],
    **{name: lambda module, name: _number(getattr(module, name)) for name in ("scale", "shift")},
}

# From a file


@dataclass
class Node:
    """A layer as described; `options` and `shapes` of one that can be made."""

    path: str
    name: str  # of the class
    own: bool
    description: Mapping[str, Any]
    options: dict[str, Any]
    shapes: Shapes
    layers: "dict[str, Node]"
    dtype: str = "float32"
    module: Module | None = field(default=None, repr=False)

    def tensors(self, prefix: str) -> "Iterator[tuple[str, Node, str]]":
        """The names of all tensors, those of layers that occur twice twice; whose, and its name."""
        for name in self.shapes:
            yield prefix + name, self, name
        for child, layer in self.layers.items():
            yield from layer.tensors(f"{prefix}{child}.")


class Reader:
    """Reads a description; ValueError for all that is not one."""

    def __init__(self, tensors: int) -> None:
        # Layers without tensors cost little in a file, and more in memory.
        self._most = self._left = 1000 + 8 * tensors
        self._seen: dict[str, tuple[Node, int]] = {}

    def read(self, description: Any) -> Node:
        """The root of the description."""
        return self._read(description, "", 0)

    def _read(self, description: Any, path: str, depth: int) -> Node:
        if not isinstance(description, dict) or depth > MOST_NESTED:
            raise ValueError(f"layer {path!r}: expected a description of a layer")
        before = self._left
        if "same" in description:
            if (target := entry(description, "same", str)) not in self._seen:
                raise ValueError(f"layer {path!r}: expected the name of a layer, got {target!r}")
            node, size = self._seen[target]
            self._count(size)
            return node
        self._count(1)
        layers = description.get("layers", {})
        if not isinstance(layers, dict) or {"_seed", "_buffer_names", "_count"} & set(layers):
            raise ValueError(f"layer {path!r}: expected layers by name")
        children = {
            child: self._read(layer, f"{path}.{child}" if path else child, depth + 1)
            for child, layer in layers.items()
        }
        node = self._node(description, path, children)
        self._seen[path] = node, before - self._left
        return node

    def _count(self, layers: int) -> None:
        self._left -= layers
        if self._left < 0:
            raise ValueError(f"expected at most {self._most} layers for the tensors that there are")

    def _node(self, description: dict[str, Any], path: str, layers: dict[str, Node]) -> Node:
        name, own = entry(description, "class", str), description.get("own") is True
        _checks.flag("training", description.get("training", True))
        frozen = description.get("frozen", [])
        if not isinstance(frozen, list) or not all(isinstance(one, str) for one in frozen):
            raise ValueError(f"layer {path!r}: expected names of parameters as frozen")
        options = description.get("options", {})
        shapes: Shapes = {}
        if own:
            options = {}
        elif name in LAYERS:
            layer = LAYERS[name]
            if not isinstance(options, dict) or set(options) != set(layer.options) or layers:
                raise ValueError(
                    f"layer {path!r}: expected {name} with {', '.join(layer.options) or 'nothing'}"
                )
            shapes = layer.shapes(options)
        elif name not in CONTAINERS:
            raise ValueError(f"layer {path!r}: expected one of fastmlp's layers, got {name!r}")
        elif not isinstance(options, dict) or set(options) != set(CONTAINERS[name].options):
            wanted = ", ".join(CONTAINERS[name].options) or "no options"
            raise ValueError(f"layer {path!r}: expected {name} with {wanted}")
        else:
            self._count(len(entry(options, "steps", list)) if "steps" in options else 0)
        return Node(path, name, own, description, options, shapes, layers)


def own_class(node: Node) -> Node | None:
    """The first layer that no file can make."""
    if node.own:
        return node
    return next((found for n in node.layers.values() if (found := own_class(n))), None)


def check_tensors(node: Node, contents: Contents, prefix: str) -> None:
    """ValueError unless the file has the tensors that the layers have, and no others."""
    expected = {name: (own, short) for name, own, short in node.tensors(prefix)}
    there = {name for name in contents.names if name.startswith(prefix)}
    if missing := sorted(expected.keys() - there):
        raise ValueError(f"{missing[0]!r}: expected a tensor, got none")
    if extra := sorted(there - expected.keys()):
        raise ValueError(f"{extra[0]!r}: expected no such tensor")
    dtypes: dict[int, str] = {}
    for name, (own, short) in expected.items():
        shape, dtype = contents.shape(name), contents.dtype(name)
        if shape != own.shapes[short]:
            raise ValueError(f"{name!r}: expected shape {own.shapes[short]}, got {shape}")
        counts = short in COUNTERS
        wanted = "int64" if counts else dtypes.setdefault(id(own), dtype)
        if dtype != wanted or (not counts and dtype == "int64"):
            raise ValueError(f"{name!r}: expected {wanted} like the layer's others, got {dtype}")
        if not counts:
            own.dtype = dtype


def make(node: Node) -> Module:
    """The modules, with first values from no generator of the user's."""
    with seeds.seeded(0):
        model = _make(node)
    ties = node.description.get("ties", {})
    if not isinstance(ties, dict):
        raise ValueError("ties: expected names by name")
    modules = dict(model._walk(""))
    for name, target in ties.items():
        owner, _, short = name.rpartition(".")
        other, _, other_short = str(target).rpartition(".")
        places = vars(modules[owner]).get(short), vars(modules[other]).get(other_short)
        if not all(isinstance(found, Parameter) for found in places):
            raise ValueError(f"ties: expected names of parameters, got {name!r} and {target!r}")
        setattr(modules[owner], short, places[1])
    if not isinstance(model, ModuleList | ModuleDict):
        Trace(model).run(model.forward)  # or an error, where layers do not fit together
    return model


def _make(node: Node) -> Module:
    if node.module is None:
        layers = {name: _make(layer) for name, layer in node.layers.items()}
        if node.name in CONTAINERS:
            node.module = CONTAINERS[node.name].make(layers, node.options)
        else:
            dtype = {"dtype": node.dtype} if node.shapes else {}
            node.module = LAYERS[node.name].make(**node.options, **dtype)
        if "seed" in node.description and isinstance(node.module, Sequential):
            node.module.__dict__["_seed"] = seeds.check_seed(node.description["seed"])
    return node.module


def apply_settings(node: Node, module: Module) -> None:
    """Modes, and what needs no gradient, as far as the module has such layers."""
    module.training = node.description.get("training", True)
    frozen = node.description.get("frozen", [])
    for name, value in vars(module).items():
        if isinstance(value, Parameter) and not isinstance(value, Buffer):
            value.requires_grad = name not in frozen
    layers = dict(module.named_children())
    for name, layer in node.layers.items():
        if name in layers:
            apply_settings(layer, layers[name])


def place(node: Node, device: str | None) -> None:
    """Put each layer where it was, or all on one device."""
    for layer in node.layers.values():
        place(layer, device)
    assert node.module is not None
    if node.shapes:
        where = device or _there(node.description.get("device", "cpu"))
        precision = node.description.get("precision", "float32")
        if where == "cpu" and precision in _checks.CUDA_PRECISIONS:  # as `Module.to` does
            precision = "float32"
        node.module.to(device=where, precision=precision)


def _there(device: Any) -> str:
    """The device, or the CPU where there is none."""
    _checks.choice("device", device, ("cpu", "cuda"))
    return "cpu" if device == "cpu" or _core.cuda_problem() is not None else "cuda"
