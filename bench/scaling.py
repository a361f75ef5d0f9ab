"""How far training scales with cores, on paper: python bench/scaling.py [--machine NAME]

A model, not a measurement. Each product is cut as cpp/cpu/gemm/threads.h cuts it; a thread's time
is the longest of its multiply-adds, of what it reads and writes through the last cache, and of what
its socket moves from and to memory, after the packing of its part of A; and each product costs a
fork and a join. Parameters of a machine are below; the time of a cache line there and back was
measured on two cores: 90 ns within a socket, 390 ns between two.
"""

import argparse
import itertools
from dataclasses import dataclass
from math import ceil

MR, NR = 12, 32  # of AVX-512
WORTH_A_THREAD = 48 * 1024  # multiply-adds
FLOAT = 4


@dataclass(frozen=True)
class Machine:
    cores: int  # of a socket
    sockets: int
    gflops: float  # of a core, at the share of its peak that products reach
    core_l3: float  # GB/s that a core reads or writes in the last cache
    socket_l3: float  # GB/s of all cores together
    socket_memory: float  # GB/s
    l3: float  # bytes of a socket
    packing: float = 8.0  # GB/s at which a core packs
    line: float = 0.09  # us a cache line takes there and back
    far_line: float = 0.39


MACHINES = {
    "server": Machine(32, 2, 150, 12, 350, 280, 60e6),
    "desktop": Machine(16, 1, 180, 30, 500, 70, 64e6),
    "laptop": Machine(8, 1, 100, 25, 200, 60, 16e6),
}
WORKLOADS = {
    "cifar2, b 64": (64, (3072, 512, 2)),
    "784-512-512-10, b 128": (128, (784, 512, 512, 10)),
    "100-256x3-1, b 256": (256, (100, 256, 256, 256, 1)),
    "2048-4096x2-1024, b 512": (512, (2048, 4096, 4096, 1024)),
}


def grid(m: int, n: int, k: int, columns: bool, workers: int) -> tuple[int, int]:
    """Into how many parts M and N are split: as choose_grid in cpp/cpu/gemm/threads.h."""
    useful = min(workers, m * n * k // WORTH_A_THREAD)
    if columns and n >= 2 * useful * NR:
        return 1, max(useful, 1)

    def cost(parts: int) -> float:
        others = useful // parts
        tiles = ceil(ceil(m / MR) / parts) * MR * ceil(ceil(n / NR) / others) * NR
        return tiles + ceil(m / parts) + ceil(n / others)

    best = min(range(1, useful + 1), key=cost, default=1)
    return best, max(useful // best, 1)


def fork_and_join(machine: Machine, threads: int) -> float:
    """In us: the job's line travels to each worker, and each worker's count comes back."""
    far = max(0, threads - machine.cores)
    return (threads - 1 - far) * machine.line + far * machine.far_line if threads > 1 else 0.0


def product(
    machine: Machine, m: int, n: int, k: int, *, weight: int, columns: bool, threads: int
) -> dict[str, float]:
    """The parts of one product's time in us; `weight` bytes of W or dW's parameters move."""
    rows, across = grid(m, n, k, columns, threads)
    used = rows * across
    own_m = ceil(ceil(m / rows) / MR) * MR if rows > 1 else m
    own_n = ceil(ceil(n / across) / NR) * NR
    used_sockets = min(machine.sockets, ceil(used / machine.cores))
    moved = weight * (rows if columns else 1) / used + FLOAT * own_m * (own_n + k)
    l3 = moved / min(machine.core_l3, machine.socket_l3 * used_sockets / used)
    outside = weight if weight > machine.l3 * used_sockets else 0
    memory = outside / (machine.socket_memory * used_sockets)
    compute = 2e-3 * own_m * own_n * k / machine.gflops
    return {
        "compute": compute,
        "caches": max(0.0, max(l3, memory) * 1e-3 - compute),
        "packing": FLOAT * own_m * k / machine.packing * 1e-3,
        "fork": fork_and_join(machine, used),
    }


def step(machine: Machine, batch: int, sizes: tuple[int, ...], threads: int) -> dict[str, float]:
    """The parts of a training step's time, in us."""
    total = dict.fromkeys(("compute", "caches", "packing", "fork"), 0.0)
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight = FLOAT * inputs * outputs
        products = [
            product(machine, batch, outputs, inputs, weight=weight, columns=True, threads=threads),
            product(
                machine, inputs, outputs, batch, weight=2 * weight, columns=True, threads=threads
            ),
        ]
        if layer:
            products.append(
                product(
                    machine, batch, inputs, outputs, weight=weight, columns=False, threads=threads
                )
            )
        for parts in products:
            for name, value in parts.items():
                total[name] += value
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machine", choices=MACHINES, default="server")
    machine = MACHINES[parser.parse_args().machine]
    print(machine)
    counts = [t for t in (1, 2, 4, 8, 16, 32, 48, 64) if t <= machine.cores * machine.sockets]
    for name, (batch, sizes) in WORKLOADS.items():
        print(f"\n{name}\nthreads  us a step  speed-up  of which compute caches packing fork")
        alone = sum(step(machine, batch, sizes, 1).values())
        for threads in counts:
            parts = step(machine, batch, sizes, threads)
            total = sum(parts.values())
            shares = "  ".join(f"{value / total:6.0%}" for value in parts.values())
            print(f"{threads:7}  {total:9.0f}  {alone / total:7.1f}x  {shares}")


if __name__ == "__main__":
    main()
