"""Nodes and constants of an ONNX graph, as they are added."""

from typing import Any

import numpy as np

from fastmlp._types import Array
from fastmlp.onnx.package import onnx_package


class Nodes:
    """A list of nodes, each called like a function: `g("Add", x, 1.0)` is the sum's name.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of all values.
    """

    def __init__(self, dtype: str) -> None:
        self.onnx = onnx_package()
        self.dtype = np.dtype(dtype)
        self.float32 = dtype == "float32"  # some operators exist in it alone
        self.nodes: list[Any] = []
        self.constants: dict[Any, Any] = {}  # by what they hold, or by their names

    def __call__(
        self, op_type: str, *inputs: "str | float | Array | None", **attributes: Any
    ) -> str:
        """Add a node; returns the name of its output.

        Inputs are names of values, None for one that is left out, or numbers and arrays.
        """
        names = [self._name(given) for given in inputs]
        output = f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(
            self.onnx.helper.make_node(op_type, names, [output], output, **attributes)
        )
        return output

    def array(self, name: str, values: Array) -> str:
        """Add a constant of a name of its own."""
        tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        self.constants[name] = tensor
        return name

    def _name(self, given: "str | float | Array | None") -> str:
        if given is None:
            return ""
        if isinstance(given, str):
            return given
        values = given if isinstance(given, np.ndarray) else np.array(given, self.dtype)
        key = values.dtype.str, values.shape, values.tobytes()
        if key not in self.constants:
            name = f"constant_{len(self.constants)}"
            self.constants[key] = self.onnx.numpy_helper.from_array(values, name)
        return str(self.constants[key].name)

    def rename_last(self, name: str) -> None:
        """Give the last node's output another name."""
        self.nodes[-1].output[0] = name
