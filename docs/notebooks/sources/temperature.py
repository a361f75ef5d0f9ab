# %% [markdown]
# # A thermometer
#
# Eleven readings of a thermometer whose scale is not known, and the temperature in Celsius at the
# same time. What is the rule between the two?

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastmlp as fm

fahrenheit, celsius = fm.datasets.temperature()
x = 0.1 * fahrenheit  # numbers near 1 are easier to learn from
order = np.random.RandomState(23).permutation(len(x))
train, held_out = order[:-2], order[-2:]

# %% [markdown]
# Nine readings are for training, two are held out. There are three candidates: a line, and two
# networks with a hidden layer of tanh units. Layers may have names.

# %%
fm.manual_seed(23)
models = {
    "line": fm.Linear(1, 1),
    "1-13-1": fm.Sequential(fm.Linear(1, 13), fm.Tanh(), fm.Linear(13, 1)),
    "1-8-1": fm.Sequential(
        {"hidden": fm.Linear(1, 8), "tanh": fm.Tanh(), "output": fm.Linear(8, 1)}
    ),
}
rates = {"line": 1e-2, "1-13-1": 1e-3, "1-8-1": 5e-4}
histories = {}
for name, model in models.items():
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=rates[name]), fm.MSELoss())
    histories[name] = trainer.fit(
        x[train],
        celsius[train],
        max_epoch=5000,
        batch_size=None,
        validation_data=(x[held_out], celsius[held_out]),
        progress=False,
    )
    loss, validation = histories[name].loss[-1], histories[name].validation_loss[-1]
    print(f"{name}: loss {loss:.2f}, of the held-out readings {validation:.2f}")

# %% [markdown]
# The networks fit the nine readings better than the line does, and the two others worse. Two
# readings are few to judge by, but the picture shows the same.

# %%
fm.plot.loss(histories, log=True);

# %%
readings = np.arange(20.0, 90.0)[:, None]
figure, ax = plt.subplots()
for (name, model), dashes in zip(models.items(), ("-", "--", "-.")):
    ax.plot(readings, model.predict(0.1 * readings), dashes, label=name)
ax.plot(fahrenheit[train], celsius[train], "ok", label="trained on")
ax.plot(fahrenheit[held_out], celsius[held_out], "ok", fillstyle="none", label="held out")
ax.set(xlabel="reading of the thermometer", ylabel="Celsius")
ax.legend();

# %% [markdown]
# The networks bend where there is no reading to hold them. The line does not, and it can be read:

# %%
line = models["line"]
print(f"Celsius = {0.1 * line.weight.item():.3f} * reading {line.bias.item():+.2f}")

# %% [markdown]
# The thermometer shows degrees Fahrenheit, of which the rule is 0.556 * reading - 17.78.
#
# Names of layers are names of attributes, and their parameters show what they hold:

# %%
models["1-8-1"].hidden.weight
