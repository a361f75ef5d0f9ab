"""ONNX: models to files that every runtime reads, and back from what others export.

`to_onnx` writes a model's program (see program.py) operation by operation: `export` and `nodes`;
`functions` has a row for each activation. `from_onnx` goes the other way in four steps: `wire`
bounds what a file can cost before it is parsed, `reading` makes plain records of it, `graph`
finds out what each node is to the batch, and `building` makes layers of that. Activations are
found by what they compute (`recognition`), not by how a file spells them.
"""

from fastmlp.onnx.export import to_onnx

__all__ = ["to_onnx"]
