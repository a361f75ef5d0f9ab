"""Three spirals by a loop of one's own: python examples/spiral_custom_loop.py [--epochs N]"""

import argparse

import numpy as np

import fastmlp as fm
from fastmlp import datasets

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=300)
epochs = parser.parse_args().epochs

batch_size = 30
x, t = datasets.spiral()
x, t = x.astype(np.float32), t.astype(np.float32)

model = fm.MLP([2, 10, 3], activation="sigmoid", seed=1)
loss_fn = fm.CrossEntropyLoss()
optimizer = fm.SGD(model.parameters(), lr=1.0)
random = np.random.default_rng(1)

for epoch in range(epochs):
    order = random.permutation(len(x))
    losses = []
    for start in range(0, len(x), batch_size):
        batch = order[start : start + batch_size]
        loss = loss_fn(model(x[batch]), t[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if epoch % 10 == 0:
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}")

accuracy = (model.predict(x).argmax(axis=1) == t.argmax(axis=1)).mean()
print(f"accuracy {accuracy:.3f}")
