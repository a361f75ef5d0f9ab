"""Exclusive or: the smallest problem that needs a hidden layer."""

import numpy as np
import torch

from fastmlp import nn, optim

torch.manual_seed(1)
x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float32)
y = torch.tensor([[0], [1], [1], [0]], dtype=torch.float32)

model = nn.Sequential(
    nn.Linear(2, 8),
    nn.Tanh(),
    nn.Linear(8, 1),
    nn.Sigmoid(),
)
print(model)
for name, param in model.named_parameters():
    print(name, tuple(param.shape), param.requires_grad)

criterion = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=0.05)

losses = []
for step in range(400):
    optimizer.zero_grad()
    out = model(x)
    loss = criterion(out, y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step % 100 == 0:
        print("step %d, loss %.4f" % (step, loss.item()))

with torch.no_grad():
    out = model(x)
predicted = (out > 0.5).float()
for row, p in zip(x, out):
    print(f"{row.tolist()} -> {p.item():.3f}")
accuracy = np.mean(predicted.detach().cpu().numpy() == y.numpy())
print(f"accuracy {accuracy}")
