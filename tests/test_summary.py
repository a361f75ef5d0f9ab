"""A model's table: what it counts, and how it shows."""

import numpy as np

import fastmlp as fm


def test_it_counts() -> None:
    model = fm.MLP([17, 64, 64, 6], "tanh", dtype="float64")
    model[0].bias.requires_grad = False
    table = fm.summary(model)
    assert table.parameters == sum(p.numel() for p in model.parameters()) == 5702
    assert table.bytes == 8 * 5702
    assert table.multiply_adds == 17 * 64 + 64 * 64 + 64 * 6
    assert table.trainable == 5702 - 64
    assert [row.name for row in table.rows] == ["0", "1", "2", "3", "4"]
    assert table.rows[0].shapes == "weight (64, 17), bias (64,)"
    lines = repr(table).splitlines()
    assert lines[0].split() == ["name", "layer", "shapes", "parameters", "bytes", "multiply-adds"]
    assert "5,702" in lines[-2]
    assert lines[-1] == "trainable parameters: 5,638"
    assert len({len(line) for line in (lines[0], lines[2], lines[-2])}) == 1


class Tied(fm.Module):
    """Two layers with one weight, and a name that is no HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("a<b>", fm.Linear(4, 4))
        self.inner = fm.Sequential(fm.Linear(4, 4, bias=False))
        self.inner[0].weight = getattr(self, "a<b>").weight

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return self.inner(getattr(self, "a<b>")(x))


def test_shared_parameters_count_once_but_their_work_twice() -> None:
    model = Tied()
    assert model(np.ones((1, 4))).shape == (1, 4)
    table = fm.summary(model)
    assert [row.name for row in table.rows] == ["a<b>", "inner.0"]
    assert [row.parameters for row in table.rows] == [20, 0]
    assert (table.parameters, table.multiply_adds) == (20, 32)


def test_html_is_escaped() -> None:
    model = Tied()
    for page in (model._repr_html_(), fm.summary(model)._repr_html_()):
        assert "a&lt;b&gt;" in page
        assert "<b>" not in page
        assert page.count("<tr>") == 4
    assert "Linear(in_features=2" in fm.Linear(2, 3)._repr_html_()


def test_layers_with_buffers_and_layers_within_layers() -> None:
    """Running statistics are no parameters; a residual block has rows for what is in it."""
    model = fm.Sequential(fm.Linear(4, 6), fm.BatchNorm1d(6), fm.Residual(fm.Linear(6, 2)))
    table = fm.summary(model)
    assert [(row.name, row.parameters, row.multiply_adds) for row in table.rows] == [
        ("0", 30, 24),
        ("1", 12, 0),
        ("2.layers.0", 14, 12),
        ("2.projection", 12, 12),
    ]
    assert table.parameters == table.trainable == sum(p.numel() for p in model.parameters())
