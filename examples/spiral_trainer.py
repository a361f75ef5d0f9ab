"""Three spirals with the Trainer: python examples/spiral_trainer.py [--epochs N]"""

import argparse

import fastmlp as fm
from fastmlp import datasets, plot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=300)
epochs = parser.parse_args().epochs

x, t = datasets.spiral()

model = fm.MLP([2, 10, 3], activation="sigmoid", seed=1)
optimizer = fm.SGD(model.parameters(), lr=1.0)
trainer = fm.Trainer(model, optimizer)  # softmax and cross entropy, unless told otherwise
history = trainer.fit(x, t, max_epoch=epochs, batch_size=30, eval_interval=10, seed=1)

print(f"final loss {history.loss[-1]:.4f}")
print(f"accuracy {(model.predict(x).argmax(axis=1) == t.argmax(axis=1)).mean():.3f}")

if plot.is_available():
    figure, axes = plot.figure(1, 2, size=(11, 5))
    trainer.plot(axes[0])
    plot.decision_regions(model, x, t, ax=axes[1])
    print("saved", plot.save(figure, "spiral.png"))
