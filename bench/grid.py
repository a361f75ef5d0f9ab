"""The sweep's shapes as data, and what its times say: ratios, cliffs, choices of strategy."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from shapes import Prediction, Training, Workload

WIDTHS = (1, 2, 3, 4, 8, 10, 16, 32, 64, 100, 128, 256, 512, 1024)
BATCHES = (1, 2, 3, 4, 8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 2048, 4096)
KINDS = ("training", "prediction")
STRATEGIES = ("lanes", "dense")
CLIFF = 1.5
SLOWER = 1.1  # a choice within this of the better strategy counts as right: figures are noisy

Shape = dict[str, Any]  # kind, width, batch, flops, us (by entry), fastest_peer, ratio, ...


def workload(kind: str, width: int, batch: int) -> Workload:
    """A network of four equal widths; trained on eight batches or, where they are long, on two."""
    name, sizes = f"{kind} {width}x{batch}", (width,) * 4
    if kind == "prediction":
        return Prediction(name, sizes, "tanh", batch)
    batches = 8 if batch * width <= 1 << 16 else 2
    lr = min(2.0 if batch >= 16 else 0.5, 0.1 * width**0.5)  # fast, and yet stable
    return Training(
        name, "sweep", sizes, "tanh", "linear", "mse", "sgd", lr,
        rows=batches * batch, batch=batch, data="regression",
        length=10_000 // batches * batches, check=batches, tolerance=1e-4,
    )  # fmt: skip


def verdict(shape: Shape) -> Shape:
    """The shape with the fastest peer, the better strategy, and the ratios to them."""
    us, found = shape["us"], {}
    peers = {name: t for name, t in us.items() if not name.startswith("fastmlp")}
    if peers and "fastmlp" in us:
        found["fastest_peer"] = min(peers, key=peers.get)
        found["ratio"] = peers[found["fastest_peer"]] / us["fastmlp"]
    forced = {name: us[f"fastmlp-{name}"] for name in STRATEGIES if f"fastmlp-{name}" in us}
    if forced and "fastmlp" in us:
        chosen = shape["strategy"]  # measured twice, or once where forcing it was not worth a try
        forced[chosen] = min(us["fastmlp"], forced.get(chosen, us["fastmlp"]))
        found["better_strategy"] = min(forced, key=forced.get)
        found["choice_loss"] = forced[chosen] / min(forced.values())
    return shape | found


def wrong_choices(shapes: list[Shape]) -> list[Shape]:
    wrong = (s for s in shapes if s.get("choice_loss", 1) > SLOWER)
    return sorted(wrong, key=lambda s: -s["choice_loss"])


def slower_than_peers(shapes: list[Shape]) -> list[Shape]:
    return sorted((s for s in shapes if s.get("ratio", 1) < 1), key=lambda s: s["ratio"])


def cliffs(shapes: list[Shape]) -> list[tuple[float, Shape, Shape]]:
    """Steps to a neighbour with more work: (excess, from, to), the excess being largest first.

    It is how much more the time grows than the work does. Work that grows while the time falls is
    a cliff too, seen from the other side.
    """
    at = {(s["width"], s["batch"]): s for s in shapes if "fastmlp" in s["us"]}
    found = []
    for batch in BATCHES:
        found += _along([at.get((width, batch)) for width in WIDTHS])
    for width in WIDTHS:
        found += _along([at.get((width, batch)) for batch in BATCHES])
    return sorted(found, key=lambda cliff: -cliff[0])


def _along(line: list[Shape | None]) -> list[tuple[float, Shape, Shape]]:
    found = []
    for small, large in pairwise([shape for shape in line if shape]):
        time = large["us"]["fastmlp"] / small["us"]["fastmlp"]
        work = large["flops"] / small["flops"]
        found.append((max(time / work, 1 / time), small, large))
    return found


def read(path: Path) -> dict[str, Any]:
    """A stored sweep."""
    stored = json.loads(path.read_text())
    return stored | {"shapes": [verdict(shape) for shape in stored["shapes"]]}
