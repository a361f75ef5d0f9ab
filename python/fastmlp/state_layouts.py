"""THE TABLE of what torch's state dicts of each kind of optimizer hold beside arrays."""

from typing import NamedTuple


class StateLayout(NamedTuple):
    """How the states and the groups of one kind look."""

    numbers: tuple[str, ...] = ("step",)  # in the state of each parameter
    gathered: int = 1  # how many of its arrays, the first ones, are there after any step
    at_once: bool = False  # whether they are there before the first one
    decoupled: bool | None = None  # what a group says of its weight decay; None: nothing


LAYOUTS = {
    "sgd": StateLayout(numbers=()),
    "lion": StateLayout(numbers=()),
    "rmsprop": StateLayout(),
    "adagrad": StateLayout(at_once=True),
    "adam": StateLayout(gathered=2, decoupled=False),
    "adamw": StateLayout(gathered=2, decoupled=True),
    "nadam": StateLayout(numbers=("step", "mu_product"), gathered=2),
}
