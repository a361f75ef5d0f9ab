"""The tape: which operations led to a result, and how a gradient goes back through them.

A graph's nodes are steps, one for each operation of a formula; variables, such as parameters, which
keep their gradients; and tensors whose way back is native: outputs of models, losses and tracked
inputs. A step holds the nodes that it was computed from, so a graph lives as long as its result,
and no node knows who uses it. A backward pass visits each node once, after all that use it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastmlp import _conversions, _core
from fastmlp._core import Tensor
from fastmlp._core import recording as recording
from fastmlp._types import Array

Node: TypeAlias = "Step | Variable | Tensor"
# From the gradient of a result to that of an operand, whose shape may have been stretched.
Back: TypeAlias = Callable[[Array], Any]

_FREED = (
    "backward has run already for this graph, which freed what it saved; form the loss again, or"
    " write backward(retain_graph=True) the first time"
)


class Variable:
    """Values that gradients add up for, such as a parameter."""

    __slots__ = ()
    requires_grad: bool

    def _copied(self) -> Array:
        """The values as they are now; later changes of the variable leave the graph alone."""
        raise NotImplementedError

    def _add_gradient(self, gradient: Array) -> None:
        raise NotImplementedError


class Edge(NamedTuple):
    """The way from a result back to one of its operands."""

    node: Node
    back: Back
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def send(self, gradient: Array) -> Array:
        """The operand's gradient: of its dtype, and summed over what broadcasting repeated."""
        part = np.asarray(self.back(gradient))
        if part.shape != self.shape:
            extra = part.ndim - len(self.shape)
            part = part.sum(tuple(range(extra)))
            ones = tuple(i for i, n in enumerate(self.shape) if n == 1 and part.shape[i] != 1)
            part = part.sum(ones, keepdims=True)
        return part.astype(self.dtype, copy=False)


class Step:
    """One operation of a graph; `edges` is None once its backward has run."""

    __slots__ = ("edges", "grad", "keeps_grad")

    def __init__(self, edges: tuple[Edge, ...]) -> None:
        self.edges: tuple[Edge, ...] | None = edges
        self.keeps_grad = False
        self.grad: Tensor | None = None

    def send(self, gradient: Array, retain: bool) -> Iterator[tuple[Node, Array]]:
        if self.keeps_grad:
            own = gradient.copy().view(Tensor)
            self.grad = own if self.grad is None else (np.asarray(self.grad) + own).view(Tensor)
        edges = self.edges
        if edges is None:  # another thread was here first
            raise RuntimeError(_FREED)
        if not retain:
            self.edges = None
        for edge in edges:
            yield edge.node, edge.send(gradient)


def node_of(value: Any) -> "Node | None":
    """Where a gradient with respect to the value goes; None where it has no graph."""
    if isinstance(value, Tensor):
        node: Node | None = _core.graph_node(value)
        return node
    return value if isinstance(value, Variable) and value.requires_grad else None


def record(result: Any, *operands: tuple[Any, Back]) -> Tensor:
    """A tensor with the result, and with its graph, if there is one.

    Parameters
    ----------
    result : array_like
        Computed from the operands, and nobody else's.
    *operands : (value, back)
        Those that may have a graph.
    """
    array = np.asarray(result)
    if recording():
        edges = tuple(
            Edge(node, back, value.shape, value.dtype)
            for value, back in operands
            if (node := node_of(value)) is not None
        )
        if edges and array.dtype.kind == "f":
            return _core.recorded(array, Step(edges))
    tensor = array.view(Tensor)
    if array.dtype.kind == "f" and any(_core.is_lost(value) for value, _ in operands):
        _core.set_lost(tensor, recording())
    return tensor


def backward(root: Tensor, gradient: Any, retain: bool) -> None:
    """Send a gradient from a recorded tensor to all that it was computed from.

    Everything that can be wrong with the graph is found before anything changes.
    """
    start = _start(root, gradient)
    node = node_of(root)
    assert node is not None
    order = _in_order(node)
    with np.errstate(all="ignore"):  # infinite derivatives are no news
        _send(order, start, retain)


def gradient_of(value: Tensor, leaf: Tensor) -> Array:
    """The gradient of a formula's value with respect to a tracked input, all that it depends on."""
    root = node_of(value)
    assert root is not None
    for node, _ in _in_order(root):
        if not isinstance(node, Step) and node is not leaf:
            raise TypeError(
                "function: expected a value that depends on y alone, got one whose gradient goes to"
                f" a {type(node).__name__} as well; use .detach(), or a loop of your own"
            )
    backward(value, None, False)
    if leaf.grad is None:
        raise TypeError("function: expected a value that depends on y")
    return np.asarray(leaf.grad)


def _send(order: "list[tuple[Node, Node | None]]", gradient: Array, retain: bool) -> None:
    """Send a gradient from the first node of a graph on to all."""
    pending = {id(order[0][0]): gradient}

    def arrive(node: Node, part: Array) -> None:
        before = pending.get(id(node))
        pending[id(node)] = part if before is None else before + part

    for node, source in order:
        here = pending.pop(id(node), None)
        if here is None:  # nothing that uses it was differentiated
            continue
        if isinstance(node, Step):
            for origin, part in node.send(here, retain):
                arrive(origin, part)
        elif isinstance(node, Variable):
            node._add_gradient(here)
        elif (further := _core.send_back(node, here, retain)) is not None and source is not None:
            arrive(source, further)


def _start(root: Tensor, gradient: Any) -> Array:
    if gradient is None:
        if root.size != 1:
            raise ValueError(f"grad_output: expected an array of shape {root.shape}, got none")
        return np.ones(root.shape, root.dtype)
    if isinstance(gradient, int | float):
        raise TypeError(f"grad_output: expected none or an array, got the number {gradient}")
    array = _conversions.as_array(gradient, "grad_output")
    if array.shape != root.shape:
        raise ValueError(f"grad_output: expected shape {root.shape}, got {array.shape}")
    return array.astype(root.dtype, copy=False)


def _in_order(root: Node) -> list[tuple[Node, "Node | None"]]:
    """All nodes that lead to this one, each after those that use it; native ones with theirs."""
    found: list[tuple[Node, Node | None]] = []
    seen = {id(root)}
    sources = _sources(root)
    path = [(root, sources, iter(sources))]  # not by recursion, for graphs may be deep
    while path:
        node, sources, rest = path[-1]
        for source in rest:
            if id(source) not in seen:
                seen.add(id(source))
                below = _sources(source)
                path.append((source, below, iter(below)))
                break
        else:
            native = isinstance(node, Tensor) and len(sources) == 1
            found.append((node, sources[0] if native else None))
            path.pop()
    found.reverse()
    return found


def _sources(node: Node) -> list[Node]:
    """What a node was computed from; RuntimeError where its backward cannot run."""
    if isinstance(node, Step):
        if node.edges is None:
            raise RuntimeError(_FREED)
        return [edge.node for edge in node.edges]
    if isinstance(node, Variable):
        return []
    source = _core.source_node(node)
    return [] if source is None else [source]
