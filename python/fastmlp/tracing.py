"""From a module's `forward` to the program that the native core runs.

`forward` is called once with a symbolic value. Each layer and function that it meets adds an
operation, and hands on a new symbolic value; so do sums, and products with numbers. Whatever else
is done with such a value cannot be compiled.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastmlp import _checks, _core, tracing_state
from fastmlp.parameter import Parameter
from fastmlp.symbolic import Maker, Symbolic, Tree, UncompilableError, Unknown, refuse
from fastmlp.tracing_guards import Guards
from fastmlp.tracing_shapes import Shapes

if TYPE_CHECKING:
    from fastmlp._core import Operation


class Trace(Shapes):
    """The operations met so far, and what the next one has to fit.

    Parameters
    ----------
    root : Module
        The model; it knows the names of the layers.
    example : array_like, optional
        What the model was called with: for those who ask for sizes that the layers do not say.
    of_call : bool
        Whether a `forward` that has effects can be run as it stands instead.
    """

    def __init__(self, root: Tree, example: Any = None, of_call: bool = False) -> None:
        super().__init__(root, example)
        self._of_call = of_call
        self.operations: list[Operation] = []
        self.dtype: str | None = None  # of the parameters; None where there are none
        self.precision = "float32"
        self.places: list[tuple[str, int]] = []  # of the parameters: device, and moves so far
        self.dropout = False
        self.squeeze = False  # the result's dimension of one feature is not there
        self.out_width: int | None = None  # of the result, where a layer has decided
        self._takes_rows = self._takes_flattened = False  # of the input
        self._modules = list(root.modules())
        self._known = {id(module) for module in self._modules}
        self._first: tuple[Tree, Parameter] | None = None  # a layer and a parameter of its
        self._multiplies: tuple[Tree, Parameter] | None = None  # an affine layer and its weight
        self._input = Symbolic(self, 0, None)

    def run(self, forward: Any) -> "Trace":
        """Trace `forward`; `UncompilableError` if it is no native program."""
        modules = self._modules
        if all(map(is_ours, modules)):  # whose forward has no effects
            self.guards = Guards(())
            with tracing_state.recording():
                result = forward(self._input)
        else:
            self.guards = Guards(modules)
            result = self._run_watched(forward)
        if not isinstance(result, Symbolic) or not self._owns(result):
            raise TypeError(
                f"forward: expected {type(self._root).__name__} to return a value that it has"
                f" computed from its argument, got {_checks.show(result)}"
            )
        if result.number == 0:
            self._take(result)
        self._keep_what_leads_to(result.number)
        self.operations = [self._with_width(operation) for operation in self.operations]
        self._check_width()
        self.squeeze = result.squeezed
        self.out_width = result.maker.width if result.maker else None
        # Or the trace, its values and the model would hold one another.
        del self._input, self._example, self._modules
        return self

    def _run_watched(self, forward: Any) -> Any:
        """What a `forward` that anyone may have written returns."""
        if self.guards.effects and self._of_call:  # which even a trace would have
            raise UncompilableError(self.guards.effects[0])
        reads = [(parameter, parameter._native.reads) for parameter in self._root._stored()]
        with tracing_state.watched(self._root, self._of_call) as effects:
            result: Any = forward(self._input)
            if isinstance(result, Unknown):
                raise result.error
            if hasattr(result, "__dict__") and not isinstance(result, Symbolic | Parameter):
                raise UncompilableError(
                    f"forward: expected {type(self._root).__name__} to return one output, got a"
                    f" {type(result).__name__}"
                )
            if isinstance(result, tuple | list | dict):
                raise UncompilableError(
                    f"forward: expected {type(self._root).__name__} to return one output, got a"
                    f" {type(result).__name__} of {len(result)}; make one model for each output"
                )
            effects += self.guards.effects
            if self.guards.settle():
                effects.append("forward changes what it reads")
            if any(parameter._native.reads != count for parameter, count in reads):
                effects.append("forward reads numbers of a parameter")
        return result

    @property
    def trains(self) -> bool:
        """Whether all modules are in training mode."""
        return all(module.training for module in self._root.modules())

    @property
    def input_dimensions(self) -> str:
        """What inputs of more than two are: refused, rows of features, or flattened to such."""
        if self._takes_flattened:
            return "two" if self._takes_rows else "flatten"
        return "two" if self._two_dimensional or self.squeeze else "last"

    def add(self, layer: str, value: "Symbolic", *options: Any) -> "Symbolic":
        """Add an operation that takes one value and keeps its width; returns its output."""
        return self._append((layer, self._take(value), *options), value.maker, value)

    def add_scaled(self, value: "Symbolic", scale: float, shift: float) -> "Symbolic":
        """Add a product with a number, and a sum with one."""
        if scale == 0:
            refuse("a product with 0")
        if (scale, shift) == (1, 0):
            return value.copy()
        width = value.maker and value.maker.width
        return self.add("scaled", value, None, None, scale, shift, width)

    def add_parameter(
        self, value: "Symbolic", weight: Parameter | None, bias: Parameter | None
    ) -> "Symbolic":
        """Add a product with a parameter of a number a feature, or a sum with one."""
        parameter = bias if weight is None else weight
        assert parameter is not None
        if len(parameter.shape) != 1 or value.squeezed:
            refuse(f"arithmetic with a parameter of shape {parameter.shape}")
        (features,) = parameter.shape
        if features == 1 and self.width(value) != 1:
            refuse("arithmetic with one parameter for all features", "take one for each of them")
        module = self._owner(parameter)
        numbers = (1.0, 0.0, features)
        return self.add_columns("scaled", value, module, features, (weight, bias), *numbers)

    def is_activation_of(self, result: "Symbolic", value: "Symbolic", *names: str) -> bool:
        """Whether a result is what these activations, one after another, make of the value."""
        number = result.number
        for name in reversed(names):
            operation = self.operations[number - 1] if number else ()
            options = (1.0, 20.0) if name == "softplus" else (0.0, 0.0)
            if not operation or operation[0] != "activation" or operation[2:] != (name, *options):
                return False
            number = operation[1]
        return number == value.number and result.flat == value.flat

    def add_rowwise(self, value: "Symbolic", dim: int, *options: Any) -> "Symbolic":
        """Add an activation of all features together, those along a dimension."""
        if value.squeezed:
            refuse("a function of the features of a value without that dimension")
        if dim != -1:
            self.need_two_dimensions(value)
        return self.add("activation", value, *options)

    def add_affine(
        self, value: "Symbolic", module: Tree, weight: Parameter, bias: Parameter | None
    ) -> "Symbolic":
        """Add a product with a weight, after checking that it fits what is before it."""
        gives, takes = weight.shape
        maker = self._fit(value, module, takes, gives, (weight, bias))
        self._check_precision(module, weight)
        operation: Operation = ("affine", self._take(value), weight._native, _native(bias))
        return self._append(operation, maker, value)

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
        return self._append((kind, self._take(value), *natives, *options), maker, value)

    def add_flatten(self, value: "Symbolic", width: int | None = None) -> "Symbolic":
        """Take inputs of more dimensions; all other values are rows of features already."""
        self._check_own(value)
        if width is not None:
            if value.maker is None:
                self._check_input(width, lambda: "a view in forward gives")
            elif value.maker.width != width:
                refuse(f"a view of {width} features of a value of {value.maker.width}")
        if value.number == 0:
            return value.copy(flat=True)
        self.need_two_dimensions(value)
        return value

    @property
    def in_width(self) -> int | None:
        """The width of the input, where a layer has decided."""
        return self._known_width and self._known_width[0]

    def add_sum(self, left: "Symbolic", right: "Symbolic") -> "Symbolic":
        """Add the sum of two values."""
        self._check_own(left)
        self._check_own(right)
        if left.squeezed != right.squeezed:
            refuse("a sum of values with and without a dimension of features", "squeeze both")
        if left.maker and right.maker:
            if left.width != right.width:
                if 1 in (left.width, right.width):
                    refuse(f"a sum of {left.width} features and {right.width}")
                raise ValueError(
                    f"forward: expected a sum of values of one width, got {left.width} features of"
                    f" {self._name(left.maker.module)} and {right.width} of"
                    f" {self._name(right.maker.module)}"
                )
        elif left.maker:
            maker = left.maker
            self._check_input(left.width, lambda: f"{self._name(maker.module)} gives")
        elif right.maker:
            maker = right.maker
            self._check_input(right.width, lambda: f"{self._name(maker.module)} gives")
        numbers = self._take(left), self._take(right)
        return self._append(("add", *numbers), left.maker or right.maker, left, right)

    def _append(self, operation: Any, maker: "Maker | None", *values: "Symbolic") -> "Symbolic":
        tracing_state.check_recording()
        self.operations.append(operation)
        flat = all(value.flat for value in values)
        return Symbolic(self, len(self.operations), maker, flat, values[0].squeezed)

    def _take(self, value: "Symbolic") -> int:
        """The number of a value that an operation takes."""
        self._check_own(value)
        if value.number == 0:
            self._takes_flattened |= value.flat
            self._takes_rows |= not value.flat
        return value.number

    def _owns(self, value: "Symbolic") -> bool:
        return value.trace is self

    def _check_own(self, value: "Symbolic") -> None:
        if not self._owns(value):
            refuse("a value of another model's forward")

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
                f"{_checks.user_line()}"
            )
        if value.squeezed:
            refuse(f"a value without a dimension of features in {module!r}", "squeeze at the end")
        if value.maker is None:
            if takes is not None:
                self._check_input(takes, lambda: f"{self._name(module)} takes")
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
        if before._native.dtype != parameter._native.dtype:
            raise TypeError(
                f"{self._name(module)}: expected {before.dtype}, the dtype of"
                f" {self._name(previous)}, got {parameter.dtype}"
            )
        if before._native.device != parameter._native.device:
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

    def add_linear(self, value: "Symbolic", weight: Any, bias: Any = None) -> "Symbolic":
        """Add a product with a parameter of one of the model's modules."""
        for name, given in (("weight", weight), ("bias", bias)):
            if not isinstance(given, Parameter) and not (name == "bias" and given is None):
                refuse(f"{name} of linear: {_checks.show(given)}", "Parameters are trained")
        if len(weight.shape) != 2:
            raise ValueError(f"weight: expected shape (out, in), got {weight.shape}")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"bias: expected shape {weight.shape[:1]}, got {bias.shape}")
        return self.add_affine(value, self._owner(weight), weight, bias)

    def _owner(self, parameter: Parameter) -> Any:
        """The module that has it."""
        for module in self._root.modules():
            if any(held is parameter for held in module.__dict__.values()):
                return module
        refuse("a parameter that is none of the model's", "keep it in an attribute of a module")

    def _check_width(self) -> None:
        """Where no layer of the program looks at the input's width, a view has to fit."""
        looks = ("affine", "layer_norm", "batch_norm", "prelu", "scaled")
        if self._known_width and not any(operation[0] in looks for operation in self.operations):
            shape = self.given_shape("the number of features")
            width = math.prod(shape[1:]) if len(shape) > 1 else shape[-1]
            self._check_input(width, lambda: "x has")

    def _with_width(self, operation: Any) -> Any:
        """An operation of numbers needs to know how many features it has."""
        if operation[0] != "scaled" or operation[-1] is not None:
            return operation
        return (*operation[:-1], self.width(self._input))

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


def is_ours(module: Any) -> bool:
    """Whether all that runs in its `forward` is code of this package."""
    is_own = vars(module).keys().isdisjoint(("forward", "_hooks"))
    return is_own and type(module).__module__.startswith("fastmlp.")
