"""Two rings of points, told apart by a module of one's own and binary cross-entropy."""

import torch

from fastmlp import nn, optim

torch.manual_seed(42)
angles = 2 * torch.pi * torch.rand(400)
labels = (torch.arange(400) % 2).float()
radius = 1 - 0.4 * labels
X = radius[:, None] * torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)
X = X + 0.04 * torch.randn_like(X)
X_train, y_train, X_test, y_test = X[:320], labels[:320], X[320:], labels[320:]


class CircleModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_1 = nn.Linear(in_features=2, out_features=10)
        self.layer_2 = nn.Linear(in_features=10, out_features=10)
        self.layer_3 = nn.Linear(in_features=10, out_features=1)

    def forward(self, x):
        x = torch.relu(self.layer_1(x))
        x = torch.relu(self.layer_2(x))
        return self.layer_3(x)


def accuracy_fn(y_true, y_pred):
    correct = torch.eq(y_true, y_pred).sum().item()
    return 100 * correct / len(y_pred)


device = "cpu"
model = CircleModel().to(device)
loss_fn = nn.BCEWithLogitsLoss()
optimizer = optim.SGD(model.parameters(), lr=0.3)

losses, accuracies = [], []
for epoch in range(600):
    model.train()
    y_logits = model(X_train).squeeze()
    y_pred = torch.round(torch.sigmoid(y_logits))
    loss = loss_fn(y_logits, y_train)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

    model.eval()
    with torch.inference_mode():
        test_logits = model(X_test).squeeze()
        test_pred = torch.round(torch.sigmoid(test_logits))
        test_loss = loss_fn(test_logits, y_test)
        accuracies.append(accuracy_fn(y_test, test_pred))
    if epoch % 100 == 0:
        acc = accuracy_fn(y_train, y_pred)
        print(f"Epoch: {epoch} | Loss: {loss:.5f}, Accuracy: {acc:.2f}% | Test: {test_loss:.5f}")
print(f"Test accuracy: {accuracies[-1]:.2f}%")
