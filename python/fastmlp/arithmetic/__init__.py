"""Arithmetic that is recorded: on outputs, losses, parameters, tracked inputs, and its own results.

So that losses are formulas, and are added and scaled, and one model's output is another's input::

    loss = ((model(x) - t) ** 2).mean() + 1e-3 * sum((p**2).sum() for p in model.parameters())
    score = critic(fm.cat([x, actor(x)], dim=1)).mean()

It costs what NumPy costs; ``loss_fn(model(x), t)`` stays native. Files: `tape` is the graph and
the backward pass, `formulas` the derivatives, `functions` and `places` what is recorded, with
torch's and NumPy's arguments, `compositions` formulas of these, `names` and `protocols` the ways
that lead there.
"""

from fastmlp.arithmetic import protocols
from fastmlp.arithmetic.functions import where
from fastmlp.arithmetic.places import cat, stack
from fastmlp.arithmetic.protocols import Arithmetic

__all__ = ["Arithmetic", "cat", "protocols", "stack", "where"]
