"""House prices by a 13-3-3-3-1 network: python examples/boston.py [--epochs N]"""

import argparse

import fastmlp as fm
from fastmlp import datasets, plot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=200_000)
epochs = parser.parse_args().epochs

x, t = datasets.boston()  # 506 rows, standardised columns

fm.manual_seed(2)
model = fm.MLP([13, 3, 3, 3, 1], activation=fm.LeakyReLU(0.01))  # or activation="relu"
trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-4), fm.MSELoss())
history = trainer.fit(x, t, max_epoch=epochs, batch_size=None)

for epoch in range(0, epochs, 10_000):
    print(f"epoch {epoch}: loss {history.loss[epoch]:.4f}")
print(f"final loss {history.loss[-1]:.4f}")

if plot.is_available():
    figure, (ax,) = plot.figure(size=(5.6, 5.6))
    plot.predictions(t, model.predict(x), ax, label="price in 1000 USD")
    print("saved", plot.save(figure, "boston.png"))
