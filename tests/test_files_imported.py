"""Models that come from ONNX files go to our own, and come back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
import program_models
from fastmlp.onnx.layers import Graph, Scale
from test_files import assert_same


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_imported_models_come_back(dtype: str, tmp_path: Path, device: str) -> None:
    own = program_models.model_of("own-forward", dtype)  # sums, numbers, a layer that serves twice
    scaled = fm.Sequential(Scale(3.0, -1.0), Scale(features=5), fm.Linear(5, 2)).to(dtype)
    scaled[1].scale.copy_(np.arange(5))
    pytest.importorskip("onnx")
    fm.to_onnx(own, tmp_path / "own.onnx")
    for model in (fm.from_onnx(tmp_path / "own.onnx"), scaled):
        model.to(device)
        fm.save(model, tmp_path / "model")
        other = fm.load(tmp_path / "model")
        assert_same(model, other)
        assert other.device == model.device


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([[1, [0]]], "steps: expected"),
        ([[0, [1]]], "steps: expected"),
        ([[None, [0]]], "expected one value for a layer, and two for a sum"),
        ([[0, [0, 0]]], "expected one value for a layer, and two for a sum"),
        ([[0, [-1]]], "steps: expected"),
        (3, "steps: expected a list"),
        ([3], "model"),
    ],
)
def test_steps_that_no_graph_has(steps: Any, message: str, tmp_path: Path) -> None:
    graph = Graph([fm.Linear(5, 5)], [(0, (0,))], False)
    graph.steps = steps
    fm.save(graph, tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        fm.load(tmp_path / "model")
