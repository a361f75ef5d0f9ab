"""The pictures: what is drawn, in which font, and that the user's matplotlib stays as it was."""

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

import fastmlp as fm  # noqa: E402
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


def test_plot_history_with_the_best_epoch_and_metrics() -> None:
    made, (ax,) = plotting.figure()
    history = SimpleNamespace(
        loss=np.arange(3.0, 0, -1),
        validation_loss=np.array([2.0, 1, 4]),
        best_epoch=1,
        metrics={"mae": np.array([3.0, np.nan, 4]), "r2": np.ones(3)},
    )
    plotting.plot_history(history, ax)
    training, validation, best = ax.lines
    assert best.get_xydata().tolist() == [[2, 1]], "epoch 2 on the axis, at its validation loss"
    (second,) = [other for other in made.axes if other is not ax]
    assert second.get_ylabel() == "mae, r2"
    assert [line.get_label() for line in second.lines] == ["mae", "r2"]
    assert ax.get_legend() is None, "one legend for both"
    names = [text.get_text() for text in second.get_legend().get_texts()]
    assert names == ["training", "validation", "best", "mae", "r2"]
    colours = [line.get_color() for line in (training, validation, *second.lines)]
    assert len(set(colours)) == 4


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
        with pytest.raises(ImportError, match="pip install matplotlib"):
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


class _Fixed:
    """A model of somebody else's: its output is the first coordinate."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x)[:, :1]


def _line(*layers: fm.Module, columns: int = 1) -> fm.Sequential:
    """z = 4 (x1 - 1) for class 1."""
    linear = fm.Linear(2, columns)
    linear.weight = np.array([[0.0, 0.0], [4.0, 0.0]])[-columns:]
    linear.bias = np.array([0.0, -4.0])[-columns:]
    return fm.Sequential(linear, *layers)


@pytest.mark.parametrize(
    "model",
    [
        _line(),
        _line(fm.Sigmoid()),
        _line(columns=2),
        _line(fm.Softmax(), columns=2),
        _line(fm.LogSoftmax(), columns=2),
    ],
    ids=["logit", "sigmoid", "logits", "softmax", "log_softmax"],
)
def test_regions_and_contours_of_logits(model: fm.Sequential) -> None:
    x = np.array([[0.0, 0.0], [2.0, 2.0]])
    figure, (regions, contour) = plotting.figure(1, 2)
    plotting.decision_regions(model, x, [0, 1], regions, step=0.25)
    image = np.asarray(regions.images[0].get_array())
    left, right = image[0, 0], image[0, -1]
    where = np.linspace(-0.2, 2.2, image.shape[1])
    changes = where[1:][(image[0, 1:] != image[0, :-1]).any(axis=1)]
    assert not np.array_equal(left, right)
    assert changes == pytest.approx([1.0], abs=0.3)
    plotting.probability_contour(model, x, [0, 1], contour, step=0.25)
    assert len(figure.axes) == 3  # with its colour bar


def test_regions_of_other_models() -> None:
    x = np.array([[0.0, 0.0], [1.0, 1.0]])
    _, (ax,) = plotting.figure()
    plotting.decision_regions(_Fixed(), x, [0, 1], ax, step=0.1)
    _, (ax,) = plotting.figure()
    plotting.decision_regions(_Fixed(), x, [0, 1], ax, step=0.1, logits=True)
    with pytest.raises(ValueError, match="one or two"):
        plotting.probability_contour(fm.MLP([2, 3]), x, [0, 1], ax)


def test_the_legend_stays_within_a_subplot() -> None:
    x = np.array([[0.0, 0.0], [2.0, 2.0]])
    figure, axes = plotting.figure(2, 1)
    for ax in axes:
        plotting.decision_regions(_line(), x, [0, 1], ax, step=0.25)
    figure.canvas.draw()
    box, inside = axes[0].get_legend().get_window_extent(), axes[0].get_window_extent()
    assert inside.y0 - 1 <= box.y0
    assert box.y1 <= inside.y1 + 1


def test_a_plot_goes_to_a_file(tmp_path: Path) -> None:
    model = fm.MLP([1, 1])
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    trainer.fit(np.ones((4, 1)), np.ones((4, 1)), max_epoch=3)
    trainer.plot(tmp_path / "a.png")
    trainer.plot(str(tmp_path / "b.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}
