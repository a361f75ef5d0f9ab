"""A noisy circle within another, told apart by four hidden units."""

import fastmlp as fm
from fastmlp import datasets, plot
from fastmlp.demo.session import Session, accuracy, print_losses


def run(session: Session) -> None:
    """Train 2-4-1 with Adam on all 500 rows at once."""
    session.begin(
        "a network 2-4-1 of sigmoids tells a noisy circle from the one around it: 500 points, all"
        " at once, with Adam"
    )
    x, t = datasets.circles()
    seed = session.seeded(13)
    model = fm.Sequential(fm.Linear(2, 4), fm.Sigmoid(), fm.Linear(4, 1), fm.Sigmoid())
    print(model)

    trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.BCELoss())
    history = session.fit(trainer, x, t, epochs=1000, batch_size=None, seed=seed)
    print_losses(history.loss)
    session.end(
        f"final loss {history.loss[-1]:.4f}",
        f"accuracy {accuracy(model.predict(x) >= 0.5, t == 1):.3f}",
    )

    if session.plot:
        session.save_losses(history, "Two circles: loss")
        figure, (ax,) = plot.figure(size=(6.8, 6.2))
        plot.class_probabilities(model, x, t, ax=ax, class_names=["outer", "inner"])
        ax.set_title("Two circles")
        session.save(figure, "contour")
