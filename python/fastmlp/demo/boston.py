"""Boston's house prices from thirteen columns, with ReLU and with leaky ReLU."""

import fastmlp as fm
from fastmlp import datasets, plot
from fastmlp.demo.session import Session, print_losses


def run(session: Session) -> None:
    """Train 13-3-3-3-1 twice, for 200 000 epochs each, on all 506 rows at once."""
    session.begin(
        "a network 13-3-3-3-1 learns the house prices of 506 tracts of Boston from 13 columns, all"
        " rows at once, once with ReLU and once with leaky ReLU"
    )
    x, t = datasets.boston()
    losses, fits = {}, {}
    for name, activation in (("ReLU", fm.ReLU()), ("leaky ReLU", fm.LeakyReLU(0.01))):
        seed = session.seeded(2)
        model = fm.MLP([13, 3, 3, 3, 1], activation=activation)
        print(model)
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-4), fm.MSELoss())
        history = session.fit(trainer, x, t, epochs=200_000, batch_size=None, seed=seed)
        print_losses(history.loss)
        losses[name], fits[name] = history.loss, model.predict(x)
    session.end(*(f"final loss with {name} {loss[-1]:.6f}" for name, loss in losses.items()))

    if session.plot:
        figure, (ax,) = plot.figure()
        plot.loss(losses, ax, log=True)
        ax.set(title="Boston house prices", ylabel="mean squared error")
        session.save(figure, "loss")
        figure, axes = plot.figure(1, 2, size=(9.6, 5.2))
        for ax, (name, y) in zip(axes, fits.items(), strict=True):
            plot.predictions(t, y, ax, label="price in 1000 USD")
            ax.set_title(f"Boston, {name}")
        session.save(figure, "scatter")
