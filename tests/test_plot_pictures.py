"""Every picture, light and dark, beside the one that a person has looked at."""

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")

from matplotlib.image import imread

import fastmlp as fm
import plot_pictures

BLOCK = 8  # pixels: letters of another matplotlib, or lines a pixel away, weigh little
# Root mean square of the differences of the blocks' mean colours, of 255.
TOLERANCE = 8


def _blocks(path: Path) -> np.ndarray:
    image = 255 * np.asarray(imread(path))[..., :3]
    high, wide = (size // BLOCK * BLOCK for size in image.shape[:2])
    return image[:high, :wide].reshape(high // BLOCK, BLOCK, wide // BLOCK, BLOCK, 3).mean((1, 3))


def _difference(one: Path, other: Path) -> float:
    a, b = _blocks(one), _blocks(other)
    assert a.shape == b.shape
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _kept(name: str, style: str) -> Path:
    return plot_pictures.FOLDER / f"{name}-{style}.png"


@pytest.mark.parametrize("style", plot_pictures.STYLES)
@pytest.mark.parametrize("name", plot_pictures.PICTURES)
def test_picture(name: str, style: str, tmp_path: Path) -> None:
    path = tmp_path / "drawn.png"
    plot_pictures.draw(name, style, path)
    difference = _difference(path, _kept(name, style))
    assert difference < TOLERANCE, f"{path} differs from {_kept(name, style)}"


def test_there_is_a_picture_of_each_function_and_no_other() -> None:
    helpers = {"COLOURS", "figure", "look", "save", "is_available"}
    helpers |= {"hangul_font", "use_hangul_font"}
    assert set(plot_pictures.PICTURES) == set(fm.plot.__all__) - helpers
    files = {path.name for path in plot_pictures.FOLDER.iterdir()}
    assert files == {
        f"{name}-{style}.png"
        for name, style in itertools.product(plot_pictures.PICTURES, plot_pictures.STYLES)
    }


def test_the_tolerance_tells_pictures_apart() -> None:
    for style in plot_pictures.STYLES:
        for one, other in itertools.combinations(plot_pictures.PICTURES, 2):
            assert _difference(_kept(one, style), _kept(other, style)) > 1.4 * TOLERANCE, (
                one,
                other,
            )


def test_the_files_are_small() -> None:
    sizes = [path.stat().st_size for path in plot_pictures.FOLDER.iterdir()]
    assert max(sizes) < 12_000
    assert sum(sizes) < 400_000
