"""Pictures and progress in a notebook, through a real kernel."""

from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SETUP = """
import numpy as np
import fastmlp as fm
model = fm.MLP([2, 3, 1], seed=0)
trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
x = np.ones((64, 2))
history = trainer.fit(x, x[:, :1], max_epoch=20_000)
"""


def _outputs(*cells: str) -> list[list[Any]]:
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def _has_picture(outputs: list[Any]) -> bool:
    return any("image/png" in output.get("data", {}) for output in outputs)


def test_curves_grow_in_place() -> None:
    """One picture, which changes; the objects' own tables; nothing on stderr."""
    outputs, *shown = _outputs(
        SETUP.replace("max_epoch=20_000", "max_epoch=400_000, progress='plot'"),
        "history",
        "model[0].weight",
        "model",
    )
    (picture,) = outputs
    page = picture["data"]["text/html"]
    assert "epoch 400000 of 400000, loss" in page
    assert page.count("<path") == 6, "axes, three lines of the grid, a curve and its name"
    for cell, word in zip(shown, ("400000 epochs", "(3, 2)", "Linear"), strict=True):
        assert word in cell[0]["data"]["text/html"]
        assert "text/plain" in cell[0]["data"]


def test_every_picture_shows() -> None:
    """The first one, later ones, and the user's own; and a live line of progress."""
    cells = _outputs(
        SETUP,
        "trainer.plot();",
        "trainer.plot();",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "fm.plot.decision_regions(model, x + np.eye(64, 2), np.zeros(64, int));",
    )
    text = "".join(output.get("text", "") for output in cells[0])
    assert "epoch" in text
    assert [_has_picture(outputs) for outputs in cells[1:]] == [True] * 4
