"""Ready settings, and the parameters that a fit goes by."""

import inspect
from functools import cache
from math import inf
from types import SimpleNamespace
from typing import Any

# Of ordinary tables: columns on one scale, and what keeps a wide network from learning by heart. A
# rate that falls to nothing ends the training. Rows are held out, to find the best epoch, of tables
# with many alone ("auto").
PRESETS: dict[str, dict[str, Any]] = {
    "tabular": {
        "hidden_layer_sizes": (256, 256),
        "solver": "adamw",
        "alpha": 0.1,
        "batch_size": 64,
        "learning_rate": "cosine",
        "learning_rate_init": 0.002,
        "max_iter": 100,
        "early_stopping": "auto",
        "n_iter_no_change": inf,
        "batch_norm": True,
        "dropout": 0.3,
        "standardize": True,
        "standardize_target": True,
    }
}


MANY_ROWS = 10_000  # above which gradient boosting, too, holds out some with "auto"


def settings_of(mlp: Any, incremental: bool = False) -> SimpleNamespace:
    """An estimator's parameters; where they are the defaults, those of its preset, if it has any.

    `partial_fit` does not know how many epochs there will be: its rate stays, and it does not stop.
    """
    defaults = _defaults(mlp.__class__)
    settings = SimpleNamespace(**{name: getattr(mlp, name) for name in defaults})
    for name, value in PRESETS.get(settings.preset, {}).items():
        if incremental and name in ("learning_rate", "early_stopping"):
            continue
        if name in defaults and getattr(settings, name) == defaults[name]:
            setattr(settings, name, value)
    return settings


@cache
def _defaults(estimator: Any) -> dict[str, Any]:
    """The parameters and their defaults; a user's own class may take fewer, and set the others."""
    ours = next(base for base in estimator.__mro__ if base.__module__.startswith("fastmlp."))
    return {name: given.default for name, given in inspect.signature(ours).parameters.items()}
