"""Every picture, light and dark, beside the one that a person has looked at."""

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

from matplotlib.testing.compare import compare_images

import fastmlp as fm
import plot_pictures

# Root mean square of the difference in colour, of 255: letters and ticks of another matplotlib make
# some of it, a wrong picture more.
TOLERANCE = 14


@pytest.mark.parametrize("style", plot_pictures.STYLES)
@pytest.mark.parametrize("name", plot_pictures.PICTURES)
def test_picture(name: str, style: str, tmp_path: Path) -> None:
    path = tmp_path / "drawn.png"
    plot_pictures.draw(name, style, path)
    expected = tmp_path / "expected.png"
    expected.write_bytes((plot_pictures.FOLDER / f"{name}-{style}.png").read_bytes())
    difference = compare_images(str(expected), str(path), TOLERANCE)
    assert difference is None, difference


def test_there_is_a_picture_of_each_function_and_no_other() -> None:
    helpers = {"COLOURS", "figure", "look", "save", "is_available"}
    helpers |= {"hangul_font", "use_hangul_font"}
    assert set(plot_pictures.PICTURES) == set(fm.plot.__all__) - helpers
    files = {path.name for path in plot_pictures.FOLDER.iterdir()}
    assert files == {
        f"{name}-{style}.png"
        for name, style in itertools.product(plot_pictures.PICTURES, plot_pictures.STYLES)
    }


def _pixels(name: str, style: str) -> np.ndarray:
    from matplotlib.image import imread

    return 255 * np.asarray(imread(plot_pictures.FOLDER / f"{name}-{style}.png"))[..., :3]


def test_the_tolerance_tells_pictures_apart() -> None:
    for style in plot_pictures.STYLES:
        for one, other in itertools.combinations(plot_pictures.PICTURES, 2):
            difference = _pixels(one, style) - _pixels(other, style)
            assert np.sqrt(np.mean(difference**2)) > 2 * TOLERANCE, (one, other)


def test_the_files_are_small() -> None:
    sizes = [path.stat().st_size for path in plot_pictures.FOLDER.iterdir()]
    assert max(sizes) < 12_000
    assert sum(sizes) < 400_000
