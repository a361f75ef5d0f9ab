"""The sweep's shapes as data, and what its times say: ratios, cliffs, choices of strategy."""

from itertools import pairwise
from typing import Any

from shapes import Prediction, Training, Workload

WIDTHS = (1, 2, 3, 4, 8, 10, 16, 32, 64, 100, 128, 256, 512, 1024)
BATCHES = (1, 2, 3, 4, 8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 2048, 4096)
KINDS = ("training", "prediction")
CLIFF = 1.5
SLOWER = 1.1  # a choice within this of the better strategy counts as right: figures are noisy

Shape = dict[str, Any]  # kind, width, batch, flops, us (by entry), fastest_peer, ratio, ...


def workload(kind: str, width: int, batch: int) -> Workload:
    """A network of four equal widths; its batches are short enough for each other's caches."""
    name, sizes = f"{kind} {width}x{batch}", (width,) * 4
    if kind == "prediction":
        return Prediction(name, sizes, "tanh", batch)
    batches = 8 if batch * width <= 1 << 16 else 2
    return Training(
        name, "sweep", sizes, "tanh", "linear", "mse", "sgd", lr=min(2.0, 0.1 * width**0.5),
        rows=batches * batch, batch=batch, data="regression",
        length=10_000 // batches * batches, check=batches, tolerance=5e-4,
    )  # fmt: skip


def verdict(shape: Shape) -> Shape:
    """The fastest peer and strategy of a shape that has been measured."""
    us, found = shape["us"], {}
    peers = {name: t for name, t in us.items() if not name.startswith("fastmlp")}
    if peers:
        found["fastest_peer"] = min(peers, key=peers.get)
        found["ratio"] = peers[found["fastest_peer"]] / us["fastmlp"]
    forced = {name: us[f"fastmlp-{name}"] for name in ("lanes", "dense") if f"fastmlp-{name}" in us}
    if forced:
        found["better_strategy"] = min(forced, key=forced.get)
        found["choice_loss"] = us["fastmlp"] / min(forced.values())
    return shape | found


def wrong_choices(shapes: list[Shape]) -> list[Shape]:
    """Where the other strategy is faster, by the forced figures of both."""
    wrong = []
    for shape in shapes:
        chosen, better = shape["strategy"], shape.get("better_strategy")
        if better is None or chosen == better:
            continue
        us = shape["us"]
        if us.get(f"fastmlp-{chosen}", us["fastmlp"]) > SLOWER * us[f"fastmlp-{better}"]:
            wrong.append(shape)
    return wrong


def slower_than_peers(shapes: list[Shape]) -> list[Shape]:
    return sorted((s for s in shapes if s.get("ratio", 1) < 1), key=lambda s: s["ratio"])


def cliffs(shapes: list[Shape], entry: str = "fastmlp") -> list[tuple[float, Shape, Shape]]:
    """Steps to a neighbour with more work: (excess, from, to), the excess being largest first.

    It is how much more the time grows than the work does. Work that grows while the time falls is
    a cliff too, seen from the other side.
    """
    at = {(s["width"], s["batch"]): s for s in shapes}
    found = []
    for batch in BATCHES:
        found += _along([at.get((width, batch)) for width in WIDTHS], entry)
    for width in WIDTHS:
        found += _along([at.get((width, batch)) for batch in BATCHES], entry)
    return sorted(found, key=lambda cliff: -cliff[0])


def _along(line: list[Shape | None], entry: str) -> list[tuple[float, Shape, Shape]]:
    found = []
    for small, large in pairwise([shape for shape in line if shape]):
        time = large["us"][entry] / small["us"][entry]
        work = large["flops"] / small["flops"]
        found.append((max(time / work, 1 / time), small, large))
    return found
