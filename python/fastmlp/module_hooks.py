"""Hooks of modules: functions that see, and may replace, what goes into a module and comes out.

A native program is fused, and has no place for them. So a module with hooks below it runs step by
step where it is called: its `forward` is traced as always, but for the modules with hooks, which
are called with numbers; each other operation is a native network of its own.
"""

import copy
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp.arithmetic import functions
from fastmlp.arithmetic.tape import node_of, record
from fastmlp.plan import Plan
from fastmlp.stateful import Stateful
from fastmlp.symbolic import Symbolic
from fastmlp.tensor import Tensor
from fastmlp.tracing import Trace

Hook = Callable[..., Any]
_numbers = count()


class _Hook(NamedTuple):
    function: Hook
    with_kwargs: bool


class RemovableHandle:
    """What registering a hook returns: `remove` ends it, as does the end of a `with`."""

    def __init__(self, hooks: dict[int, _Hook], number: int) -> None:
        self._hooks = hooks
        self.id = number

    def remove(self) -> None:
        """Call the hook no more."""
        if self._hooks.pop(self.id, None) is not None:
            _core.count_hooks(-1)
            _core.structure_changed()

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Hooked(Stateful):
    """The part of `Module` that has hooks, and runs modules that have some."""

    # By kind; instances get their own when the first hook is registered.
    _hooks: dict[str, dict[int, _Hook]] = {}  # noqa: RUF012
    _steps: "Steps | None" = None

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def _draw_seed(self) -> int:
        raise NotImplementedError

    def _plan_for(self, x: Any) -> Plan:
        raise NotImplementedError

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each call; what it returns, if anything, is the input.

        Hooks run where the model is called, which takes more time then: one operation after
        another. `predict`, a `Trainer` and derivatives refuse a model with hooks, here or below.
        Copies and pickles of a module have none.
        """
        return self._register("forward_pre", hook, prepend, with_kwargs)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each call; what it returns is the output."""
        _checks.flag("always_call", always_call)
        return self._register("forward", hook, prepend, with_kwargs)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` in the backward pass; what it returns goes on."""
        return self._register("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` in the backward pass.

        The gradients are tuples of one; that of an input that needs no gradient is None. What the
        hook returns, if anything, is the gradient of the input.
        """
        return self._register("backward", hook, prepend)

    def _register(
        self, kind: str, hook: Hook, prepend: bool, with_kwargs: bool = False
    ) -> RemovableHandle:
        if not callable(hook):
            raise TypeError(f"hook: expected a function, got {_checks.show(hook)}")
        new = _Hook(hook, _checks.flag("with_kwargs", with_kwargs))
        hooks = self.__dict__.setdefault("_hooks", {}).setdefault(kind, {})
        number = next(_numbers)
        if _checks.flag("prepend", prepend):
            others = dict(hooks)
            hooks.clear()
            hooks.update({number: new, **others})
        else:
            hooks[number] = new
        _core.count_hooks(1)
        _core.structure_changed()
        return RemovableHandle(hooks, number)

    def _own_hooks(self, kind: str) -> list[_Hook]:
        return list(self._hooks.get(kind, {}).values())

    def _is_hooked(self) -> bool:
        """Whether there are hooks, here or below."""
        return any(any(module._hooks.values()) for module in self.modules())

    def _check_no_hooks(self) -> None:
        if self._is_hooked():
            raise ValueError(
                "model: expected one without hooks, for predict, a Trainer and derivatives run it"
                " as one native program; remove the hooks, or call the model in a loop of your own"
            )

    # The calls come from cpp/bindings/bind_model.cpp.

    def _traced(self, x: Symbolic) -> Any:
        """Part of a program; with hooks, one that is called when the program runs."""
        if x.trace.by_steps and self._is_hooked():
            return x.trace.add_call(x, self)
        return self.forward(x)

    def _call_hooked(self, x: Any) -> Any:
        x = self._changed("forward_pre", x)
        backward, before = self._own_hooks("backward"), self._own_hooks("backward_pre")
        gradients = _Gradients(self, backward, before) if backward or before else None
        if gradients is not None:
            x = gradients.of_input(x)
        y = self._steps_for(x).run(x)
        y = self._changed("forward", x, y)
        return y if gradients is None else gradients.of_output(y)

    def _changed(self, kind: str, x: Any, *output: Any) -> Any:
        """The last argument, after the hooks of a kind."""
        for hook in self._own_hooks(kind):
            args: tuple[Any, ...] = ((x,), {}) if hook.with_kwargs else ((x,),)
            result = hook.function(self, *args, *output)
            if result is None:
                continue
            if kind == "forward":
                output = (result,)
                continue
            if hook.with_kwargs:
                result = result[0]
            (x,) = result if isinstance(result, tuple) else (result,)
        return output[0] if output else x

    def _steps_for(self, x: Any) -> "Steps":
        steps = self._steps
        if steps is None or not steps.plan.suits(x):
            steps = Steps(self, x)
            self.__dict__["_steps"] = steps  # past __setattr__: nothing that is traced changes
        return steps


class _Native(_core.Model):
    """A plan that can be called."""

    def __init__(self, module: Hooked, plan: Plan) -> None:
        self._module = module
        self._plan = plan

    def _compiled(self, x: Any = None) -> Plan:
        return self._plan

    def _is_hooked(self) -> bool:
        return False

    def _draw_seed(self) -> int:
        return self._module._draw_seed()


class Steps:
    """What a module does, one operation after another."""

    def __init__(self, module: Hooked, x: Any) -> None:
        trace = StepsTrace(module, x).run(module.forward)
        operations: list[Any] = list(trace.operations)  # calls are none of the native program's
        calls = any(operation[0] == "call" for operation in operations)
        self.plan = Plan(trace, None, runs=not calls)
        self._steps: list[tuple[tuple[int, ...], Callable[..., Any]]] = []
        if not calls:
            self._steps = [((0,), _Native(module, self.plan))]
            return
        for operation in operations:
            if operation[0] == "call":
                self._steps.append(((operation[1],), operation[2]))
            elif operation[0] == "add":
                self._steps.append(((operation[1], operation[2]), functions.add))
            else:
                alone = copy.copy(trace)
                alone.operations = [(operation[0], 0, *operation[2:])]
                alone.squeeze = False
                self._steps.append(((operation[1],), _Native(module, Plan(alone, None))))

    def run(self, x: Any) -> Any:
        """The module's output for an input."""
        whole = len(self._steps) == 1 and isinstance(self._steps[0][1], _Native)
        values = [x if whole else self._placed(x)]
        for inputs, step in self._steps:
            values.append(step(*(values[number] for number in inputs)))
        return values[-1][..., 0] if self.plan.squeeze and not whole else values[-1]

    def _placed(self, x: Any) -> Any:
        """The input as a tensor, which operations that are not native take, too."""
        if not isinstance(x, Tensor):
            dtype = self.plan.dtype or "float32"
            x = np.asarray(_conversions.as_array(x, "x"), dtype).view(Tensor)
        if self.plan.dimensions == "flatten" and x.ndim > 2:
            return x.reshape(x.shape[0], -1)
        if self.plan.dimensions == "two" and x.ndim > 2:
            raise ValueError(f"x: expected shape (rows, features) or (features,), got {x.shape}")
        return x


