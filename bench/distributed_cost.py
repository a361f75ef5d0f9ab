"""What a step by many processes costs, on paper: python bench/distributed_cost.py

A model, not a measurement. Each process takes a batch of its own. Layer by layer the backward pass
completes gradients, and a network adds up one bucket of them after the other: by a ring, in which
each process sends 2 (n - 1) / n of the bytes in 2 (n - 1) messages, one after the other, or by
trees, with as many bytes and 2 log2 n messages. The step then waits for the last bucket and for one
small message, and the update reads and writes what it does in memory.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import log2

FLOAT = 4
BUCKET = 25 << 20


@dataclass(frozen=True)
class Machine:
    """One process and its connection to the others."""

    flops: float  # a second, at the share of its peak that products reach
    memory: float  # bytes a second
    bandwidth: float  # bytes a second that a process sends, while it receives as many
    latency: float  # seconds of a message
    trees: bool  # instead of a ring
    batch: int


SIZES = (2048, 4096, 4096, 1024)
MACHINES = {
    "server": Machine(3e12, 200e9, 12.5e9, 20e-6, False, 4096),
    "GPU": Machine(40e12, 4e12, 50e9, 10e-6, True, 4096),
}
RANKS = (2, 8, 64, 1024)


def all_reduce(machine: Machine, ranks: int, size: float) -> float:
    """Seconds to add up so many bytes of each process."""
    if ranks == 1:
        return 0.0
    messages = 2 * log2(ranks) if machine.trees else 2 * (ranks - 1)
    return 2 * (ranks - 1) / ranks * size / machine.bandwidth + messages * machine.latency


def buckets(sizes: tuple[int, ...], bucket: int) -> list[tuple[float, int]]:
    """Bytes of each, and the layer that completes it, in the order of the backward pass.

    Weights of a quarter of a bucket or more go alone, and the rest is sent together at the end.
    """
    found, rest = [], 0.0
    for layer in reversed(range(len(sizes) - 1)):
        weight = FLOAT * sizes[layer] * sizes[layer + 1]
        rest += FLOAT * sizes[layer + 1]
        if 4 * weight >= bucket:
            found.append((float(weight), layer))
        else:
            rest += weight
    return [*found, (rest, 0)]


def step(machine: Machine, ranks: int, sizes: tuple[int, ...] = SIZES) -> dict[str, float]:
    """Seconds of a step and of its parts.

    Returns
    -------
    dict
        "alone": of a step by one process. "step": of all processes together. "network": how long
        the network is at work. "hidden": the share of that during the backward pass.
    """
    layers = list(pairwise(sizes))
    product = [2 * machine.batch * a * b / machine.flops for a, b in layers]
    forward = sum(product)
    done, now = [0.0] * len(layers), 0.0  # when a layer's gradient is there
    for layer in reversed(range(len(layers))):
        now += product[layer] * (2 if layer > 0 else 1)  # of weights, and of the layer's input
        done[layer] = now
    parameters = FLOAT * sum(a * b + b for a, b in layers)
    update = 3 * parameters / machine.memory
    free = network = 0.0
    for size, layer in buckets(sizes, BUCKET):
        seconds = all_reduce(machine, ranks, size)
        free = max(free, done[layer]) + seconds
        network += seconds
    alone = forward + now + update
    waits = max(free - now, 0.0) + (2 * log2(ranks) * machine.latency if ranks > 1 else 0.0)
    hidden = 1 - min(waits / network, 1.0) if network else 1.0
    return {"alone": alone, "step": alone + waits, "network": network, "hidden": hidden}


def table() -> str:
    """In Markdown, as docs/howto/several-machines.md has it."""
    lines = [
        "| processes | server: ms a step | on the network | hidden | times one | GPU: ms a step |"
        " on the network | hidden | times one |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for ranks in (1, *RANKS):
        cells = [str(ranks)]
        for machine in MACHINES.values():
            found = step(machine, ranks)
            cells += [f"{1e3 * found['step']:.1f}", f"{1e3 * found['network']:.1f}"]
            cells += [f"{found['hidden']:.0%}" if ranks > 1 else "-"]
            cells += [f"{ranks * found['alone'] / found['step']:.4g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
