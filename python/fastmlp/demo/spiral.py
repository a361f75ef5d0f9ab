"""Three interleaved spirals, by mini-batches of 30 with softmax and cross entropy."""

import fastmlp as fm
from fastmlp import datasets, plot
from fastmlp.demo.session import Session, accuracy, print_losses


def run(session: Session) -> None:
    """Train 2-10-3 for 300 epochs and report mean losses of 10 iterations."""
    session.begin(
        "a network 2-10-3 tells three spirals apart, from 300 points in mini-batches of 30, with"
        " SGD and cross entropy"
    )
    x, t = datasets.spiral()
    seed = session.seeded(1)
    model = fm.MLP([2, 10, 3], activation="sigmoid")
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            fm.init.normal_(parameter, std=0.01)
        else:
            fm.init.zeros_(parameter)
    print(model)

    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1.0))
    history = session.fit(trainer, x, t, epochs=300, batch_size=30, eval_interval=10, seed=seed)
    print_losses(history.report_loss, steps=history.report_step.tolist(), word="iteration")
    session.end(
        f"final loss {history.loss[-1]:.4f}",
        f"accuracy {accuracy(model.predict(x).argmax(axis=1), t.argmax(axis=1)):.3f}",
    )

    if session.plot:
        session.save_losses(history, "Spirals: loss")
        figure, (ax,) = plot.figure(size=(6.4, 6.6))
        plot.decision_regions(model, x, t, ax=ax, step=0.001)
        ax.set_title("Spirals: decision regions")
        session.save(figure, "regions")
