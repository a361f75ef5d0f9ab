"""A loss that is a formula: squared errors, a Huber part, and a penalty on the weights."""

import torch

from fastmlp import nn, optim

torch.manual_seed(3)
features = torch.randn(120, 6)
true_weight = torch.tensor([2.0, -1.0, 0.5, 0.0, 0.0, 0.0])
target = torch.tanh(features @ true_weight) + 0.05 * torch.randn(120)


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(6, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(torch.sigmoid(self.hidden(x))).squeeze(-1)


net = Regressor()
huber = nn.SmoothL1Loss(beta=0.5)
optimizer = optim.RMSprop(net.parameters(), lr=5e-3)
scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.99)
l1_lambda, l2_lambda = 1e-4, 1e-3

losses = []
for epoch in range(200):
    prediction = net(features)
    error = ((prediction - target) ** 2).mean()
    l1 = sum(p.abs().sum() for p in net.parameters())
    l2 = sum(p.pow(2).sum() for p in net.parameters())
    loss = error + 0.5 * huber(prediction, target) + l1_lambda * l1 + l2_lambda * l2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    losses.append(loss.item())
    if epoch % 50 == 0:
        print(f"epoch {epoch}: loss {losses[-1]:.4f}, error {error.item():.4f}")

residual = target - net(features).detach()
r2 = 1 - residual.pow(2).sum() / (target - target.mean()).pow(2).sum()
print(f"R2 = {r2.item():.3f}, largest weight {net.hidden.weight.abs().max().item():.3f}")
