"""Modules: trees of layers with names, modes and parameters, which run as one native network.

The first call of a module traces its `forward` (see tracing.py) and builds a native network; later
calls go straight there. Any assignment to an attribute of any module makes the next call trace
again, and a network is built anew only where the program has really changed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastmlp import _checks, _core, direct, seeds
from fastmlp._types import Array
from fastmlp.module_hooks import Hooked
from fastmlp.parameter import Parameter, check_each
from fastmlp.plan import Plan
from fastmlp.stateful import IncompatibleKeys
from fastmlp.summary import summary
from fastmlp.symbolic import Symbolic, UncompilableError
from fastmlp.tracing import Trace

__all__ = ["IncompatibleKeys", "Module", "Plan"]

_ONE_PROGRAM = (
    "predict, a Trainer and derivatives run a model as one native program; a call runs this as it"
    " stands, one operation after another"
)
M = TypeVar("M", bound="Module")
_MADE = ("_plan", "_direct", "_native", "_hooks")  # attributes that copies and pickles do without


class Module(Hooked):
    """Base of all layers and models.

    A model of one's own assigns its layers to attributes and passes its argument through them in
    `forward`. Assignment registers the layers, under torch's names::

        class Net(fm.Module):
            def __init__(self):
                super().__init__()
                self.hidden = fm.Linear(2, 10)
                self.output = fm.Linear(10, 1)

            def forward(self, x):
                return self.output(torch.relu(self.hidden(x)))

    `forward` is compiled, not run for each batch. Besides modules it takes activations as functions
    (of `fastmlp.nn.functional`, torch and NumPy) and methods, dropout, sums and differences, values
    times and plus numbers and parameters of a number a feature, clamps, and views that make rows of
    features of an input. It is compiled again when an attribute of any module, a global that it
    reads, or what a list or dict of its holds has changed. Bounds of a clamp have the derivative 0,
    as with `ReLU` and `Hardtanh`.

    A `forward` that does anything else, such as a product of two values, or has several inputs or
    outputs, or an effect of its own, runs as it stands where the model is called, with recorded
    arithmetic and a native call for each layer. `predict`, a `Trainer` and derivatives raise a
    TypeError then that says in which line it stands, and what to write instead; so does a call if
    `forward` decides by values.

    `model(x)` is the output for a batch, a `Tensor` recorded for `backward`; it is read-only, so
    that torch.from_numpy wants a copy of it, but not of what `predict` returns. x is anything that
    NumPy can view as real numbers, of shape (rows, in_features), (in_features,) or, with more
    dimensions, (..., in_features), which all go over into the output; `Flatten` makes rows of
    features of them instead. It is converted to the parameters' dtype. Without parameters, float64
    stays float64 and all else becomes float32. A call raises TypeError if x is not made of real
    numbers, and ValueError if x is empty, of the wrong width, or of
    more dimensions than two where the model has a layer that works on the second one.
    """

    training: bool = True
    checks: ClassVar[dict[str, Callable[[str, Any], Any]]] = {}  # of options, by name
    _plan: Plan | None = None
    _direct = 0  # the structure in which forward was found to be no native program

    def __init__(self) -> None:
        """Nothing to set up; here so that models of one's own may call it."""

    def forward(self, x: Any) -> Any:
        """Pass the symbolic value `x` through sub-modules; models define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, x)")

    # Running. The calls themselves, and `predict`, are native: cpp/bindings/bind_model.cpp.

    def _compiled(self, x: Any = None, of_call: bool = False) -> Plan:
        """The plan for an input or, without one, for all that the model takes."""
        plan = self._plan
        if plan is None or not plan.suits(x):
            self._check_no_hooks()  # a new one changes the structure
            try:
                trace = Trace(self, x, of_call).run(self.forward)
            except UncompilableError as error:
                raise error if of_call else UncompilableError(f"{error}. {_ONE_PROGRAM}") from None
            plan = Plan(trace, plan)
            self._take_plan(plan)
        return plan

    def _take_plan(self, plan: Plan) -> None:
        self.__dict__["_plan"] = plan  # past __setattr__: this changes nothing that is traced

    def _compiled_for_call(self, x: Any) -> Plan | None:
        """The same, but None where `forward` is no native program; then comes `_run`."""
        if self._direct == _core.structure():
            return None
        try:
            return self._compiled(x, of_call=True)
        except Exception as error:
            if not isinstance(error, UncompilableError) and _checks.is_ours(error):
                raise
            self.__dict__["_direct"] = _core.structure()
            return None

    def _run(self, *args: Any, **options: Any) -> Any:
        """What `forward` returns, run as it stands."""
        known = self._direct == _core.structure()
        try:
            return direct.run(self, args, options)
        finally:  # which may have set attributes
            if known:
                self.__dict__["_direct"] = _core.structure()

    def _call_with(self, *args: Any, **options: Any) -> Any:
        """A call with any other arguments than one input."""
        if any(isinstance(value, Symbolic) for value in (*args, *options.values())):
            return self.forward(*args, **options)
        return self._call_hooked(*args, **options)

    def _draw_seed(self) -> int:
        return seeds.current().next_seed()

    def weight_jacobian(self, x: Any, params: Iterable[Parameter] | None = None) -> Array:
        """The derivative of each output of `predict` with respect to each weight, for every row.

        As with `jacobian`, the model runs in evaluation mode, nothing is recorded, and the
        parameters' gradients stay as they are.

        Parameters
        ----------
        x : array_like, shape (rows, in_features) or (in_features,)
            On the host, where this is computed also for a model on a CUDA device.
        params : iterable of Parameter, optional
            By default all parameters of the model that have `requires_grad`.

        Returns
        -------
        ndarray, shape (rows, out_features, weights) or (out_features, weights)
            Of the model's dtype. The weights stand in the order of the parameters, those of each
            in the order of its shape, as `nn.utils.parameters_to_vector` has them.

        Raises
        ------
        TypeError, ValueError
            As by `jacobian`: for instance, where a `BatchNorm1d` takes its statistics from the
            batch.
        """
        if params is None:
            params = [p for p in self.parameters() if p.requires_grad]
        native = [parameter._native for parameter in check_each("params", params)]
        network = self._compiled(x).network
        if network is None:
            raise ValueError("model: expected its forward() to use its parameters, got none")
        return network.weight_jacobian(x, native)

    # The tree. Sub-modules and parameters are found among the attributes, so there is no registry.

    def __setattr__(self, name: str, value: Any) -> None:
        current = self.__dict__.get(name)
        if isinstance(current, Parameter) and value is not None:
            if not isinstance(value, Parameter):
                current[...] = current.checked(name, value)
                return
            if value is current:
                return
        elif isinstance(value, Module):
            if any(module is self for module in value.modules()):
                raise ValueError(f"{name}: expected a module that does not contain this one")
        elif name in self._buffers():
            value = self._checked_buffer(name, value)
        else:
            value = self.check_option(name, value)
        super().__setattr__(name, value)
        _core.structure_changed()

    def check_option(self, name: str, value: Any) -> Any:
        """The value of an attribute that is about to be set, or an error that names it."""
        if name == "training":
            return _checks.flag(name, value)
        if (check := self.checks.get(name)) is not None:
            return check(name, value)
        known = hasattr(type(self), name) or name in self.__dict__ or name.startswith("_")
        if not (known or isinstance(value, Parameter)):
            self._refuse_misspelt(name)
        return value

    def _refuse_misspelt(self, name: str) -> None:
        """AttributeError for nearly the name of an option; models have names of their own."""
        options = ("training", *self.checks)
        if name not in getattr(type(self), "__annotations__", {}) and _checks.similar(
            name, options
        ):
            _checks.refuse_attribute(self, name, options)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as assigning to the attribute of that name."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"param: expected a Parameter, got {_checks.show(param)}")
        setattr(self, name, param)

    def add_module(self, name: str, module: "Module") -> None:
        """The same as assigning to the attribute of that name."""
        if not isinstance(module, Module):
            raise TypeError(f"module: expected a Module, got {_checks.show(module)}")
        setattr(self, name, module)

    register_module = add_module

    def get_submodule(self, target: str) -> "Module":
        """The module of that dotted name; "" is this one.

        Raises
        ------
        AttributeError
            If there is none.
        """
        for name, module in self._walk(""):
            if name == target:
                return module
        raise AttributeError(f"target: expected the name of a sub-module, got {target!r}")

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of that dotted name; AttributeError if there is none."""
        at, _, name = target.rpartition(".")
        found = self.get_submodule(at)._parameters.get(name)
        if found is None:
            raise AttributeError(f"target: expected the name of a parameter, got {target!r}")
        return found

    def _get_name(self) -> str:
        return type(self).__name__

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._buffers().pop(name, None)
        _core.structure_changed()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _MADE}

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The direct sub-modules and their names."""
        for name, value in list(self.__dict__.items()):  # another thread may be adding the plan
            if isinstance(value, Module):
                yield name, value

    @property
    def _modules(self) -> Mapping[str, "Module"]:
        """torch's name for the direct sub-modules; new ones are set as attributes."""
        return MappingProxyType(dict(self.named_children()))

    @property
    def _parameters(self) -> Mapping[str, Parameter]:
        """torch's name for the module's own parameters."""
        return MappingProxyType(dict(self.named_parameters(recurse=False)))

    def children(self) -> Iterator["Module"]:
        """The direct sub-modules."""
        for _, module in self.named_children():
            yield module

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """This module (named "") and all below it, each once, with dotted names."""
        seen: set[int] = set()
        for name, module in self._walk(""):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, each once."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            module = waiting.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield module
                held = list(vars(module).values())  # another thread may be adding the plan
                waiting += [value for value in reversed(held) if isinstance(value, Module)]

    def _walk(self, name: str) -> Iterator[tuple[str, "Module"]]:
        yield name, self
        for child_name, child in self.named_children():
            yield from child._walk(f"{name}.{child_name}" if name else child_name)

    def apply(self: M, function: Callable[["Module"], object]) -> M:
        """Call a function with every module, sub-modules first; returns this module."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # Devices

    def _move(self, device: str | None, precision: str | None) -> None:
        where = None if device is None else _checks.device("device", device)
        targets: list[tuple[Parameter, str, str]] = []
        for parameter in self._stored():
            place = where or parameter.device
            kept = parameter._precision
            if place == "cpu" and kept in _checks.CUDA_PRECISIONS:
                kept = "float32"
            wanted = kept if precision is None else precision
            dtype = parameter._native.dtype
            targets.append((parameter, place, _checks.precision("precision", wanted, place, dtype)))
        _core.move([(parameter._native, place) for parameter, place, _ in targets])
        for parameter, _, chosen in targets:
            parameter._precision = chosen
        _core.structure_changed()

    @property
    def device(self) -> str:
        """Where the parameters lie: "cpu" (also where there are none) or "cuda".

        Raises
        ------
        ValueError
            If they lie on both.
        """
        return self._common("device", [p.device for p in self._stored()], "cpu")

    @property
    def precision(self) -> str:
        """How float32 matrices are multiplied: "float32", "float32x3", "tf32" or "bf16"; see `to`.

        Raises
        ------
        ValueError
            If the layers differ in it.
        """
        return self._common("precision", [p._precision for p in self.parameters()], "float32")

    def _common(self, what: str, values: list[str], default: str) -> str:
        found = sorted(set(values)) or [default]
        if len(found) > 1:
            raise ValueError(f"{what}: expected one for all parameters, got {' and '.join(found)}")
        return found[0]

    # Modes

    def train(self: M, mode: bool = True) -> M:
        """Switch dropout and statistics of the batch on, here and below; returns this module."""
        _checks.flag("mode", mode)
        for module in self.modules():
            if module.training != mode:
                module.training = mode
        return self

    def eval(self: M) -> M:
        """Switch dropout and statistics of the batch off, here and below; returns this module."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set `requires_grad` of all parameters; returns this module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set those that there are to zero."""
        forget = _checks.flag("set_to_none", set_to_none)
        for parameter in self.parameters():
            if forget or parameter.grad is not None:
                parameter.grad = None if forget else np.zeros(parameter.shape, parameter.dtype)

    # Printing

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        return ""

    def _repr_html_(self) -> str:
        """The table of `summary`, for notebooks."""
        return summary(self)._repr_html_()

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"
