"""Build the notebooks of this folder from sources/: python docs/notebooks/build.py [NAME ...]

A source is Python with lines "# %%" before code and "# %% [markdown]" before text, as several
editors know it. Each notebook is run, and its outputs are kept.
"""

import base64
import io
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in (FOLDER / "sources").glob("*.py")))
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


LARGE = 16_000  # bytes of a picture


def cells_of(source: str) -> list[Any]:
    """The cells of a source."""
    made: list[Any] = []
    for part in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        kind, _, text = part.partition("\n")
        text = text.strip("\n")
        if kind.strip() == "[markdown]":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
            cell = nbformat.v4.new_markdown_cell(text)
        else:
            cell = nbformat.v4.new_code_cell(text)
        cell["id"] = f"cell-{len(made)}"  # not a random one, which would change each time
        made.append(cell)
    return made


def unrun(name: str) -> Any:
    """The notebook without outputs."""
    cells = cells_of((FOLDER / "sources" / f"{name}.py").read_text(encoding="utf-8"))
    language = {"name": "python"}
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": KERNEL, "language_info": language}
    )


def run(notebook: Any) -> Any:
    """Run a notebook in a kernel of this Python, and return it."""
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", record_timing=False)
    return client.execute()


def _shrink(picture: str) -> str:
    """A PNG file as base64; a large one with fewer colours."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    for made in (image, image.quantize(256, dither=Image.Dither.NONE)):
        file = io.BytesIO()
        made.save(file, "png", optimize=True)
        if file.tell() < LARGE:
            break
    return base64.b64encode(file.getvalue()).decode()


def _tidy(notebook: Any) -> None:
    """Keep of the outputs what a reader sees."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            if "image/png" in (data := output.get("data", {})):
                data["image/png"] = _shrink(data["image/png"])


def main() -> None:
    """Build the notebooks that are named, or all."""
    for name in sys.argv[1:] or NAMES:
        notebook = run(unrun(name))
        _tidy(notebook)
        path = FOLDER / f"{name}.ipynb"
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
