"""Two circles, as a class with two Linear layers: python examples/circles.py [--epochs N]"""

import argparse

import fastmlp as fm
from fastmlp import datasets, plot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=1000)
epochs = parser.parse_args().epochs


class Classifier(fm.Module):
    """2-4-1, with a probability as its output."""

    def __init__(self):
        super().__init__()
        self.fc1 = fm.Linear(2, 4)
        self.fc2 = fm.Linear(4, 1)
        self.sigmoid = fm.Sigmoid()

    def forward(self, x):
        return self.sigmoid(self.fc2(self.sigmoid(self.fc1(x))))


x, t = datasets.circles(500, noise=0.2, factor=0.3, seed=123)

fm.manual_seed(13)
model = Classifier()
trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.BCELoss())
history = trainer.fit(x, t, max_epoch=epochs, batch_size=None)

for epoch in range(0, epochs, 100):
    print(f"epoch {epoch}: loss {history.loss[epoch]:.4f}")
print(f"final loss {history.loss[-1]:.4f}")
print(f"accuracy {((model.predict(x) > 0.5) == t).mean():.3f}")

if plot.is_available():
    figure, (ax,) = plot.figure(size=(6.8, 6.2))
    plot.class_probabilities(model, x, t, ax=ax, class_names=["outer", "inner"])
    print("saved", plot.save(figure, "circles.png"))
