# %% [markdown]
# # House prices
#
# Boston's 506 districts of 1970: thirteen columns about each, and the median price of a house in
# 1000 USD. A small network, 13-3-3-3-1, learns the price.

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastmlp as fm

x, t = fm.datasets.boston()  # columns with mean 0 and variance 1
x.shape, t.shape

# %% [markdown]
# ## Two activations
#
# A `ReLU` gives 0 for everything below 0, and learns nothing there. `LeakyReLU` lets a little
# through. Both networks see all rows in each of 200 000 steps.

# %%
models, histories = {}, {}
for name, activation in {"ReLU": fm.ReLU(), "leaky ReLU": fm.LeakyReLU(0.01)}.items():
    models[name] = model = fm.MLP([13, 3, 3, 3, 1], activation=activation, seed=2)
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-4), fm.MSELoss())
    histories[name] = trainer.fit(x, t, max_epoch=200_000, batch_size=None, progress=False)
    print(f"{name}: mean squared error {histories[name].loss[-1]:.2f}")

# %%
fm.plot.loss(histories, log=True);

# %% [markdown]
# Most of the way is done in the first tenth of the training. Where do they differ? A histogram of
# what the hidden units give for all rows tells it.

# %%
fm.plot.activations(models["ReLU"], x);

# %%
fm.plot.activations(models["leaky ReLU"], x);

# %% [markdown]
# One unit in the last hidden layer of the ReLU network is dead: it gives 0 for every row, so that
# no row can change its weights again. The leaky network has none.
#
# ## Rows that it has not seen
#
# An error on the rows that a network was trained with says little. So 106 rows are held out, drawn
# at random, since the table is sorted by town. Early stopping ends the training when their error no
# longer falls, and gives the best epoch's weights back.

# %%
order = np.random.default_rng(0).permutation(len(x))
train, test = order[:400], order[400:]

model = fm.MLP([13, 3, 3, 3, 1], activation=fm.LeakyReLU(0.01), seed=2)
trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-4), fm.MSELoss())
history = trainer.fit(
    x[train],
    t[train],
    max_epoch=200_000,
    batch_size=None,
    validation_data=(x[test], t[test]),
    early_stopping=fm.EarlyStopping(patience=20_000),
    progress=False,
)
history

# %%
for rows, name in ((train, "trained on"), (test, "held out")):
    print(f"{name}: {trainer.evaluate(x[rows], t[rows], metrics=['mae', 'r2'])}")

# %% [markdown]
# `mae` is the mean absolute error, in 1000 USD. The held-out rows have also decided when to stop,
# so that their error is a little too good. Prices above 50 stand as 50 in the table.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
fm.plot.predictions(t[test], model.predict(x[test]), left, label="price in 1000 USD")
fm.plot.residuals(t[test], model.predict(x[test]), right, label="price in 1000 USD");
