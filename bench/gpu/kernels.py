"""What a step costs on an H200, kernel by kernel, as the kernels of commit 3d2a187 are made.

A kernel begins, goes to memory and back some times, one after the other, and multiplies or moves
bytes in between. Rates are the chip's, or measured on 2026-11-27 where it says so; other constants
are ESTIMATES, from counts of instructions and the sums of that run. Microseconds, bytes, clocks.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

GHZ = 1.98
MULTIPROCESSORS = 132
FFMA = 128  # a clock of a multiprocessor: 66.9 TFLOP/s in all
HBM = 4.0e6  # bytes a microsecond, measured: 8192-8192-8192 b1
L2 = 5.5e6  # to all multiprocessors
GAP = 1.1  # between two kernels of a graph: estimate
UPLOAD = 0.6  # a step's share of the copy before each graph of 8 steps: estimate
BEGIN = 1.2  # a kernel's begin and end: estimate
TRIP = 0.55  # to L2 and back, with what is done between: estimate
LOAD = 0.2  # from L2, where one waits for the other and for nothing else: estimate
MEETING = 1.5  # of blocks that share a sum: fences of all threads, a counter, the parts: estimate
STAGE_CLOCKS = 1100  # of a stage of the main loop, at least: a load, its store, a barrier: estimate
# Of a tile's side: the share of FFMA's rate that its main loop reaches. Estimates.
EFFICIENCY = {128: 0.55, 64: 0.55, 32: 0.5}
COLUMN_SUMS = 0.29e6  # bytes a microsecond: measured (cold) at 512 x 4096
MOVING = 1.5e6  # of gathers and pointwise kernels: measured (cold) at 512 x 4096
TENSOR = 520e6  # FLOP a microsecond of CUTLASS's products in bfloat16: measured (cold)
UPDATING = 2.6e6  # bytes a microsecond of those that update weights: measured (cold)
HOST_CALL = 31.0  # of a prediction from Python: measured


@dataclass(frozen=True)
class Kernel:
    name: str
    us: float  # with what lies warm in L2
    blocks: int = 1


@dataclass(frozen=True)
class Plan:
    """As cpp/cuda/affine/affine_strategy.h chooses."""

    side: int
    tiles: int
    parts: int
    part: int
    terms: int  # of a stage

    @property
    def stages(self) -> int:
        return ceil(self.part / self.terms)


def plan(rows: int, columns: int, depth: int, tensor: bool = False) -> Plan:
    """The tiles of a product of float32, or of tf32 or bfloat16 in `tensor` cores."""
    best, least = Plan(32, 0, 1, depth, 64), float("inf")
    for side, efficiency in ((128, 0.85), (64, 0.75), (32, 0.6)):
        piece = 2 * 256 * 16 // 4 // side
        tiles = ceil(columns / side) * ceil(rows / side)
        rate = (1024 if tensor else 128) * efficiency
        step = max(2 * side * piece * 4 / 24, side * side * piece / rate, 700)
        for wanted in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32):
            part = ceil(depth / (wanted * 8)) * 8
            parts = ceil(depth / part)
            if parts > 1 and (
                part < piece or tiles > 1024 or tiles * parts * side * side * 4 > 8 << 20
            ):
                break
            time = (part / piece * step + 1500) * ceil(tiles * parts / MULTIPROCESSORS)
            if parts > 1:
                time += 1200 + parts * side * side * 4 / 24
            if time < least:
                best, least = Plan(side, tiles, parts, part, piece), time
    return best


def product(
    name: str, rows: int, columns: int, depth: int, tensor: bool, update: int = 0
) -> Kernel:
    """`update`: the rows of dz whose columns are summed, too, where the result is a gradient's."""
    p = plan(rows, columns, depth, tensor)
    multiplying = 0 if tensor else p.side**2 * p.terms / (FFMA * EFFICIENCY[p.side])
    stage = max(STAGE_CLOCKS, multiplying) / GHZ / 1e3
    blocks = p.tiles * p.parts
    at_once = 1 if p.side == 128 else 2  # blocks of a multiprocessor that hide one another's waits
    waves = max(
        1.0, blocks / MULTIPROCESSORS / (at_once if multiplying * GHZ < STAGE_CLOCKS else 1)
    )
    quads = p.side**2 // 4 // 256  # of each thread, behind one another
    trips = quads if update else max(1, quads // 4)
    us = BEGIN + waves * (TRIP + p.stages * stage + trips * TRIP)
    if p.parts > 1:
        us += MEETING + (quads - 1) * TRIP
    sums = ceil(columns / 32) if update else 0
    if update:  # in blocks beside the others: 256 threads for 32 columns, or fewer, load one by one
        across = min(32, 1 << (columns - 1).bit_length())
        us = max(us, BEGIN + 2 * TRIP + update * across / 256 * LOAD)
    return Kernel(name, us, blocks + sums)


def gather(rows: int, columns: int) -> Kernel:
    return Kernel("gather", BEGIN + 2 * TRIP + 2 * 4 * rows * columns / MOVING)


def loss(rows: int, columns: int) -> Kernel:
    return Kernel("loss", BEGIN + 4 * TRIP + 4 * 4 * rows * columns / MOVING)


def step(sizes: tuple[int, ...], batch: int, precision: str) -> list[Kernel]:
    """The kernels of a training step that is recorded in a graph."""
    tensor = precision != "float32"
    layers = list(pairwise(sizes))
    if precision == "bf16" and min(sizes) >= 1024:
        return _large_bf16(layers, batch)
    found = [gather(batch, sizes[0])]
    found += [product(f"forward {i}", batch, b, a, tensor) for i, (a, b) in enumerate(layers)]
    found.append(loss(batch, sizes[-1]))
    for i, (a, b) in reversed(list(enumerate(layers))):
        if i:
            found.append(product(f"dx {i}", batch, a, b, tensor))
        found.append(product(f"dW {i}", a, b, batch, tensor, batch))
    return found


def _large_bf16(layers: list[tuple[int, int]], batch: int) -> list[Kernel]:
    def rounding(name: str, values: int) -> Kernel:
        return Kernel(name, BEGIN + 6 * values / MOVING)

    found = [gather(batch, layers[0][0]), rounding("round x", batch * layers[0][0])]
    for i, (a, b) in enumerate(layers):
        found.append(Kernel(f"forward {i}", 2 * batch * a * b / TENSOR))
    last = layers[-1][1]
    found += [loss(batch, last), Kernel("sum of losses", 3.5), rounding("round dz", batch * last)]
    for i, (a, b) in reversed(list(enumerate(layers))):
        if i:
            found.append(Kernel(f"dx {i}", 2 * batch * a * b / TENSOR))
        found.append(Kernel(f"dW {i}", (4 + 4 + 2) * a * b / UPDATING))
        found.append(Kernel(f"db {i}", 4 * batch * b / COLUMN_SUMS))
    # W is rounded again at each graph of 8 steps
    copies = sum(6 * a * b / 4.0e6 for a, b in layers) / 8
    return [*found, Kernel("rounding W, a step's share", copies)]


def training(sizes: tuple[int, ...], batch: int, precision: str) -> float:
    """Microseconds a step."""
    kernels = step(sizes, batch, precision)
    return sum(k.us for k in kernels) + GAP * len(kernels) + UPLOAD


def prediction(sizes: tuple[int, ...]) -> float:
    """Microseconds a call of one row, where calls do not wait for one another."""
    on_device = sum(BEGIN + 2 * TRIP + 4 * a * b / HBM for a, b in pairwise(sizes))
    return max(HOST_CALL, on_device)
