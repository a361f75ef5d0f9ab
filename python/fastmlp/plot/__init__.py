"""Pictures of trainings and models, with matplotlib.

Each function takes `ax=` and returns the Axes that it has drawn into; without `ax` it makes a new
pyplot figure, as scikit-learn does, which notebooks show. Lines and text have the colours of the
user's style, light or dark, and the data those of Okabe and Ito, which the colour-blind tell
apart; markers and dashes differ as well.
"""

from fastmlp.plot.curves import gradient_norm, loss
from fastmlp.plot.fonts import hangul_font, is_available, use_hangul_font
from fastmlp.plot.graph import network
from fastmlp.plot.images import first_layer
from fastmlp.plot.labels import calibration, confusion_matrix
from fastmlp.plot.plane import class_probabilities, decision_regions
from fastmlp.plot.style import COLOURS, figure, look, save
from fastmlp.plot.targets import predictions, residuals
from fastmlp.plot.units import activation_gallery, activations

__all__ = [
    "COLOURS",
    "activation_gallery",
    "activations",
    "calibration",
    "class_probabilities",
    "confusion_matrix",
    "decision_regions",
    "figure",
    "first_layer",
    "gradient_norm",
    "hangul_font",
    "is_available",
    "look",
    "loss",
    "network",
    "predictions",
    "residuals",
    "save",
    "use_hangul_font",
]
