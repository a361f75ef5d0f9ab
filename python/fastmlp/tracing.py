"""From a module's `forward` to the chain of layers that the native core runs.

`forward` is called once with a symbolic value. Each layer that it meets adds its specification, and
hands on a new symbolic value. Whatever else is done with such a value cannot be compiled.
"""

from typing import TYPE_CHECKING, Any, NoReturn

from fastmlp import _checks, _core
from fastmlp.parameter import Parameter

if TYPE_CHECKING:
    from fastmlp._core import LayerSpec
    from fastmlp.modules import Module

_ADVICE = (
    "forward: expected its argument to go through modules, one after another (fm.ReLU(), not"
    " np.maximum), got {}, which cannot be compiled"
)
_SINGLE = (
    "a value that is used twice; a network is one chain of layers so far, without sums and branches"
)


class Chain:
    """The layers met so far, and what the next one has to fit.

    Parameters
    ----------
    root : Module
        The model; it knows the names of the layers.
    """

    def __init__(self, root: "Module") -> None:
        self.layers: list[LayerSpec] = []
        self.dtype: str | None = None  # of the parameters; None where there are none
        self.precision = "float32"
        self.places: list[tuple[str, int]] = []  # of the parameters: device, and moves so far
        self.dropout = False
        self._root = root
        self._known = {id(module) for module in root.modules()}
        self._last: tuple[Module, Parameter] | None = None  # affine layer and its weight
        self._end = Symbolic(self)

    def run(self, forward: Any) -> "Chain":
        """Trace `forward`."""
        result = forward(self._end)
        if isinstance(result, tuple | list | dict):
            raise TypeError(
                f"forward: expected {type(self._root).__name__} to return one output, got a"
                f" {type(result).__name__} of {len(result)}; make one model for each output"
            )
        if result is not self._end:
            got = "an earlier value" if isinstance(result, Symbolic) else _checks.show(result)
            raise TypeError(
                f"forward: expected {type(self._root).__name__} to return what its last module"
                f" returned, got {got}"
            )
        del self._end  # or the chain, its values and the model would hold one another
        return self

    def add(self, value: "Symbolic", layer: "LayerSpec") -> "Symbolic":
        """Add a layer that takes the value; returns the layer's output."""
        if value is not self._end:
            raise TypeError(_ADVICE.format(_SINGLE))
        self.layers.append(layer)
        self._end = Symbolic(self)
        return self._end

    def add_affine(
        self, value: "Symbolic", module: "Module", weight: Parameter, bias: Parameter | None
    ) -> "Symbolic":
        """Add a layer with parameters, after checking that it fits those before it."""
        if value is not self._end:
            raise TypeError(_ADVICE.format(_SINGLE))
        self._check_fit(module, weight)
        self._last = module, weight
        self.dtype = weight._native.dtype
        self.precision = weight._precision
        own = [weight._native] if bias is None else [weight._native, bias._native]
        self.places += [(native.device, native.moves) for native in own]
        return self.add(value, ("affine", weight._native, None if bias is None else bias._native))

    def _check_fit(self, module: "Module", weight: Parameter) -> None:
        if id(module) not in self._known:
            raise TypeError(
                f"forward: expected only layers that are attributes of the model, got {module!r};"
                " keep layers in attributes, in a Sequential, a ModuleList or a ModuleDict"
            )
        if self._last is None:
            return
        previous, before = self._last
        if before.shape[0] != weight.shape[1]:
            raise ValueError(
                f"{self._name(module)}: expected {before.shape[0]} input features, as many as"
                f" {self._name(previous)} gives, got {weight.shape[1]}"
            )
        if before.dtype != weight.dtype:
            raise TypeError(
                f"{self._name(module)}: expected {before.dtype}, the dtype of"
                f" {self._name(previous)}, got {weight.dtype}"
            )
        for what, here, there in (
            ("device", weight.device, before.device),
            ("precision", weight._precision, before._precision),
        ):
            if here != there:
                raise ValueError(
                    f"{self._name(module)}: expected {what} {there!r}, that of"
                    f" {self._name(previous)}, got {here!r}; model.to(...) brings all to one"
                )

    def _name(self, module: "Module") -> str:
        name = next((name for name, known in self._root.named_modules() if known is module), "")
        return f"layer {name}: {module!r}" if name else repr(module)


_FUNCTIONS = frozenset(
    [
        "relu",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "hardtanh",
        "gelu",
        "silu",
        "elu",
        "softplus",
        "softmax",
        "log_softmax",
        "dropout",
    ]
)


class Symbolic(_core.Symbolic):
    """Stands for the data while `forward` is traced."""

    __slots__ = ("chain",)

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> NoReturn:
        name = getattr(func, "__name__", "?")
        ours = f"fastmlp.nn.functional.{name}"
        hint = f"; write {ours}" if name in _FUNCTIONS else ""
        raise TypeError(_ADVICE.format(f"torch's function {name}") + hint)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols that others probe for
            raise AttributeError(name)
        raise TypeError(_ADVICE.format(f"its attribute {name!r}"))


def _refuse(operation: str) -> Any:
    def refuse(self: Symbolic, *args: Any, **options: Any) -> NoReturn:
        raise TypeError(_ADVICE.format(operation))

    return refuse


for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "matmul", "rmatmul"),
    *("pow", "rpow", "neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "getitem", "setitem"),
    *("bool", "len", "iter", "float"),
):
    setattr(Symbolic, f"__{_name}__", _refuse(f"the operation __{_name}__"))
for _name in ("array", "array_ufunc", "array_function"):
    setattr(Symbolic, f"__{_name}__", _refuse("a NumPy function"))
