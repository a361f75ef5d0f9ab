"""A kernel in figures, and what of them is a defect."""

from dataclasses import asdict, dataclass
from typing import Any

from sass.flight import FEW, along, of_loop
from sass.flow import Flow, Loop
from sass.listing import BULK_LOADS, BYTES, GLOBAL_LOADS, GLOBAL_STORES, MATH, Instruction, Kernel

MOST_BYTES = 128 * 1024  # of code: the multiprocessor's own cache of instructions on Hopper
LEAST_PRODUCTS = 16  # multiply-adds in a turn of a product's loop
MOST_TRIPS = 6  # one after the other in straight code behind the main loop


@dataclass(frozen=True)
class Part:
    """A loop, or the code behind one."""

    instructions: int = 0
    loads: int = 0  # instructions that load from global memory
    stores: int = 0
    in_flight: int = 0  # at most, when a load's result is waited for
    trips: int = 0  # waits for memory in a turn, or on the way to the end
    barriers: int = 0
    calls: int = 0
    math: tuple[tuple[str, int], ...] = ()  # FFMA, HMMA, ...: how many


@dataclass(frozen=True)
class Figures:
    name: str
    arch: str
    registers: int
    stack: int
    shared: int  # bytes, without those that a launch asks for
    local: int  # loads and stores of local memory
    instructions: int
    barriers: int
    main: Part
    epilogue: Part
    defects: dict[str, str]  # its name: what was seen

    @property
    def code_bytes(self) -> int:
        return BYTES * self.instructions

    def stored(self) -> dict[str, Any]:
        return asdict(self)


def _count(code: list[Instruction], *names: str) -> int:
    return sum(i.name in names for i in code)


def _part(code: list[Instruction], in_flight: int, trips: int) -> Part:
    return Part(
        instructions=len(code),
        loads=_count(code, *GLOBAL_LOADS, *BULK_LOADS),
        stores=_count(code, *GLOBAL_STORES),
        in_flight=in_flight,
        trips=trips,
        barriers=_count(code, "BAR"),
        calls=_count(code, "CALL"),
        math=tuple((name, n) for name in MATH if (n := _count(code, name))),
    )


def _loads(flow: Flow, blocks: set[int]) -> int:
    return _count(flow.instructions(blocks), *GLOBAL_LOADS, *BULK_LOADS)


def _main(flow: Flow) -> Loop | None:
    """The loop with the most products among those that store nothing, or else the most loads.

    Where its terms lie in shared memory, the loop around it that brings them there.
    """

    def stores(loop: Loop) -> bool:
        return _count(flow.instructions(loop.blocks), *GLOBAL_STORES) > 0

    def weight(loop: Loop) -> tuple[bool, int, int]:
        own = loop.own
        products = _count(flow.instructions(own), *MATH)
        return not stores(loop) and products > 0, products, _loads(flow, own)

    inside = [loop for loop in flow.loops if loop.header in flow.kernel]
    if not inside:
        return None
    main = max(inside, key=weight)
    around: Loop | None = main
    while around is not None and not _loads(flow, around.blocks):
        around = around.outer
    return main if around is None or (around is not main and stores(around)) else around


def _behind(flow: Flow, main: Loop) -> set[int]:
    """The blocks from there to the kernel's end, or to the next turn of a loop around it."""
    around: set[int] = set()
    outer = main.outer
    while outer:
        around.add(outer.header)
        outer = outer.outer
    leaving = {b for block in main.blocks for b in flow.after[block]} - main.blocks
    return flow.reached(leaving, main.blocks | around)


def _serial_loops(flow: Flow) -> list[str]:
    """Innermost loops that load a value, wait for it and load the next."""
    found = []
    for loop in flow.loops:
        if loop.inner or loop.header not in flow.kernel:
            continue
        state = of_loop(flow, loop)
        if state.alone > 1 and state.most == 1:
            place = flow.blocks[loop.header][0].address
            found.append(f"{state.alone} at {place:#x}")
    return found


def _serial_epilogue(flow: Flow, behind: set[int]) -> list[str]:
    """Where results are stored after a wait for a few loads, again and again."""
    found, within = [], set()
    for loop in flow.loops:
        if not loop.blocks <= behind:
            continue
        within |= loop.blocks
        code = flow.instructions(loop.own)
        state = of_loop(flow, loop)
        if state.thin and _count(code, *GLOBAL_STORES):
            place = flow.blocks[loop.header][0].address
            found.append(f"in a loop at {place:#x}: {state.thin} a turn, {state.most} in flight")
    state = along(flow, behind - within)
    if state.thin >= MOST_TRIPS and _count(flow.instructions(behind - within), *GLOBAL_STORES):
        found.append(f"{state.thin} with fewer than {FEW} in flight")
    return found


def _multiplies(main: Part) -> bool:
    """Whether that loop is a product's, which stores nothing."""
    return not main.stores and any(
        n >= LEAST_PRODUCTS or name not in ("FFMA", "DFMA") for name, n in main.math
    )


def figures(kernel: Kernel) -> Figures:
    """All that is said of a kernel."""
    flow = Flow(kernel.instructions)
    code = kernel.instructions
    main = _main(flow)
    used = kernel.resources
    local = _count(code, "LDL", "STL")
    calls = 0
    first = behind = None
    if main:
        turn = of_loop(flow, main)
        first = _part(flow.instructions(main.blocks), turn.most, turn.trips)
        rest = _behind(flow, main)
        way = along(flow, rest)
        turns = [of_loop(flow, loop) for loop in flow.loops if loop.blocks <= rest]
        most = max([way.most, *(turn.most for turn in turns)])
        behind = _part(flow.instructions(rest), most, way.trips)
        hot = main
        while hot.outer:
            hot = hot.outer
        calls = _count(flow.instructions(hot.blocks), "CALL")
    defects: dict[str, str] = {}
    if used.get("STACK", 0) or used.get("LOCAL", 0) or local:
        defects["local memory"] = f"{used.get('STACK', 0)} bytes of stack, {local} accesses"
    if serial := _serial_loops(flow):
        defects["serial loads"] = "loads one by one in a turn: " + ", ".join(serial)
    if main and first and _multiplies(first) and (serial := _serial_epilogue(flow, rest)):
        defects["serial epilogue"] = "trips to memory, " + "; ".join(serial)
    if calls:
        defects["calls in loops"] = f"{calls} calls of slow paths"
    if BYTES * len(code) > MOST_BYTES:
        defects["long code"] = f"{BYTES * len(code) // 1024} KB, over {MOST_BYTES // 1024}"
    return Figures(
        name=kernel.name,
        arch=kernel.arch,
        registers=used.get("REG", 0),
        stack=used.get("STACK", 0),
        shared=used.get("SHARED", 0),
        local=local,
        instructions=len(code),
        barriers=_count(code, "BAR"),
        main=first or Part(),
        epilogue=behind or Part(),
        defects=defects,
    )
