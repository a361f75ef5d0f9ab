"""From a module's `forward` to the program that the native core runs.

`forward` is called once with a symbolic value. Each layer that it meets adds an operation, and
hands on a new symbolic value; so does the sum of two values. Whatever else is done with such a
value cannot be compiled.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from fastmlp import _checks, _core
from fastmlp.parameter import Parameter

if TYPE_CHECKING:
    from fastmlp._core import Operation

_ADVICE = (
    "forward: expected its argument to go through modules, and sums of values (fm.ReLU() or"
    " fm.relu(...), not np.maximum), got {}, which cannot be compiled"
)


class Tree(Protocol):
    """A module, as far as its name and those of its sub-modules go."""

    def modules(self) -> Iterator[Any]: ...
    def named_modules(self) -> Iterator[tuple[str, Any]]: ...


class Maker(NamedTuple):
    """The layer that decided on a value's width, and a parameter of its, if it has any."""

    module: Tree
    width: int
    parameter: Parameter | None


class Trace:
    """The operations met so far, and what the next one has to fit.

    Parameters
    ----------
    root : Module
        The model; it knows the names of the layers.
    """

    def __init__(self, root: Tree) -> None:
        self.operations: list[Operation] = []
        self.dtype: str | None = None  # of the parameters; None where there are none
        self.precision = "float32"
        self.places: list[tuple[str, int]] = []  # of the parameters: device, and moves so far
        self.dropout = False
        self.flatten = False  # inputs of more than two dimensions are taken
        self.out_width: int | None = None  # of the result, where a layer has decided
        self._root = root
        self._known = {id(module) for module in root.modules()}
        self._first: tuple[Tree, Parameter] | None = None  # a layer and a parameter of its
        self._multiplies: tuple[Tree, Parameter] | None = None  # an affine layer and its weight
        self._input_width: tuple[int, str] | None = None  # and what says so
        self._input = Symbolic(self, 0, None)

    def run(self, forward: Any) -> "Trace":
        """Trace `forward`."""
        result = forward(self._input)
        if isinstance(result, tuple | list | dict):
            raise TypeError(
                f"forward: expected {type(self._root).__name__} to return one output, got a"
                f" {type(result).__name__} of {len(result)}; make one model for each output"
            )
        if not isinstance(result, Symbolic) or result.trace is not self:
            raise TypeError(
                f"forward: expected {type(self._root).__name__} to return a value that it has"
                f" computed from its argument, got {_checks.show(result)}"
            )
        self._keep_what_leads_to(result.number)
        self.out_width = result.width if result.maker else None
        del self._input  # or the trace, its values and the model would hold one another
        return self

    def add(self, layer: str, value: "Symbolic", *options: Any) -> "Symbolic":
        """Add an operation that takes one value and keeps its width; returns its output."""
        self._check_own(value)
        return self._append((layer, value.number, *options), value.maker)

    def add_affine(
        self, value: "Symbolic", module: Tree, weight: Parameter, bias: Parameter | None
    ) -> "Symbolic":
        """Add a product with a weight, after checking that it fits what is before it."""
        gives, takes = weight.shape
        maker = self._fit(value, module, takes, gives, (weight, bias))
        self._check_precision(module, weight)
        operation: Operation = ("affine", value.number, weight._native, _native(bias))
        return self._append(operation, maker)

    def add_columns(
        self,
        kind: str,
        value: "Symbolic",
        module: Tree,
        features: int | None,
        parameters: Sequence[Parameter | None],
        *options: Any,
        buffers: Sequence[Parameter | None] = (),
    ) -> "Symbolic":
        """Add an operation with parameters and buffers of a value a feature, or None.

        With `features` of None it takes values of any width.
        """
        width = features
        if features is None and value.maker is not None:
            width = value.maker.width
        maker = self._fit(value, module, width, width, (*parameters, *buffers))
        natives = [_native(parameter) for parameter in parameters]
        return self._append((kind, value.number, *natives, *options), maker)

    def add_flatten(self, value: "Symbolic") -> "Symbolic":
        """Take inputs of more dimensions; all other values are rows of features already."""
        self._check_own(value)
        self.flatten |= value.number == 0
        return value

    @property
    def in_width(self) -> int | None:
        """The width of the input, where a layer has decided."""
        return self._input_width and self._input_width[0]

    def add_sum(self, left: "Symbolic", right: "Symbolic") -> "Symbolic":
        """Add the sum of two values."""
        self._check_own(left)
        self._check_own(right)
        if left.maker and right.maker:
            if left.width != right.width:
                raise ValueError(
                    f"forward: expected a sum of values of one width, got {left.width} features of"
                    f" {self._name(left.maker.module)} and {right.width} of"
                    f" {self._name(right.maker.module)}"
                )
        elif left.maker:
            self._check_input(left.width, f"{self._name(left.maker.module)} gives")
        elif right.maker:
            self._check_input(right.width, f"{self._name(right.maker.module)} gives")
        return self._append(("add", left.number, right.number), left.maker or right.maker)

    def _append(self, operation: Any, maker: "Maker | None") -> "Symbolic":
        self.operations.append(operation)
        return Symbolic(self, len(self.operations), maker)

    def _check_own(self, value: "Symbolic") -> None:
        if value.trace is not self:
            raise TypeError(_ADVICE.format("a value of another model's forward"))

    def _fit(
        self,
        value: "Symbolic",
        module: Tree,
        takes: int | None,
        gives: int | None,
        parameters: Sequence[Parameter | None],
    ) -> "Maker | None":
        """Check that a layer with parameters fits what is before it; widths of None are any."""
        self._check_own(value)
        if id(module) not in self._known:
            raise TypeError(
                f"forward: expected only layers that are attributes of the model, got {module!r};"
                " keep layers in attributes, in a Sequential, a ModuleList or a ModuleDict"
            )
        if value.maker is None:
            if takes is not None:
                self._check_input(takes, f"{self._name(module)} takes")
        elif value.maker.width != takes:
            raise ValueError(
                f"{self._name(module)}: expected {value.maker.width} input features, as many as"
                f" {self._name(value.maker.module)} gives, got {takes}"
            )
        own = [parameter for parameter in parameters if parameter is not None]
        if not own:
            return value.maker if gives is None else Maker(module, gives, None)
        before = self._first
        if value.maker is not None and value.maker.parameter is not None:
            before = value.maker.module, value.maker.parameter
        if self._first is None:
            self._first = before = module, own[0]
        assert before is not None
        self._check_place(module, own[0], *before)  # the native program looks at the others
        self.dtype = own[0]._native.dtype
        self.places += [(parameter._native.device, parameter._native.moves) for parameter in own]
        return None if gives is None else Maker(module, gives, own[0])

    def _check_place(
        self, module: Tree, parameter: Parameter, previous: Tree, before: Parameter
    ) -> None:
        if before.dtype != parameter.dtype:
            raise TypeError(
                f"{self._name(module)}: expected {before.dtype}, the dtype of"
                f" {self._name(previous)}, got {parameter.dtype}"
            )
        self._check_same("device", module, parameter.device, previous, before.device)

    def _check_precision(self, module: Tree, weight: Parameter) -> None:
        if self._multiplies is None:
            self._multiplies = module, weight
        previous, before = self._multiplies
        self.precision = before._precision
        self._check_same("precision", module, weight._precision, previous, before._precision)

    def _check_same(self, what: str, module: Tree, here: str, previous: Tree, there: str) -> None:
        if here != there:
            raise ValueError(
                f"{self._name(module)}: expected {what} {there!r}, that of"
                f" {self._name(previous)}, got {here!r}; model.to(...) brings all to one"
            )

    def _check_input(self, width: int, why: str) -> None:
        """All that says how wide the input is must agree."""
        known = self._input_width = self._input_width or (width, why)
        if known[0] != width:
            raise ValueError(
                f"forward: expected one width of the model's input, got {known[0]} features, which"
                f" {known[1]}, and {width}, which {why}"
            )

    def _keep_what_leads_to(self, output: int) -> None:
        """Drop operations whose values nobody uses; the output's comes last."""
        wanted = {output}
        for number in range(output, 0, -1):
            if number in wanted:
                wanted.update(_inputs(self.operations[number - 1]))
        kept = sorted(wanted - {0})
        numbers = {0: 0, **{number: place for place, number in enumerate(kept, 1)}}
        self.operations = [_renumbered(self.operations[number - 1], numbers) for number in kept]

    def _name(self, module: Tree) -> str:
        name = next((name for name, known in self._root.named_modules() if known is module), "")
        return f"layer {name}: {module!r}" if name else repr(module)


