"""The gallery of activations in one figure: python examples/activations.py"""

import numpy as np

import fastmlp as fm
from fastmlp import plotting

gallery = [
    fm.Tanh(),
    fm.Hardtanh(-1, 1),
    fm.Sigmoid(),
    fm.Softmax(dim=-1),
    fm.ReLU(),
    fm.LeakyReLU(0.1),
]

x = np.linspace(-10, 10, 201)
curves = {str(activation): activation.predict(x) for activation in gallery}
for name, y in curves.items():
    print(f"{name}: from {y.min():.4g} to {y.max():.4g}")

if plotting.is_available():
    figure, axes = plotting.figure(2, 3, size=(12, 6))
    with plotting.look():
        for ax, (name, y) in zip(axes, curves.items(), strict=True):
            ax.plot(x, y)
            ax.set(title=name, xlabel="x", ylabel="y")
    print("saved", plotting.save(figure, "activations.png"))
