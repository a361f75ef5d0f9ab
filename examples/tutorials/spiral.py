"""Three arms of a spiral: classes, accuracy by torch.max, layers in a ModuleList."""

import math

import torch

from fastmlp import nn, optim

torch.manual_seed(7)
N, K = 100, 3  # points an arm, arms
X = torch.zeros(N * K, 2)
y = torch.zeros(N * K, dtype=torch.long)
for k in range(K):
    r = torch.linspace(0.05, 1, N)
    angle = torch.linspace(0, 4, N) + 2 * math.pi * k / K + 0.15 * torch.randn(N)
    X[k * N : (k + 1) * N] = torch.stack([r * torch.sin(angle), r * torch.cos(angle)], 1)
    y[k * N : (k + 1) * N] = k


class MLP(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(n_in, n_out) for n_in, n_out in zip(sizes[:-1], sizes[1:])]
        )

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def init_weights(m):
    if isinstance(m, nn.Linear):
        nn.init.zeros_(m.bias)


model = MLP([2, 24, 24, K])
model.apply(init_weights)
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

losses = []
batch_size = 60
for epoch in range(60):
    permutation = torch.randperm(X.size(0))
    correct = 0
    for i in range(0, X.size(0), batch_size):
        indices = permutation[i : i + batch_size]
        inputs, targets = X[indices], y[indices]
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        losses.append(loss.item())
        _, predicted = torch.max(outputs.data, 1)
        correct += (predicted == targets).sum().item()
    if (epoch + 1) % 20 == 0:
        print(f"Epoch [{epoch + 1}/60], Loss: {loss.item():.4f}, Acc: {correct / len(X):.3f}")

model.eval()
with torch.no_grad():
    probabilities = torch.softmax(model(X), dim=1)
    accuracy = (probabilities.argmax(dim=1) == y).float().mean().item()
print(f"accuracy on all points: {accuracy:.3f}")
