"""Draws the pictures of the README and of the tutorials: python docs/pictures.py [FOLDER]

Trains what they show, and takes the times from the first table of performance.md.
"""

import re
import sys
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image  # comes with matplotlib

import fastmlp as fm

HERE = Path(__file__).parent
PEERS = {  # columns of the table, with colour and marker
    "fastmlp": ("#0072b2", "o"),
    "JAX `jit`+`scan`": ("#009e73", "D"),
    "scikit-learn": ("#e69f00", "^"),
    "PyTorch": ("#d55e00", "s"),
}


def times(page: Path) -> dict[str, dict[str, float]]:
    """Of each workload, microseconds a step by library: the first table of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| workload"))
    names = [cell.strip() for cell in lines[first].strip("|").split("|")]
    found = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        cells = [re.sub(r"[*\s]", "", cell) for cell in line.strip("|").split("|")]
        workload = line.strip("|").split("|")[0].strip()
        found[workload] = {
            name: float(cell)
            for name, cell in zip(names[1:], cells[1:], strict=True)
            if name in PEERS and cell
        }
    return found


def draw_speed(path: Path) -> None:
    """A point for each library, on a logarithmic scale of time."""
    workloads = times(HERE / "performance.md")
    figure, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    for row, value in enumerate(workloads.values()):
        ax.plot([min(value.values()), max(value.values())], [row, row], color="#bbbbbb", zorder=1)
    for peer, (colour, marker) in PEERS.items():
        rows = [row for row, value in enumerate(workloads.values()) if peer in value]
        values = [value[peer] for value in workloads.values() if peer in value]
        size = 75 if peer == "fastmlp" else 34
        ax.scatter(
            values, rows, size, color=colour, marker=marker, label=peer.replace("`", ""), zorder=2
        )
    ax.set_yticks(range(len(workloads)), list(workloads))
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(0.05, 2e6)
    ax.set_xticks(
        [10.0**k for k in range(-1, 7)],
        ["0.1 µs", "1 µs", "10 µs", "0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s"],
    )
    ax.minorticks_off()
    ax.set_xlabel("time of a training step, two cores with AVX2")
    ax.grid(axis="x", color="#e4e4e4", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path)
    plt.close(figure)


def trained_spiral() -> tuple[fm.Trainer, np.ndarray, np.ndarray]:
    """The network of the demo."""
    x, t = fm.datasets.spiral()
    model = fm.MLP([2, 10, 3], activation="sigmoid", seed=1)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1.0))
    trainer.fit(x, t, max_epoch=300, batch_size=30, seed=1, progress=False)
    return trainer, x, t.argmax(axis=1)


def draw_regions(path: Path) -> None:
    """What the network makes of the plane."""
    trainer, x, t = trained_spiral()
    figure, ax = plt.subplots(figsize=(4.8, 4.6), layout="constrained")
    fm.plot.decision_regions(trainer.model, x, t, ax=ax)
    figure.savefig(path)
    plt.close(figure)


def draw_spiral(path: Path) -> None:
    """The same beside the loss."""
    trainer, x, t = trained_spiral()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
    fm.plot.loss(trainer.history, left)
    fm.plot.decision_regions(trainer.model, x, t, ax=right)
    figure.savefig(path)
    plt.close(figure)


def draw_page(number: int, path: Path) -> None:
    """A figure of the page of pictures, drawn by the page's own code."""
    text = (HERE / "howto" / "pictures.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    for block in blocks[: number + 1]:
        exec(re.sub(r"^figure\.savefig.*", "", block, flags=re.MULTILINE), names)
    names["figure"].savefig(path, dpi=88)
    plt.close("all")


DRAWN = {
    "speed.png": draw_speed,
    "decision-regions.png": draw_regions,
    "spiral.png": draw_spiral,
    "pictures-inside.png": partial(draw_page, 1),
    "pictures-classes.png": partial(draw_page, 2),
}


def main(folder: Path) -> None:
    """Draw all of them into a folder."""
    with mpl.rc_context({"backend": "agg", "savefig.dpi": 144, "font.size": 10}):
        for name, draw in DRAWN.items():
            draw(folder / name)
            Image.open(folder / name).convert("RGB").quantize(96).save(folder / name, optimize=True)
            print("saved", folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images")
