"""Rates that change by step and by epoch: python examples/schedules.py [--epochs N]"""

import argparse

import fastmlp as fm
from fastmlp import datasets, plot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=300)
epochs = parser.parse_args().epochs

batch_size = 50
x, t = datasets.circles(500, noise=0.2, factor=0.3, seed=123)


def one_cycle(optimizer):
    """A new rate after each batch."""
    steps = epochs * (len(x) // batch_size)
    return fm.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=steps)


def cosine(optimizer):
    """A new rate after each epoch."""
    return fm.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)


histories = {}
for name, make_schedule in {"one cycle": one_cycle, "cosine": cosine}.items():
    model = fm.MLP([2, 8, 1], activation="tanh", seed=1)
    optimizer = fm.Adam(model.parameters(), lr=0.01)
    trainer = fm.Trainer(
        model, optimizer, fm.BCEWithLogitsLoss(), scheduler=make_schedule(optimizer)
    )
    histories[name] = trainer.fit(x, t, max_epoch=epochs, batch_size=batch_size, seed=1)
    print(f"{name}: final loss {histories[name].loss[-1]:.4f}, rate {optimizer.lr:.2g}")

if plot.is_available():
    figure, axes = plot.figure(1, 2, size=(11, 4))
    for history, dashes in zip(histories.values(), ("-", "--"), strict=True):
        axes[0].plot(history.learning_rate, dashes)
    axes[0].set(xlabel="epoch", ylabel="learning rate")
    plot.loss(histories, axes[1])
    print("saved", plot.save(figure, "schedules.png"))
