"""The pictures: their colours and fonts, and that the user's matplotlib stays as it was."""

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

from matplotlib import style as styles  # noqa: E402

from fastmlp import plot  # noqa: E402 - after the check that there is anything to test
from fastmlp.plot import fonts, style  # noqa: E402


def test_colours_follow_the_background() -> None:
    from matplotlib.figure import Figure

    with styles.context("dark_background"):
        dark = Figure().subplots()
    light = Figure().subplots()
    see_through = Figure(facecolor="none").subplots()
    see_through.set_facecolor("none")
    assert (style.is_dark(light), style.is_dark(dark), style.is_dark(see_through)) == (0, 1, 0)
    assert style.colours(dark) != style.colours(light) == plot.COLOURS
    assert style.foreground(dark) == "white"
    np.testing.assert_array_equal(style.tints(light, 1, 0.0), [[1, 1, 1]])


def test_new_figures_keep_what_the_user_has_set() -> None:
    with mpl.rc_context({"axes.spines.top": True, "lines.linewidth": 5, "axes.grid": False}):
        with plot.look():
            assert mpl.rcParams["lines.linewidth"] == 5
            assert mpl.rcParams["axes.grid"]
        assert not mpl.rcParams["axes.grid"]
    with styles.context("ggplot"), plot.look():
        assert mpl.rcParams["grid.color"] == "white"


def test_settings_and_backend_stay_as_they_were(tmp_path: Path) -> None:
    script = """
import sys
import fastmlp
from fastmlp import plot
assert "matplotlib" not in sys.modules
made, (ax,) = plot.figure()
plot.loss({"a": [1, 2]}, ax)
plot.save(made, "picture.png")
assert "matplotlib.pyplot" not in sys.modules
import matplotlib as mpl
before = dict(mpl.rcParams)
with plot.look():
    assert dict(mpl.rcParams) != before
assert dict(mpl.rcParams) == before
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_new_axes_come_from_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    mpl.use("agg")
    ax = plot.loss({"a": [1.0, 2.0]})
    from matplotlib import pyplot as plt

    assert ax.figure.number in plt.get_fignums()
    plt.close(ax.figure)


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plot.is_available()
    for draw in (plot.figure, plot.look, plot.use_hangul_font):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            draw()


needs_hangul = pytest.mark.skipif(
    plot.hangul_font() is None, reason="no font with Hangul is installed"
)


@needs_hangul
def test_hangul_is_drawn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of missing glyphs
        made, (ax,) = plot.figure()
        plot.confusion_matrix(["훈련", "검증"], ["검증", "검증"], ax)
        plot.save(made, tmp_path / "hangul.png")


@needs_hangul
def test_hangul_is_drawn_into_axes_that_are_there(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    from matplotlib.figure import Figure

    x = pd.DataFrame({"온도": [-1.0, 1, 2], "습도": [0.0, 1, 2]})
    tree = SimpleNamespace(predict=lambda x: np.eye(2)[(np.asarray(x)[:, 0] > 0).astype(int)])
    made = Figure()
    left, right = made.subplots(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot.decision_regions(tree, x, ["낮음", "높음", "높음"], ax=left)
        plot.confusion_matrix(["훈련", "검증"], ["검증", "검증"], right)
        made.savefig(tmp_path / "hangul.png")


@needs_hangul
def test_use_hangul_font(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        name = plot.use_hangul_font()
        plot.use_hangul_font()
        assert mpl.rcParams["font.family"].count(name) == 1
        made = Figure()
        made.subplots().set_title("그림")
        made.savefig(tmp_path / "hangul.png")


def test_without_a_hangul_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from matplotlib import font_manager

    gone = font_manager.FontEntry(fname=str(tmp_path / "gone.ttf"), name="NanumGothic")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [gone])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    fonts._find_hangul_font.cache_clear()
    try:
        with pytest.raises(LookupError, match="Hangul"):
            plot.use_hangul_font()
        plot.look()
    finally:
        fonts._find_hangul_font.cache_clear()
