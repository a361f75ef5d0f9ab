"""XOR, by the smallest network that can learn it and by a deeper one."""

import fastmlp as fm
from fastmlp import datasets, plot
from fastmlp.demo.session import Session, accuracy, print_losses


def run(session: Session) -> None:
    """Train 2-2-1."""
    _run(session, [2, 2, 1], seed=139)


def run_deep(session: Session) -> None:
    """Train 2-10-10-10-1."""
    _run(session, [2, 10, 10, 10, 1], seed=46)


def _run(session: Session, sizes: list[int], seed: int) -> None:
    shape = "-".join(map(str, sizes))
    session.begin(
        f"a network {shape} of sigmoids learns the four rows of XOR, all at once, with SGD and"
        " binary cross entropy"
    )
    x, t = datasets.xor()
    seed = session.seeded(seed)
    model = fm.MLP(sizes, activation="sigmoid", output_activation="sigmoid")
    print(model)

    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1), fm.BCELoss())
    history = session.fit(trainer, x, t, epochs=10_001, batch_size=None, seed=seed)
    print_losses(history.loss, word="step")

    y = model.predict(x)
    for row, output, target in zip(x, y.ravel(), t.ravel(), strict=True):
        print(f"{row[0]:.0f} xor {row[1]:.0f} = {target:.0f}: output {output:.7f}")
    session.end(f"final loss {history.loss[-1]:.8f}", f"accuracy {accuracy(y >= 0.5, t == 1)}")

    if session.plot:
        session.save_losses(history, f"XOR by {shape}: loss", log=True)
        figure, (ax,) = plot.figure(size=(6.4, 5.4))
        plot.class_probabilities(model, x, t, ax=ax, class_names=["0", "1"])
        ax.set_title(f"XOR by {shape}")
        session.save(figure, "contour")
        if len(sizes) == 3:
            figure, (ax,) = plot.figure(size=(6.4, 3.2))
            plot.network(model, ax)
            session.save(figure, "network")
