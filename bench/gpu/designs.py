"""What a step should cost on an H200 in the kernels that are being built: ESTIMATES, all of them.

Ways to a training step: a few kernels a step (any network of medium size); one persistent kernel
whose weights stay in shared memory (those that fit); rows in the lanes of a warp (tiny ones).
Rates are those of kernels.py; what is new rests on these, which nobody has measured yet.
"""

from itertools import pairwise

from gpu.kernels import BEGIN, FFMA, GHZ, HBM, L2, MULTIPROCESSORS, TRIP

GAP = 0.5  # between two kernels, of which the second begins before the first has ended
BLOCKS = 128  # of the persistent kernel: 16 clusters of 8
EXCHANGE = 0.8  # by flags over all blocks
REDUCTION = 0.9  # over the warps of a block and the blocks of a cluster
LOSS = 0.7  # softmax, loss and its gradient in each block
HEAD = 5.0  # last layer, loss, and that layer's gradients and update, in one kernel
SHARE = {"float32": 0.6, "tf32": 0.6, "bf16": 0.6}  # of the rate below, in tiles of 64 x 32
RESIDENT_SHARE = 0.75  # in the persistent kernel
RATE = {
    "float32": 1.0,
    "tf32": 2.0,
    "bf16": 4.0,
}  # in FFMA's rate, with operands loaded as they are
CLOCKS_PER_INSTRUCTION = 1.4  # of a warp alone on its scheduler
SCHEDULERS = 4 * MULTIPROCESSORS
HOST_CALL = 6.0  # of a prediction from Python
FFMA_LARGE = 0.84  # of FFMA's rate, in four stages
TENSOR_LARGE = 700e6  # FLOP a microsecond, bfloat16
TENSOR_TF32 = 300e6  # by mma.sync


def _us(multiply_adds: float, share: float, precision: str, blocks: int = MULTIPROCESSORS) -> float:
    return multiply_adds / (blocks * FFMA * GHZ * 1e3 * share * RATE[precision])


def few_kernels(sizes: tuple[int, ...], batch: int, precision: str) -> float:
    """The gather in the first product, the head (built as two kernels), all dW in one launch."""
    layers = list(pairwise(sizes))
    inner = layers[:-1]

    def product(multiply_adds: float) -> float:
        return BEGIN + 2 * TRIP + _us(multiply_adds, SHARE[precision], precision)

    forward = [product(batch * a * b) for a, b in inner]
    backward = [product(batch * a * b) for a, b in inner[1:]]
    gradients = product(sum(batch * a * b for a, b in inner))
    kernels = [*forward, HEAD, *backward, gradients]
    return sum(kernels) + GAP * len(kernels)


def persistent(sizes: tuple[int, ...], batch: int, precision: str) -> float:
    """Weights and states in shared memory; a gradient is multiplied while others are exchanged."""
    inner = list(pairwise(sizes))[:-1]
    products = [_us(batch * a * b, RESIDENT_SHARE, precision, BLOCKS) for a, b in inner]
    forward = sum(us + REDUCTION for us in products) + EXCHANGE * (len(inner) - 1)
    head = EXCHANGE + 0.2 + LOSS
    backward = sum(max(EXCHANGE + 0.4, us) + us + REDUCTION for us in products[1:])
    return forward + head + backward + products[0] + 0.3  # and the last gather in a cluster


# Of the kernel in cpp/cuda/medium, which has more exchanges (1.16 us each) and adds up slices of
# each product (0.65 us); reckoned phase by phase, for float32.
PERSISTENT_AS_BUILT = {
    (3072, 512, 2): 16.8,
    (784, 512, 512, 10): 28.0,
    (100, 256, 256, 256, 1): 34.4,
}


def fits(sizes: tuple[int, ...], batch: int, states: int) -> bool:
    """Whether the persistent kernel takes it."""
    parameters = sum(a * b + b for a, b in pairwise(sizes))
    return batch <= 256 and sizes[-1] <= 64 and parameters * 4 * (2 + states) <= 15_000_000


def _instructions(sizes: tuple[int, ...]) -> float:
    """Of a step's loop: a line through the prototype's 777, 375 and 278 (2-10-3, 2-4-2, 2-2-2)."""
    return 160 + 9.8 * sum(a * b + b for a, b in pairwise(sizes))


def lanes(sizes: tuple[int, ...], batch: int) -> float:
    """Rows in lanes; networks of more hidden layers have units in lanes, a few rows of them."""
    if len(sizes) == 3:
        rows = -(-batch // 128) if batch > 32 else 1  # of a lane, in up to four warps
        clocks = _instructions(sizes) * (0.6 + 0.4 * rows) * CLOCKS_PER_INSTRUCTION + 150
        return (clocks + (120 if batch > 32 else 0)) / GHZ / 1e3
    width = max(sizes[1:])  # a shuffle and two products for each unit, forward, back, and for W
    clocks = 3 * (len(sizes) - 1) * width * 12 * max(1.0, batch / 128)
    return clocks / GHZ / 1e3


def ensemble(sizes: tuple[int, ...], batch: int, models: int) -> float:
    """All networks' steps: what the schedulers have to issue, or the time of a warp alone."""
    a_warp = max(1, 32 // batch)  # networks
    issuing = models / a_warp / SCHEDULERS * _instructions(sizes) / GHZ / 1e3
    return max(issuing, lanes(sizes, batch))


def large(sizes: tuple[int, ...], batch: int, precision: str) -> float:
    """Products at the rates above; gradients' kernels at that of memory, where that is longer."""
    found = 0.0
    for i, (a, b) in enumerate(pairwise(sizes)):
        flop = 2 * batch * a * b
        us = {
            "float32": flop / 2 / (MULTIPROCESSORS * FFMA * GHZ * 1e3 * FFMA_LARGE),
            "tf32": flop / TENSOR_TF32,
            "bf16": flop / TENSOR_LARGE,
        }[precision]
        weights = (10 if precision == "bf16" else 8) * a * b / HBM
        found += us * (2 if i else 1) + max(us, weights) + 3 * GAP
    return found + 3 * 4 * batch * (sizes[0] + sizes[-1]) / L2 + 3 * BEGIN


def prediction(sizes: tuple[int, ...]) -> float:
    """One kernel for the whole network, calls that overlap."""
    weights = sum(4 * a * b for a, b in pairwise(sizes))
    rate = L2 if weights < 30e6 else HBM
    return max(HOST_CALL, BEGIN + 3 * TRIP + weights / rate)
