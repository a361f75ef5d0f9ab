"""A thermometer in unknown units: a line, and two networks with a hidden layer of tanh."""

from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

import fastmlp as fm
from fastmlp import datasets, plot
from fastmlp.demo.session import Session, marks

SCALE = 0.1  # the networks see a tenth of the Fahrenheit reading


def run(session: Session) -> None:
    """Train three models on 9 of the 11 readings and validate them on the other 2."""
    session.begin(
        "a line and two small tanh networks learn a thermometer's unknown scale from 9 readings,"
        " and are validated on 2 others"
    )
    x, t = datasets.temperature()
    seed = session.seeded(23)
    order = np.random.RandomState(seed).permutation(len(x))
    train, held_out = order[:-2], order[-2:]
    tried: tuple[tuple[str, fm.Module, float, int], ...] = (
        ("linear", fm.Linear(1, 1), 1e-2, 3000),
        ("1-13-1 tanh", fm.Sequential(fm.Linear(1, 13), fm.Tanh(), fm.Linear(13, 1)), 1e-3, 5000),
        ("1-8-1 tanh", _named(), 1e-3, 5000),
    )
    histories = {}
    for name, model, lr, epochs in tried:
        print(f"-- {name}\n{model}")
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=lr), fm.MSELoss())
        histories[name] = session.fit(
            trainer,
            SCALE * x[train],
            t[train],
            epochs=epochs,
            batch_size=None,
            validation_data=(SCALE * x[held_out], t[held_out]),
            seed=seed,
        )
        _print_losses(histories[name])
        _print_model(model, SCALE * x[held_out], t[held_out])
    session.end(
        *(
            f"{name}: training loss {history.loss[-1]:.4f},"
            f" validation loss {history.validation_loss[-1]:.4f}"
            for name, history in histories.items()
        )
    )

    if session.plot:
        models = {name: model for name, model, _, _ in tried}
        _draw(session, histories, models, x, t, held_out)


def _named() -> fm.Sequential:
    return fm.Sequential(
        OrderedDict(
            hidden_linear=fm.Linear(1, 8),
            hidden_activation=fm.Tanh(),
            output_linear=fm.Linear(8, 1),
        )
    )


def _print_losses(history: fm.History) -> None:
    for epoch in marks(len(history.loss), 500, first=1):
        loss, validation = history.loss[epoch - 1], history.validation_loss[epoch - 1]
        print(f"epoch {epoch}, training loss {loss:.4f}, validation loss {validation:.4f}")


def _print_model(model: fm.Module, x: npt.NDArray[Any], t: npt.NDArray[Any]) -> None:
    if isinstance(model, fm.Linear):
        print(", ".join(f"{name} {p.item():.4f}" for name, p in model.named_parameters()))
    for name, parameter in model.named_parameters():
        print(f"{name} {tuple(parameter.shape)}")
    print("output", model.predict(x).ravel().round(3), "target", t.ravel())
    if hasattr(model, "hidden_linear"):
        print("gradient of hidden_linear.weight", np.ravel(model.hidden_linear.weight.grad))


def _draw(
    session: Session,
    histories: dict[str, fm.History],
    models: dict[str, fm.Module],
    x: npt.NDArray[Any],
    t: npt.NDArray[Any],
    held_out: npt.NDArray[np.intp],
) -> None:
    figure, axes = plot.figure(1, 3, size=(11.5, 4.2))
    for ax, (name, history) in zip(axes, histories.items(), strict=True):
        plot.loss(history, ax, log=True)
        ax.set_title(f"Thermometer, {name}")
    session.save(figure, "loss")

    figure, (ax,) = plot.figure()
    fahrenheit = np.arange(20.0, 90.0, 0.5)[:, None]
    with plot.look():
        for (name, model), dashes in zip(models.items(), ("-", "--", "-."), strict=True):
            ax.plot(fahrenheit, model.predict(SCALE * fahrenheit), dashes, label=name)
        trained = np.setdiff1d(np.arange(len(x)), held_out)
        dots = {"color": ax.xaxis.label.get_color()}
        ax.plot(x[trained], t[trained], "o", **dots, label="training readings")
        ax.plot(x[held_out], t[held_out], "o", **dots, fillstyle="none", label="held out")
        ax.set(title="Thermometer: three fits", xlabel="Fahrenheit", ylabel="Celsius")
        ax.legend()
    session.save(figure, "fit")
