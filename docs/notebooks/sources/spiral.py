# %% [markdown]
# # Three spirals
#
# Three arms of 100 points each, wound around one another, and a network 2-10-3 that is trained by
# mini-batches of 30.

# %%
import fastmlp as fm

x, t = fm.datasets.spiral()
x.shape, t.shape

# %% [markdown]
# The targets are one-hot: a row of three numbers, of which one is 1. The loss is softmax and
# cross-entropy in one, which is what a `Trainer` has unless it is told otherwise. A callback
# remembers the gradient's norm after each epoch.

# %%
model = fm.MLP([2, 10, 3], activation="sigmoid", seed=1)
trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1.0))
norms = fm.callbacks.GradientNorm()
history = trainer.fit(x, t, max_epoch=300, batch_size=30, callbacks=norms, seed=1, progress=False)
history

# %% [markdown]
# The loss rests for a while, until the network finds the turns of the arms.

# %%
fm.plot.loss(history);

# %%
right = model.predict(x).argmax(axis=1) == t.argmax(axis=1)
print(f"{right.mean():.1%} of the points are right")

# %% [markdown]
# The colours are what the network would say of every point of the plane.

# %%
fm.plot.decision_regions(model, x, t);

# %% [markdown]
# The gradient of a mini-batch is a rough guess, and it stays rough: its norm, drawn after each
# epoch's last step, does not fall as smoothly as the loss.

# %%
fm.plot.gradient_norm(norms);

# %% [markdown]
# Much of what the hidden units give is close to 0 or to 1, where a sigmoid is flat and learns
# slowly.

# %%
fm.plot.activations(model, x);