class StepsTrace(Trace):
    """A trace in which modules with hooks are operations."""

    by_steps = True

    def add_call(self, value: Symbolic, module: Any) -> Symbolic:
        """Add the call of a module with hooks."""
        inside = Trace(module).run(module.forward)
        maker = value.maker
        if inside.out_width is not None:
            first = next(module.parameters(), None)
            takes = value.maker.width if value.maker else inside.in_width
            maker = self._fit(value, module, inside.in_width or takes, inside.out_width, (first,))
        return self._append(("call", self._take(value), module), maker, value)


class _Gradients:
    """The gradients of one call of a module, on their way through its hooks."""

    def __init__(self, module: Hooked, hooks: list[_Hook], before: list[_Hook]) -> None:
        self._module = module
        self._hooks = hooks
        self._before = before
        self._output: Any = None
        self._has_input = False

    def of_input(self, x: Any) -> Any:
        self._has_input = node_of(x) is not None and _core.recording()
        return record(np.asarray(x), (x, self._leave)) if self._has_input else x

    def of_output(self, y: Any) -> Any:
        return record(np.asarray(y), (y, self._enter))

    def _enter(self, gradient: Any) -> Any:
        for hook in self._before:
            gradient = self._called(hook, gradient, (_tensor(gradient),))
        self._output = gradient
        if not self._has_input:
            for hook in self._hooks:
                hook.function(self._module, (None,), (_tensor(gradient),))
        return gradient

    def _leave(self, gradient: Any) -> Any:
        for hook in self._hooks:
            given = (_tensor(gradient),), (_tensor(self._output),)
            gradient = self._called(hook, gradient, *given)
        return gradient

    def _called(self, hook: _Hook, gradient: Any, *given: Any) -> Any:
        result = hook.function(self._module, *given)
        if result is None:
            return gradient
        (new,) = result if isinstance(result, tuple) else (result,)
        array = _conversions.as_array(new, "gradient")
        if array.shape != gradient.shape:
            raise ValueError(
                f"gradient: expected shape {gradient.shape} from a hook, got {array.shape}"
            )
        return array.astype(gradient.dtype)


def _tensor(gradient: Any) -> Tensor:
    array = np.array(gradient)
    return array.view(Tensor)
