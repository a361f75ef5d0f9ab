"""The gallery of activations, and what sums and compositions of tanh units look like."""

import numpy as np
import numpy.typing as npt

import fastmlp as fm
from fastmlp import plot
from fastmlp.demo.session import Session

Curve = npt.NDArray[np.float32]


def run(session: Session) -> None:
    """Print a few values of each activation and draw all of them over [-10, 10]."""
    session.begin("some values of six activations, and sums and compositions of tanh units")
    gallery = (
        ("tanh", fm.Tanh()),
        ("hardtanh(-1, 1)", fm.Hardtanh(-1, 1)),
        ("sigmoid", fm.Sigmoid()),
        ("softmax over the axis", fm.Softmax(dim=-1)),
        ("ReLU", fm.ReLU()),
        ("leaky ReLU, slope 0.1", fm.LeakyReLU(0.1)),
    )
    x = np.linspace(-10, 10, 201, dtype=np.float32)
    curves = {name: _values(activation, x) for name, activation in gallery}
    shown = [0, 90, 100, 110, 200]
    print(f"{'x':>22}" + "".join(f"{value:12.4g}" for value in x[shown]))
    for name, y in curves.items():
        print(f"{name:>22}" + "".join(f"{value:12.4g}" for value in y[shown]))

    if session.plot:
        figure, (ax,) = plot.figure(size=(10.2, 5.4))
        plot.activation_gallery([activation for _, activation in gallery], ax, limits=(-10, 10))
        session.save(figure, "gallery")
        x = np.linspace(-5, 5, 201, dtype=np.float32)
        _save(session, "units", x, _tanh_units(x), columns=4)


def _tanh_units(x: Curve) -> dict[str, Curve]:
    """Four units C(x) = tanh(w x + b), then sums of them, then units of those sums."""
    tanh = fm.Tanh()

    def unit(weight: float, bias: float, of: Curve = x) -> Curve:
        return _values(tanh, np.asarray(weight * of + bias, dtype=np.float32))

    a, b, c, d = unit(-2, -2.5), unit(2, -2.5), unit(-3, -4), unit(4, 12)
    c_of_sum = unit(-3, -4, a + b)
    return {
        "A = tanh(-2x - 2.5)": a,
        "B = tanh(2x - 2.5)": b,
        "C = tanh(-3x - 4)": c,
        "D = tanh(4x + 12)": d,
        "A + B": a + b,
        "C + D": c + d,
        "C(A + B)": c_of_sum,
        "C(A + B) + B(C + D)": c_of_sum + unit(2, -2.5, c + d),
    }


def _values(activation: fm.Module, x: Curve) -> Curve:
    return np.asarray(activation.predict(x))


def _save(session: Session, what: str, x: Curve, curves: dict[str, Curve], columns: int) -> None:
    figure, axes = plot.figure(2, columns, size=(3.4 * columns, 5.4))
    with plot.look():
        for ax, (name, y) in zip(axes, curves.items(), strict=True):
            ax.axhline(0, color=ax.xaxis.label.get_color(), linewidth=0.6, alpha=0.4)
            ax.axvline(0, color=ax.xaxis.label.get_color(), linewidth=0.6, alpha=0.4)
            ax.plot(x, y)
            ax.set_title(name, fontsize=11)  # the longest ones as wide as their axes
            ax.set(xlabel="x", ylabel="y")
    session.save(figure, what)
