"""The notebooks of the documentation: built from their sources, small, and as they are printed."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import nbformat

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def _builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_notebooks", FOLDER / "build.py")
    assert spec
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = _builder()


def _kept(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


def test_there_is_one_for_each_document() -> None:
    names = ("boston", "cifar", "circles", "spiral", "temperature", "xor")
    assert names == BUILD.NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(names)


@pytest.mark.parametrize("name", BUILD.NAMES)
def test_it_is_built_from_its_source_and_small(name: str) -> None:
    kept, source = _kept(name), BUILD.unrun(name)
    assert [(c.cell_type, c.source) for c in kept.cells] == [
        (c.cell_type, c.source) for c in source.cells
    ], "run docs/notebooks/build.py"
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 150_000
    assert not [o for c in kept.cells for o in c.get("outputs", ()) if o.output_type == "error"]


def _texts(cell: Any) -> str:
    """What a cell prints or shows as text."""
    texts = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            assert output.name == "stdout", output.text
            texts.append(output.text)
        elif "image/png" not in output.data:
            texts.append(output.data["text/plain"])
    return "".join(texts)


def _pictures(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))


@pytest.mark.parametrize("name", BUILD.NAMES)
def test_it_runs_and_shows_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTMLP_CIFAR2", raising=False)
    monkeypatch.delenv("MPLBACKEND", raising=False)
    kept, made = _kept(name), BUILD.run(BUILD.unrun(name))
    for old, new in zip(kept.cells, made.cells, strict=True):
        before, after = _texts(old), _texts(new)
        words = [re.sub(r"\s+", "", NUMBER.sub("0", text)) for text in (before, after)]
        assert words[1] == words[0]
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (before, after)]
        assert numbers[1] == pytest.approx(numbers[0], rel=0.25, abs=0.05), old.source
        assert _pictures(new) == _pictures(old)
    assert sum(map(_pictures, kept.cells)) >= 2
