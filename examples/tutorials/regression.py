"""A noisy curve: mini-batches from a DataLoader, a schedule, training and evaluation apart."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from fastmlp import nn, optim

torch.manual_seed(0)
x = torch.linspace(-2, 2, 256).unsqueeze(1)
y = torch.sin(2 * x) + 0.5 * x + 0.05 * torch.randn(x.shape)
train_set, test_set = random_split(TensorDataset(x, y), [200, 56])
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=56)


class Net(nn.Module):
    def __init__(self, hidden):
        super(Net, self).__init__()
        self.fc1 = nn.Linear(1, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(p=0.0)

    def forward(self, x):
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = x + torch.tanh(self.fc2(x))
        x = F.dropout(x, p=0.0, training=self.training)
        return self.fc3(self.dropout(x))


def train(model, loader, loss_fn, optimizer):
    model.train()
    running_loss = 0.0
    for batch, (data, target) in enumerate(loader):
        optimizer.zero_grad()
        output = model(data)
        loss = loss_fn(output, target)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * data.size(0)
    return running_loss / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, loss_fn):
    model.eval()
    total = 0.0
    for data, target in loader:
        total += loss_fn(model(data), target).item() * len(data)
    return total / len(loader.dataset)


model = Net(hidden=32)
loss_fn = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=15, gamma=0.3)

losses, test_losses = [], []
for epoch in range(1, 41):
    losses.append(train(model, train_loader, loss_fn, optimizer))
    test_losses.append(evaluate(model, test_loader, loss_fn))
    scheduler.step()
    if epoch % 10 == 0:
        lr = optimizer.param_groups[0]["lr"]
        print(f"epoch {epoch:3d}  train {losses[-1]:.4f}  test {test_losses[-1]:.4f}  lr {lr:.1e}")

best = {name: value.clone() for name, value in model.state_dict().items()}
model.load_state_dict(best)
print("total parameters:", sum(p.numel() for p in model.parameters() if p.requires_grad))
