"""Noisy rows, and when to stop: python examples/early_stopping.py [--epochs N]"""

import argparse

import numpy as np

import fastmlp as fm
from fastmlp import plot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=2000)
epochs = parser.parse_args().epochs

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (120, 4))
t = np.sin(3 * x[:, :1]) + 0.3 * rng.normal(size=(120, 1))

model = fm.MLP([4, 64, 64, 1], activation="tanh", seed=0)
trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.003), fm.MSELoss())
early_stopping = fm.EarlyStopping(patience=50)  # watches the validation loss
history = trainer.fit(
    x,
    t,
    max_epoch=epochs,
    batch_size=16,
    validation_split=0.25,
    metrics=("mae", "r2"),
    early_stopping=early_stopping,
)

print(f"{len(history.loss)} epochs, the best one was number {history.best_epoch + 1}")
best, last = history.validation_loss[history.best_epoch], history.validation_loss[-1]
print(f"validation loss {best:.4f} there, {last:.4f} in the last epoch")
print("the model is that of the best epoch:", trainer.evaluate(x[90:], t[90:]))
print(fm.summary(model))

if plot.is_available():
    trainer.plot("early_stopping.png")
    print("saved early_stopping.png")