def _native(parameter: Parameter | None) -> "_core.Parameter | None":
    return None if parameter is None else parameter._native


def _inputs(operation: "Operation") -> tuple[int, ...]:
    return (operation[1], operation[2]) if operation[0] == "add" else (operation[1],)


def _renumbered(operation: Any, numbers: dict[int, int]) -> "Operation":
    count = len(_inputs(operation))
    inputs = tuple(numbers[number] for number in operation[1 : 1 + count])
    renumbered: Operation = (operation[0], *inputs, *operation[1 + count :])
    return renumbered


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
        "relu6",
        "selu",
        "celu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "logsigmoid",
        "softsign",
        "softmax",
        "log_softmax",
        "dropout",
    ]
)


class Symbolic(_core.Symbolic):
    """Stands for a value while `forward` is traced.

    Parameters
    ----------
    trace : Trace
    number : int
        The value's: 0 is the input, operation i makes value i + 1.
    maker : Maker or None
        The layer that decided on its width; None: it is as wide as the input.
    """

    __slots__ = ("maker", "number", "trace")

    def __init__(self, trace: Trace, number: int, maker: Maker | None) -> None:
        self.trace = trace
        self.number = number
        self.maker = maker

    @property
    def width(self) -> int:
        """How many features, where a layer has decided."""
        assert self.maker is not None
        return self.maker.width

    def __add__(self, other: Any) -> "Symbolic":
        if not isinstance(other, Symbolic):
            raise TypeError(_ADVICE.format(f"a sum with {_checks.show(other)}"))
        return self.trace.add_sum(self, other)

    __radd__ = __add__

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
    *("sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "matmul", "rmatmul"),
    *("pow", "rpow", "neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "getitem", "setitem"),
    *("bool", "len", "iter", "float"),
):
    setattr(Symbolic, f"__{_name}__", _refuse(f"the operation __{_name}__"))
for _name in ("array", "array_ufunc", "array_function"):
    setattr(Symbolic, f"__{_name}__", _refuse("a NumPy function"))
