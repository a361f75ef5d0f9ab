"""Tensors: what a model or a loss returns, with the way back to the parameters.

Only calls of models and losses are recorded. Each is one native object (a tape or a loss node) that
knows its whole backward pass, so that the graph is a short list rather than a node per operation.
"""

from contextlib import ContextDecorator
from threading import local
from typing import Any

import numpy as np

from fastmlp import _checks
from fastmlp._core import LossNode, Tape
from fastmlp._types import Array


class Leaf:
    """The start of a graph: collects the gradient of an input."""

    __slots__ = ("grad",)

    def __init__(self) -> None:
        self.grad: Array | None = None


class Tensor(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy array that may know how it came about.

    The output of a model and of a loss can be differentiated: `backward` fills `.grad` of the
    parameters. NumPy operations on a tensor are not recorded; their results are tensors
    without a graph.
    """

    # Class defaults, so that arrays which NumPy makes from a tensor start without a graph.
    _node: Tape | LossNode | Leaf | None = None
    _source: "Tensor | None" = None  # the model's input, where that wants its gradient, too

    @property
    def requires_grad(self) -> bool:
        """Whether `backward` can start, or end, here."""
        return self._node is not None

    @property
    def grad(self) -> Array | None:
        """The gradient of an input made by `tensor(x, requires_grad=True)`; else None."""
        return self._node.grad if isinstance(self._node, Leaf) else None

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if not isinstance(self._node, Leaf):
            raise AttributeError("grad: only tensor(x, requires_grad=True) keeps a gradient")
        self._node.grad = value

    def backward(self, grad_output: Any = None) -> None:
        """Add the gradients with respect to parameters and tracked inputs to their `.grad`.

        The model's input, which is not copied, and its parameters must still be what they were in
        the forward pass.

        Parameters
        ----------
        grad_output : array_like, optional
            The gradient with respect to this tensor, of its shape. Needed for a model's output,
            unless that has one element; a loss takes none.

        Raises
        ------
        RuntimeError
            If this tensor is not the recorded output of a model or loss, if its backward pass has
            run already, or if an optimizer has changed the parameters since.
        """
        node, source = self._node, self._source
        gradient: Array | None
        if isinstance(node, LossNode):
            if grad_output is not None:
                raise TypeError("grad_output: expected none for a loss, got an array")
            gradient = node.backward(source is not None)
        elif isinstance(node, Tape):
            gradient = node.backward(self._output_gradient(grad_output), source is not None)
        else:
            raise RuntimeError(
                "backward: expected the recorded output of a model or loss, got another tensor."
                " NumPy operations (also indexing) and calls under no_grad() are not recorded."
            )
        if source is not None and gradient is not None:
            source._receive(gradient)

    def _output_gradient(self, grad_output: Any) -> Array:
        if grad_output is not None:
            return np.asarray(grad_output)
        if self.size != 1:
            raise ValueError(f"grad_output: expected an array of shape {self.shape}, got none")
        return np.ones(self.shape, self.dtype)

    def _receive(self, gradient: Array) -> None:
        """Take the gradient from the model that this tensor went into."""
        node = self._node
        if isinstance(node, Leaf):
            gradient = gradient.reshape(self.shape)
            node.grad = gradient if node.grad is None else node.grad + gradient
        else:
            self.backward(gradient)

    def numpy(self) -> Array:
        """A plain array on the same memory."""
        return self.view(np.ndarray)

    def detach(self) -> Array:
        """A plain array on the same memory."""
        return self.view(np.ndarray)


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Copy data into a tensor.

    Parameters
    ----------
    data : array_like
        Arrays keep their dtype; Python floats become float32.
    dtype : dtype, optional
        Any of NumPy's.
    requires_grad : bool
        Whether a backward pass shall leave the gradient with respect to this input in `.grad`.

    Raises
    ------
    TypeError
        If `requires_grad` is true and the dtype is neither float32 nor float64.
    """
    array = np.array(data, dtype=dtype)
    if dtype is None and array.dtype == np.float64 and not hasattr(data, "dtype"):
        array = array.astype(np.float32)
    result = array.view(Tensor)
    if _checks.flag("requires_grad", requires_grad):
        _checks.dtype("data", array.dtype)
        result._node = Leaf()
    return result


class _GradMode(local):
    enabled = True


grad_mode = _GradMode()


class no_grad(ContextDecorator):  # noqa: N801 - torch's name
    """Record nothing for `backward` in this thread: ``with fm.no_grad():`` or ``@fm.no_grad()``."""

    def __enter__(self) -> None:
        self._previous = grad_mode.enabled
        grad_mode.enabled = False

    def __exit__(self, *error: object) -> None:
        grad_mode.enabled = self._previous

    def _recreate_cm(self) -> "no_grad":
        return no_grad()  # each call of a decorated function keeps its own previous state
