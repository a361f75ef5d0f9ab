"""The pictures that are compared with tests/data/pictures: python tests/plot_pictures.py

The command draws them anew, for a person to look at before they are committed. What they show
depends on no training, so that it is the same on all processors.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastmlp as fm

FOLDER = Path(__file__).parent / "data" / "pictures"
STYLES = {"light": "default", "dark": "dark_background"}
SIZE = (4.0, 3.2)  # inches, as in a paper's column
DPI = 60


class Petals:
    """Three classes of rows of three columns: the angle of the first two decides."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        angles = np.arctan2(x[:, 1], x[:, 0])[:, None] - [0, 2, 4]
        return np.exp(2 * np.cos(angles)) / np.exp(2 * np.cos(angles)).sum(axis=1, keepdims=True)


def network(*sizes: int, activation: str = "tanh") -> fm.Sequential:
    """A network with weights that are not drawn: sines of their numbers."""
    model = fm.MLP(list(sizes), activation=activation)
    for parameter in model.parameters():
        parameter[...] = 2 * np.sin(1.0 + np.arange(parameter.numel())).reshape(parameter.shape)
    return model


def _rows(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    angle = 0.7 * np.arange(count)
    x = np.stack([np.cos(angle), np.sin(angle), angle], axis=1) * (0.4 + 0.6 * angle[:, None] % 1)
    return x, Petals().predict(x).argmax(axis=1)


def _history() -> Any:
    epochs = np.arange(1, 101)
    return SimpleNamespace(
        loss=1 / epochs,
        validation_loss=1 / epochs + (epochs / 200) ** 2,
        best_epoch=27,
        metrics={"accuracy": 1 - 0.5 / epochs},
    )


def _targets() -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(0, 50, 80)
    return t, t + 6 * np.sin(5 * t)


def _digits() -> tuple[list[str], list[str]]:
    t = [name for name in ("cat", "dog", "horse") for _ in range(20)]
    return t, t[5:] + ["dog"] * 5


def _probabilities() -> tuple[np.ndarray, np.ndarray]:
    p = (np.arange(300) % 100) / 99
    return (np.arange(300) % 7 < 7 * p**1.5).astype(int), p


PICTURES: dict[str, Callable[[Any], Any]] = {
    "loss": lambda ax: fm.plot.loss(_history(), ax),
    "decision_regions": lambda ax: fm.plot.decision_regions(Petals(), *_rows(), (1, 0), ax),
    "class_probabilities": lambda ax: fm.plot.class_probabilities(
        network(3, 4, 1), _rows()[0], _rows()[1] > 0, ax=ax, fixed={2: 0}, class_names=["no", "yes"]
    ),
    "predictions": lambda ax: fm.plot.predictions(*_targets(), ax, label="price in 1000 USD"),
    "residuals": lambda ax: fm.plot.residuals(*_targets(), ax),
    "confusion_matrix": lambda ax: fm.plot.confusion_matrix(*_digits(), ax),
    "calibration": lambda ax: fm.plot.calibration(*_probabilities(), ax),
    "first_layer": lambda ax: fm.plot.first_layer(network(25, 4), (5, 5), ax),
    "activations": lambda ax: fm.plot.activations(
        network(3, 20, 10, 1), _rows()[0] * [0.3, 0.3, 0.01], ax
    ),
    "gradient_norm": lambda ax: fm.plot.gradient_norm(
        {"Adam": 1 / np.arange(1, 60), "SGD": 2 / np.sqrt(np.arange(1, 60))}, ax
    ),
    "activation_gallery": lambda ax: fm.plot.activation_gallery(ax=ax),
    "network": lambda ax: fm.plot.network(network(3, 4, 2), ax, output_names=["no", "yes"]),
}


def draw(name: str, style: str, path: Path) -> None:
    """Draw a picture into a PNG file."""
    import matplotlib as mpl
    from matplotlib import style as styles
    from matplotlib.figure import Figure

    settings = {"font.family": ["DejaVu Sans"]}  # which matplotlib brings
    with styles.context(["default", STYLES[style]]), mpl.rc_context(settings):
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        # Not where the letters leave room, which differs between versions of matplotlib.
        PICTURES[name](figure.add_axes((0.2, 0.36, 0.6, 0.58)))
        with warnings.catch_warnings():  # that there is nothing to lay out
            warnings.simplefilter("ignore", UserWarning)
            figure.savefig(path, dpi=DPI, metadata={"Software": None})


def main() -> None:
    """Write all pictures, with few colours, which makes the files small."""
    from PIL import Image

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        for style in STYLES:
            path = FOLDER / f"{name}-{style}.png"
            draw(name, style, path)
            Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
