"""Small ONNX files, node by node."""

from pathlib import Path
from typing import Any

import numpy as np


def node(op_type: str, *inputs: Any, out: str = "", domain: str = "", **attributes: Any) -> Any:
    """A node whose inputs are names, or arrays that become initializers."""
    return {
        "op_type": op_type,
        "inputs": inputs,
        "out": out,
        "domain": domain,
        "attributes": attributes,
    }


def graph_of(
    nodes: list[Any],
    *,
    opset: int = 17,
    shape: Any = ("batch", 4),
    outputs: Any = ("y",),
    initializers: dict[str, np.ndarray] | None = None,
    dtype: str = "float32",
) -> Any:
    """A model with the input x; the last node's output is y, unless it has a name."""
    import onnx

    constants = dict(initializers or {})
    made = []
    for place, given in enumerate(nodes):
        names = []
        for number, tensor in enumerate(given["inputs"]):
            if not isinstance(tensor, str):
                name = f"c{place}_{number}"
                constants[name] = np.asarray(tensor)
                tensor = name
            names.append(tensor)
        attributes = {
            name: onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for name, value in given["attributes"].items()
        }
        out = given["out"] or ("y" if place == len(nodes) - 1 else f"v{place}")
        made.append(
            onnx.helper.make_node(
                given["op_type"], names, [out], f"n{place}", domain=given["domain"], **attributes
            )
        )
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ports = [
        [onnx.helper.make_tensor_value_info(name, kind, size) for name in names]
        for names, size in ((["x"], shape), (outputs, None))
    ]
    graph = onnx.helper.make_graph(
        made,
        "g",
        *ports,
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return onnx.helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[
            onnx.helper.make_opsetid("", opset),
            onnx.helper.make_opsetid("ai.onnx.ml", 3),
        ],
    )


def save(model: Any, folder: Path) -> Path:
    """The file."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def in_runtime(path: Path, x: np.ndarray, output: str | None = None) -> np.ndarray:
    """What ONNX Runtime makes of the one input."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.asarray(session.run(output and [output], {name: x})[0])


def assert_close(got: Any, want: np.ndarray, tolerance: float = 1e-5) -> None:
    """To the size of the result."""
    got = np.asarray(got)
    assert got.shape == want.shape
    size = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * size)


def kinds(model: Any) -> str:
    """The classes of a model's layers."""
    return " ".join(type(child).__name__ for child in model.children())
