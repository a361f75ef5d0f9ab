"""Plans: what a trace has found, as something that runs."""

import copy
from typing import Any

import numpy as np

from fastmlp import _core
from fastmlp.constants import resolved
from fastmlp.tracing import Trace
from fastmlp.tracing_shapes import suits


class Plan:
    """A module as compiled: its program, and the native network that runs it.

    Parameters
    ----------
    trace : Trace
        Of the module's `forward`.
    previous : Plan or None
        The module's plan before this one, some of whose networks may do.
    """

    def __init__(self, trace: Trace, previous: "Plan | None") -> None:
        self.operations = tuple(trace.operations) or (("activation", 0, "identity", 0.0, 0.0),)
        self.dropout = trace.dropout
        self.dimensions = trace.input_dimensions
        self.by_rows = self.dimensions == "last"  # inputs of more dimensions are batches of rows
        self.squeeze = trace.squeeze  # outputs have no dimension of features
        self.for_shape = trace.for_shape
        self.guards = trace.guards
        self.by_call = self.for_shape is not None or bool(self.guards)  # each call has to ask
        self.precision = trace.precision
        self.places = trace.places
        # Networks are kept by program and dtype: with dropout, train() and eval() have one each.
        # Those made before the parameters moved are of no use.
        self.networks: dict[Any, _core.Network] = {}
        if previous is not None and len(previous.networks) < 4 and self._is_placed_as(previous):
            self.networks = previous.networks
        self.dtype = trace.dtype
        self.network = None if trace.dtype is None else self._network(trace.dtype)
        self.trains = trace.trains
        # Plans made before the last change of a module are out of date. Read last, because
        # forward() may have made modules.
        self.structure = _core.structure()

    def for_other(self, parameters: dict[_core.Parameter, _core.Parameter]) -> "Plan | None":
        """That of a model which differs in its parameters alone: others for those of this one.

        None where some module has changed since this plan was made.
        """
        if self.structure != _core.structure() or self.dtype is None:
            return None

        def exchanged(part: Any) -> Any:
            return parameters[part] if isinstance(part, _core.Parameter) else part

        plan = copy.copy(self)
        plan.operations = tuple(tuple(map(exchanged, operation)) for operation in self.operations)
        own = [p for operation in plan.operations for p in operation]
        plan.places = [(p.device, p.moves) for p in own if isinstance(p, _core.Parameter)]
        plan.networks = {}
        plan.network = plan._network(self.dtype)
        return plan

    def network_for(self, x: Any) -> _core.Network:
        """The network; without parameters, the one of the data's dtype."""
        if self.network is not None:
            return self.network
        return self._network("float64" if np.asarray(x).dtype == np.float64 else "float32")

    def _network(self, dtype: str) -> _core.Network:
        key = self.operations, dtype, self.dimensions
        if key not in self.networks:
            device = self.places[0][0] if self.places else "cpu"
            operations = resolved(self.operations, dtype, device)
            flatten = self.dimensions == "flatten"
            self.networks[key] = _core.Network(operations, dtype, self.precision, flatten)
        return self.networks[key]

    def suits(self, x: Any) -> bool:
        """Whether it is right for an input; None stands for any."""
        if self.structure != _core.structure() or not self.guards.hold():
            return False
        return self.for_shape is None or (x is not None and suits(x, self.for_shape))

    def _is_placed_as(self, other: "Plan") -> bool:
        return (self.precision, self.places) == (other.precision, other.places)
