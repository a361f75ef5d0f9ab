"""ONNX: models to files that every runtime reads, and back from what others export.

`to_onnx` writes a model's program (see program.py) operation by operation (`export`); `functions`
has a row for each activation. `from_onnx` goes the other way. `wire` and `reading` make plain
records of a file; `graph` goes through its nodes and finds what each tensor is to the batch
(`values`); `steps` goes back from the output and finds what makes it, activations by what they
compute (`recognition`), not by how they are spelt; `merging` and `building` make layers of that.
"""

from fastmlp.onnx.export import to_onnx
from fastmlp.onnx.importing import from_onnx

__all__ = ["from_onnx", "to_onnx"]
