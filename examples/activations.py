"""The gallery of activations in one figure: python examples/activations.py"""

import numpy as np

import fastmlp as fm
from fastmlp import plot

gallery = [
    fm.Tanh(),
    fm.Hardtanh(-1, 1),
    fm.Sigmoid(),
    fm.Softmax(dim=-1),
    fm.ReLU(),
    fm.LeakyReLU(0.1),
]

x = np.linspace(-10, 10, 201)
for activation in gallery:
    y = activation.predict(x)
    print(f"{activation}: from {y.min():.4g} to {y.max():.4g}")

if plot.is_available():
    figure, (ax,) = plot.figure(size=(10, 5.4))
    plot.activation_gallery(gallery, ax, limits=(-10, 10))
    print("saved", plot.save(figure, "activations.png"))
