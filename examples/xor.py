"""XOR with the loop of every PyTorch tutorial: python examples/xor.py [--epochs N]"""

import argparse

import numpy as np

import fastmlp as fm

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=10_001)
epochs = parser.parse_args().epochs

x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
t = np.array([[0], [1], [1], [0]], dtype=np.float32)

fm.manual_seed(139)
model = fm.Sequential(fm.Linear(2, 2), fm.Sigmoid(), fm.Linear(2, 1), fm.Sigmoid())
loss_fn = fm.BCELoss()
optimizer = fm.SGD(model.parameters(), lr=1)

for step in range(epochs):
    loss = loss_fn(model(x), t)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(step, loss.item())

with fm.no_grad():
    hypothesis = model(x)
predicted = (hypothesis > 0.5).astype(np.float32)
print("hypothesis", hypothesis.ravel())
print("predicted ", predicted.ravel())
print("target    ", t.ravel())
print("accuracy  ", (predicted == t).mean())
