"""A thermometer in unknown units, named layers: python examples/temperature.py [--epochs N]"""

import argparse
from collections import OrderedDict

import numpy as np

import fastmlp as fm
from fastmlp import datasets, plot

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=5000)
epochs = parser.parse_args().epochs

fahrenheit, celsius = datasets.temperature()
x = 0.1 * fahrenheit
order = np.random.default_rng(1).permutation(len(x))
train, held_out = order[:-2], order[-2:]

fm.manual_seed(1)
model = fm.Sequential(
    OrderedDict(
        hidden_linear=fm.Linear(1, 8),
        hidden_activation=fm.Tanh(),
        output_linear=fm.Linear(8, 1),
    )
)
print(model)
for name, parameter in model.named_parameters():
    print(name, parameter.shape)

optimizer = fm.SGD(model.parameters(), lr=1e-3)
loss_fn = fm.MSELoss()
for epoch in range(1, epochs + 1):
    loss = loss_fn(model(x[train]), celsius[train])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch == 1 or epoch % 1000 == 0:
        with fm.no_grad():
            validation = loss_fn(model(x[held_out]), celsius[held_out])
        print(f"epoch {epoch}: training loss {loss:.4f}, validation loss {validation:.4f}")

print("output", model.predict(x[held_out]).ravel(), "target", celsius[held_out].ravel())
print("bias of the last layer", model.output_linear.bias)
print("gradient of the first weight", model.hidden_linear.weight.grad.ravel())

if plot.is_available():
    figure, (ax,) = plot.figure()
    readings = np.arange(20.0, 90.0)[:, None]
    with plot.look():
        ax.plot(readings, model.predict(0.1 * readings), label="network")
        ax.plot(fahrenheit, celsius, "o", label="readings")
        ax.set(title="A thermometer", xlabel="Fahrenheit", ylabel="Celsius")
        ax.legend()
    print("saved", plot.save(figure, "temperature.png"))
