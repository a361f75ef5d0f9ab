"""What notebooks show of histories and parameters, and the curves of a training that runs."""

import sys
import time
import xml.etree.ElementTree as ET
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import live, pages

X = np.linspace(-1, 1, 16).reshape(8, 2)


def _parsed(page: str) -> ET.Element:
    """The page as a tree, which shows that it is well-formed."""
    return ET.fromstring(f"<div>{page}</div>")


def _trained(**options: Any) -> fm.History:
    model = fm.MLP([2, 3, 1], seed=0)
    trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.MSELoss())
    return trainer.fit(X, X[:, :1], max_epoch=7, **options)


def test_a_history_is_a_table() -> None:
    history = _trained(validation_split=0.25, metrics=["mae", "r2"])
    tree = _parsed(history._repr_html_())
    head, *rows = tree.iter("tr")
    titles = [cell.text for cell in head]
    assert titles[0].startswith("7 epochs, ")
    assert titles[1:4] == ["first", f"best, epoch {history.best_epoch + 1}", "last"]
    names = [row[0].text for row in rows]
    assert names == ["loss", "validation_loss", "mae", "r2", "learning_rate"]
    assert rows[0][3].text == f"{history.loss[-1]:.4g}"
    assert rows[1][2].text == f"{history.validation_loss[history.best_epoch]:.4g}"
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}path"))) == 5
    assert repr(history).startswith("History(7 epochs, loss ")


def test_a_history_of_nothing_and_one_without_numbers() -> None:
    model = fm.MLP([2, 1])
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    assert trainer.history._repr_html_() == "History(0 epochs)"
    page = pages.history({"<b>": np.array([np.nan, np.inf])}, 1.0, None)
    assert "&lt;b&gt;" in page
    cells = [cell.text for cell in list(_parsed(page).iter("tr"))[1]]
    assert cells[:3] == ["<b>", "nan", "inf"]


def test_a_parameter_is_a_table() -> None:
    parameter = fm.Parameter(np.array([[1.0, -2.0], [4.0, 1.0]], dtype=np.float32))
    tree = _parsed(parameter._repr_html_())
    head, row = tree.iter("tr")
    found = dict(zip([c.text for c in head], [c.text for c in row], strict=True))
    assert found == {
        None: "Parameter",
        "shape": "(2, 2)",
        "dtype": "float32",
        "device": "cpu",
        "requires_grad": "True",
        "min": "-2",
        "mean": "1",
        "max": "4",
    }
    assert tree.find("pre").text == str(np.asarray(parameter))
    assert "Buffer" in fm.Buffer(np.ones(2))._repr_html_()
    assert "nan" in fm.Parameter(np.array([np.nan]))._repr_html_()


def test_nothing_has_a_colour_of_its_own() -> None:
    model = fm.MLP([2, 1])
    made = [
        _trained()._repr_html_(),
        model[0].weight._repr_html_(),
        model._repr_html_(),
        pages.chart({"training": np.ones(3)}, 9, "title"),
    ]
    for page in made:
        for word in ("#", "rgb", "black", "white", "background", "<script"):
            assert word not in page
        _parsed(page)


def test_a_chart_of_many_epochs_is_small_and_leaves_gaps() -> None:
    values = np.sin(np.arange(1_000_000.0))
    values[300_000:600_000] = np.nan
    page = pages.chart({"training": values, "validation": values[:0]}, 2_000_000, "<&>")
    assert len(page) < 20_000
    paths = [p.get("d") for p in _parsed(page).iter("{http://www.w3.org/2000/svg}path")]
    curve = next(path for path in paths if path.count("L") > 50)
    assert curve.count("M") == 2, "before and after what is no number"
    last = float(curve.split("L")[-1].split()[0])
    assert last == pytest.approx(64 + (520 - 76) / 2, abs=1), "half of the epochs are to come"


class _Screen:
    """Stands in for IPython's display; a picture takes a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.seconds, self.pages = seconds, []
        ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
        ipython.get_ipython = lambda: SimpleNamespace(kernel=self)
        display.HTML, display.display = str, self.display
        ipython.display = display
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", display)

    def display(self, page: str, display_id: bool) -> "_Screen":
        assert display_id
        assert not self.pages, "there is a picture to change"
        self.update(page)
        return self

    def update(self, page: str) -> None:
        time.sleep(self.seconds)
        self.pages.append(page)


def test_live_curves(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    screen = _Screen(monkeypatch, 0.0)
    monkeypatch.setattr(live.Curves, "INTERVAL", 0.0)
    history = _trained(progress="plot", validation_split=0.25)
    assert "epoch 7 of 7, loss " in screen.pages[-1]
    assert "validation" in screen.pages[-1]
    assert np.isfinite(history.loss).all()
    assert capsys.readouterr().err == ""


def test_slow_pictures_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    screen = _Screen(monkeypatch, 0.0)

    def sleep(seconds: float) -> None:
        now[0] += 0.1  # what a picture takes

    monkeypatch.setattr(time, "sleep", sleep)
    curves = live.Curves(
        lambda: SimpleNamespace(loss=np.ones(3), validation_loss=np.empty(0)), 0, 10
    )
    for _ in range(60 * 20):  # a minute of polls
        now[0] += 0.05
        curves.poll(3, 1.0)
    assert 2 <= len(screen.pages) <= 14, "2 per cent of the time, at most"
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    screen.pages.clear()
    curves.next = now[0]
    for _ in range(10 * 20):  # of pictures that take no time, two a second
        now[0] += 0.05
        curves.poll(3, 1.0)
    assert 18 <= len(screen.pages) <= 21


def test_a_page_that_is_gone_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Screen(monkeypatch, 0.0)
    monkeypatch.setattr(screen, "update", lambda page: 1 / 0)
    monkeypatch.setattr(live.Curves, "INTERVAL", 0.0)
    assert len(_trained(progress="plot").loss) == 7


def test_an_interrupted_training_shows_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Screen(monkeypatch, 0.0)

    def interrupt(info: fm.EpochInfo) -> None:
        if info.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _trained(progress="plot", callbacks=interrupt)
    assert "epoch 4 of 7, stopped" in screen.pages[-1]


def test_outside_a_notebook_there_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    _trained(progress="plot")
    assert "epoch 7/7" in capsys.readouterr().err
