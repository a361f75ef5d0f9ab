"""The pictures: what is drawn, in which font, and that the user's matplotlib stays as it was."""

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

from fastmlp import _look, plotting  # noqa: E402 - after the check that there is anything to test


class _Half:
    """Predicts the sign of the first column, as one probability or as two scores."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.largest = 0

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(x))
        right = (x[:, :1] > 0).astype(np.float32)
        return right if self.columns == 1 else np.hstack([1 - right, right])


X = np.array([[-1.0, 0.0], [1.0, 0.0], [-0.5, 1.0], [0.5, -1.0]])
LABELS = np.array([0, 1, 0, 1])


def test_plot_history() -> None:
    _, (ax,) = plotting.figure()
    history = SimpleNamespace(loss=np.array([3.0, 2.0, 1.0]), validation_loss=np.array([]))
    assert plotting.plot_history(history, ax, log=True) is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 3], [2, 2], [3, 1]])
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("Loss", "epoch", "loss")
    assert ax.get_yscale() == "log"
    assert ax.get_legend() is None


def test_plot_history_with_validation() -> None:
    _, (ax,) = plotting.figure()
    history = SimpleNamespace(loss=np.ones(3), validation_loss=np.zeros(3))
    plotting.plot_history(history, ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None] * 1.0, np.eye(2)[LABELS]])
def test_decision_regions(columns: int, labels: np.ndarray) -> None:
    _, (ax,) = plotting.figure()
    model = _Half(columns)
    plotting.decision_regions(model, X, labels, ax, step=0.01, names=["left", "right"])
    (image,) = ax.images
    colours = np.asarray(image.get_array())
    assert colours.shape == (241, 241, 3)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 2
    assert (colours[:, 0] == colours[0, 0]).all()
    assert (colours[0, 0] != colours[0, -1]).any()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


def test_a_fine_grid_is_predicted_in_parts() -> None:
    _, (ax,) = plotting.figure()
    model = _Half(2)
    plotting.decision_regions(model, X, LABELS, ax, step=0.002)
    assert np.asarray(ax.images[0].get_array()).shape[0] >= 1200
    assert model.largest <= 1 << 17


def test_decision_regions_need_two_features() -> None:
    _, (ax,) = plotting.figure()
    with pytest.raises(ValueError, match=r"\(rows, 2\)"):
        plotting.decision_regions(_Half(2), np.zeros((4, 3)), LABELS, ax)


def test_probability_contour() -> None:
    made, (ax,) = plotting.figure()
    plotting.probability_contour(_Half(1), X, LABELS, ax)
    assert [axes.get_ylabel() for axes in made.axes] == ["$x_2$", "probability"]


def test_predictions() -> None:
    _, (ax,) = plotting.figure()
    plotting.predictions(np.array([[1.0], [3.0]]), np.array([[2.0], [2.5]]), ax)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[1, 2], [3, 2.5]])


def test_settings_and_backend_stay_as_they_were(tmp_path: Path) -> None:
    script = """
import sys
import fastmlp
from fastmlp import plotting
assert "matplotlib" not in sys.modules
made, (ax,) = plotting.figure()
plotting.curves({"a": [1, 2]}, ax)
plotting.save(made, "picture.png")
assert "matplotlib.pyplot" not in sys.modules
import matplotlib as mpl
before = dict(mpl.rcParams)
with plotting.look():
    assert dict(mpl.rcParams) != before
assert dict(mpl.rcParams) == before
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_new_axes_come_from_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    mpl.use("agg")
    ax = plotting.curves({"a": [1.0, 2.0]})
    from matplotlib import pyplot as plt

    assert ax.figure.number in plt.get_fignums()
    plt.close(ax.figure)


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plotting.is_available()
    for draw in (plotting.figure, plotting.look, plotting.use_hangul_font):
        with pytest.raises(ImportError, match=r"fastmlp\[plot\]"):
            draw()


needs_hangul = pytest.mark.skipif(
    plotting.hangul_font() is None, reason="no font with Hangul is installed"
)


@needs_hangul
def test_hangul_is_drawn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of missing glyphs
        made, (ax,) = plotting.figure()
        plotting.curves({"훈련": [1, 2], "검증": [2, 3]}, ax, title="손실 -1", xlabel="에폭")
        plotting.save(made, tmp_path / "hangul.png")


@needs_hangul
def test_use_hangul_font(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        name = plotting.use_hangul_font()
        plotting.use_hangul_font()
        assert mpl.rcParams["font.family"].count(name) == 1
        made = Figure()
        made.subplots().set_title("그림")
        made.savefig(tmp_path / "hangul.png")


def test_without_a_hangul_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from matplotlib import font_manager

    gone = font_manager.FontEntry(fname=str(tmp_path / "gone.ttf"), name="NanumGothic")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [gone])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    _look._find_hangul_font.cache_clear()
    try:
        with pytest.raises(LookupError, match="Hangul"):
            plotting.use_hangul_font()
        plotting.look()
    finally:
        _look._find_hangul_font.cache_clear()
