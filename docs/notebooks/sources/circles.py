# %% [markdown]
# # Two circles
#
# A ring of points around a cloud of others, and a network with four hidden units that tells them
# apart. The whole training takes a few milliseconds.

# %%
import fastmlp as fm

x, t = fm.datasets.circles(500, noise=0.2, factor=0.3, seed=123)
x.shape, t.shape

# %% [markdown]
# `x` has a row for each point, `t` a 0 for the outer ring and a 1 for the inner one. No straight
# line separates them, so a hidden layer is needed. A model is a class with layers, as in PyTorch.


# %%
class Classifier(fm.Module):
    def __init__(self):
        super().__init__()
        self.hidden = fm.Linear(2, 4)
        self.output = fm.Linear(4, 1)
        self.sigmoid = fm.Sigmoid()

    def forward(self, x):
        return self.sigmoid(self.output(self.sigmoid(self.hidden(x))))


fm.manual_seed(13)
model = Classifier()
model

# %% [markdown]
# A `Trainer` brings together the model, an optimizer and a loss. All 500 rows make one batch, so an
# epoch is one step. The last fifth of the rows is held out.

# %%
trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.BCELoss())
history = trainer.fit(
    x,
    t,
    max_epoch=1000,
    batch_size=None,
    validation_split=0.2,
    metrics="accuracy",
    progress=False,
)
history

# %%
print(f"right: {history.metrics['accuracy'][-1]:.0%} of the rows that it has not seen")

# %% [markdown]
# The losses of both parts fall together: the network is too small to learn rows by heart.

# %%
fm.plot.loss(history, metrics=False);

# %% [markdown]
# The colour is the probability that the network gives the inner ring. The solid line is where it is
# one half, the dotted ones are at a quarter and three quarters.

# %%
fm.plot.class_probabilities(model, x, t, class_names=["outer", "inner"]);

# %% [markdown]
# Each hidden unit is a smooth step across the plane. The drawing shows how the output puts the four
# steps together: thick lines are large weights, dashed ones are negative.

# %%
fm.plot.network(model, output_names=["inner"]);
