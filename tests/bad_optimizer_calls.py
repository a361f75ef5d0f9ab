"""More calls that must fail, as in bad_calls.py: parameter groups."""

from typing import Any

Call = tuple[Any, ...]

GROUPS: list[Call] = [
    ("SGD({'params': parameters})", TypeError, "params", "group"),
    ("SGD([{'params': parameters}, weight])", TypeError, "params", "both"),
    ("SGD([{'lr': 0.5}])", ValueError, r"param_groups\[0\]", "params", "lr"),
    ("SGD([{'params': []}, {'params': []}])", ValueError, "params", "none"),
    ("SGD([{'params': weight}, {'params': parameters}])", ValueError, "params", "twice"),
    ("SGD([{'params': np.zeros(3)}])", TypeError, "params", "parameters"),
    ("SGD([{'params': model}])", TypeError, "params", r"parameters\(\)"),
    ("SGD([{'params': weight, 'lr': -1}])", ValueError, r"\blr\b", "-1"),
    ("SGD([{'params': weight, 'learning_rate': 1}])", ValueError, "learning_rate", "mean lr"),
    ("SGD([{'params': weight, 'betas': (0, 0)}])", ValueError, "SGD", "betas"),
    ("SGD([{'params': weight, 'nesterov': True}])", ValueError, "nesterov", "momentum"),
    ("SGD([{'params': weight, 'name': 3}])", TypeError, "name", "3"),
    ("SGD([{'params': weight, 'initial_lr': None}])", TypeError, "initial_lr", "None"),
    ("Adam([{'params': weight, 'betas': (0.9, 1)}])", ValueError, r"betas\[1\]", "1"),
    (
        "SGD([{'params': weight}, {'params': Parameter(np.zeros(3))}])",
        TypeError,
        "params",
        "float32",
        "float64",
    ),
    ("trainer.optimizer.add_param_group(parameters)", TypeError, "param_group", "mapping"),
    ("trainer.optimizer.add_param_group({'params': weight})", ValueError, "params", "twice"),
    ("trainer.optimizer.add_param_group({'lr': 0.5})", ValueError, "params", "lr"),
    (
        "trainer.optimizer.add_param_group({'params': square.weight, 'lr': 'x'})",
        TypeError,
        r"\blr\b",
        "'x'",
    ),
    ("trainer.optimizer.param_groups[0]['lr'] = -1", ValueError, r"\blr\b", "-1"),
    ("trainer.optimizer.param_groups[0]['rate'] = 1", KeyError, "rate"),
    ("trainer.optimizer.param_groups[0]['initial_lr'] = 'x'", TypeError, "initial_lr", "'x'"),
    (
        "trainer.optimizer.param_groups[0].update(lr=0.7, momentum=-1)",
        ValueError,
        "momentum",
        "-1",
    ),
    ("trainer.optimizer.param_groups[0]['params'] = [weight]", TypeError, "add_param_group"),
    ("trainer.optimizer.param_groups.append({'params': weight})", TypeError, "add_param_group"),
]

TABLE = GROUPS
