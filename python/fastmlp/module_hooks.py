"""Hooks of modules: functions that see, and may replace, what goes into a module and comes out.

A native program is fused, and has no place for them. So the `forward` of a module with hooks below
it runs as it stands where the module is called (see `direct`).
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from fastmlp import _checks, _conversions, _core
from fastmlp.arithmetic.tape import node_of, record
from fastmlp.plan import Plan
from fastmlp.stateful import Stateful
from fastmlp.symbolic import UncompilableError
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
    _native: "_Native | None" = None

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def _draw_seed(self) -> int:
        raise NotImplementedError

    def _run(self, *args: Any, **options: Any) -> Any:
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

    def _call_hooked(self, *args: Any, **options: Any) -> Any:
        args, options = self._given(args, options)
        backward, before = self._own_hooks("backward"), self._own_hooks("backward_pre")
        gradients = _Gradients(self, backward, before) if backward or before else None
        if gradients is not None:
            args = gradients.of_input(args)
        y = self._between(args, options)
        for hook in self._own_hooks("forward"):
            named = (options,) if hook.with_kwargs else ()
            changed = hook.function(self, args, *named, y)
            y = y if changed is None else changed
        return y if gradients is None else gradients.of_output(y)

    def _given(self, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The arguments, after the hooks that come before a call."""
        for hook in self._own_hooks("forward_pre"):
            result = hook.function(self, args, *((options,) if hook.with_kwargs else ()))
            if result is None:
                continue
            if hook.with_kwargs:
                result, options = result
            args = result if isinstance(result, tuple) else (result,)
        return args, options

    def _between(self, args: Any, options: dict[str, Any]) -> Any:
        """What the module itself does; with hooks below, as `forward` says."""
        below = (module for module in self.modules() if module is not self)
        if len(args) != 1 or options or any(any(module._hooks.values()) for module in below):
            return self._run(*args, **options)
        native = self._native
        if native is None or not native.plan.suits(args[0]):
            try:
                native = _Native(self, Plan(Trace(self, args[0]).run(self.forward), None))
            except UncompilableError:
                return self._run(*args)
            self.__dict__["_native"] = native  # past __setattr__: nothing that is traced changes
        return native(*args)

    def _as_layer(self, kind: Any, x: Any) -> Any:
        """What the `forward` of a class makes of numbers, where a subclass may have another."""
        if type(self).forward is kind.forward and "forward" not in self.__dict__:
            return self(x)
        return _Native(self, Plan(Trace(self, x).run(partial(kind.forward, self)), None))(x)


class _Native(_core.Model):
    """A plan that can be called."""

    def __init__(self, module: Hooked, plan: Plan) -> None:
        self._module = module
        self.plan = plan

    def _compiled_for_call(self, x: Any) -> Plan:
        return self.plan

    def _is_hooked(self) -> bool:
        return False

    def _draw_seed(self) -> int:
        return self._module._draw_seed()


class _Gradients:
    """The gradients of one call of a module, on their way through its hooks."""

    def __init__(self, module: Hooked, hooks: list[_Hook], before: list[_Hook]) -> None:
        self._module = module
        self._hooks = hooks
        self._before = before
        self._output: Any = None
        self._has_input = False

    def of_input(self, args: Any) -> Any:
        if len(args) != 1:
            raise ValueError(
                f"{type(self._module).__name__}: expected one input where there are hooks of the"
                f" backward pass, got {len(args)} arguments; hook a module inside it"
            )
        (x,) = args
        self._has_input = node_of(x) is not None and _core.recording()
        return (record(np.asarray(x), (x, self._leave)),) if self._has_input else args

    def of_output(self, y: Any) -> Any:
        if not isinstance(y, Tensor):
            raise TypeError(
                f"{type(self._module).__name__}: expected one output where there are hooks of the"
                f" backward pass, got {_checks.show(y)}; hook a module inside it"
            )
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
