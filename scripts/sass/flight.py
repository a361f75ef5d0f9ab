"""How many loads from global memory are under way when their first result is waited for.

A **trip** is a wait for a load that was issued after the wait before: the time to memory and
back, in which nothing else of this thread happens. The more loads are in flight then, the more a
trip brings. Where code loads 16 bytes at once, what it loads by less is mostly at ragged edges,
and is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sass.flow import Flow, Loop
from sass.listing import Instruction

TURNS = 8  # more than stages that copies are ahead
FEW = 4  # of so many loads or more, their issue hides a part of a trip


@dataclass
class State:
    """Along one way through the blocks."""

    words: int = 1  # loads of fewer are left out
    trips: int = 0
    thin: int = 0  # of them, those with fewer than FEW loads in flight
    alone: int = 0  # of them, those with one load in flight
    most: int = 0  # loads in flight at a wait
    loads: list[tuple[frozenset[int], int]] = field(
        default_factory=list
    )  # registers, trips when issued
    open_copies: int = 0  # asynchronous ones that belong to no group yet
    groups: list[tuple[int, int]] = field(default_factory=list)  # copies, trips when issued

    def copy(self) -> "State":
        return State(
            self.words, self.trips, self.thin, self.alone, self.most,
            list(self.loads), self.open_copies, list(self.groups),
        )  # fmt: skip

    @property
    def in_flight(self) -> int:
        return len(self.loads) + self.open_copies + sum(copies for copies, _ in self.groups)

    def _wait(self, issued: int) -> None:
        self.most = max(self.most, self.in_flight)
        if issued == self.trips:
            self.trips += 1
            self.thin += self.in_flight < FEW
            self.alone += self.in_flight == 1

    def step(self, i: Instruction) -> None:
        if self.loads:
            for k in range(len(self.loads) - 1, -1, -1):
                if self.loads[k][0] & i.named:  # it and those before it have come
                    self._wait(self.loads[k][1])
                    del self.loads[: k + 1]
                    break
        if i.words < self.words and (i.loaded or i.name == "LDGSTS"):
            return
        if i.loaded:
            self.loads.append((i.loaded, self.trips))
        elif i.name == "LDGSTS":
            self.open_copies += 1
        elif i.name == "LDGDEPBAR":
            self.groups.append((self.open_copies, self.trips))
            self.open_copies = 0
        elif i.name == "DEPBAR" and "SB0" in i.operands and self.groups:
            allowed = int(i.operands.split(",")[1], 16) if "," in i.operands else 0
            gone = len(self.groups) - allowed
            if gone > 0:
                self._wait(self.groups[gone - 1][1])
                del self.groups[:gone]


def _widest(flow: Flow, blocks: Iterable[int]) -> int:
    """4 where there are loads of 16 bytes, else 1."""
    code = flow.instructions(blocks)
    return 4 if any(i.words == 4 for i in code if i.loaded or i.name == "LDGSTS") else 1


def along(flow: Flow, blocks: Iterable[int], begin: State | None = None) -> State:
    """The way through these blocks, none of them twice, that waits the most often."""
    blocks = set(blocks)
    begin = begin or State(_widest(flow, blocks))
    at_end: dict[int, State] = {}
    best = begin
    for block in (b for b in flow.order if b in blocks):
        before = [at_end[other] for other in flow.before[block] if other in at_end]
        state = max(before, key=_weight, default=begin).copy()
        for i in flow.blocks[block]:
            state.step(i)
        at_end[block] = state
        best = max(best, state, key=_weight)
    return best


def _weight(state: State) -> tuple[int, int, int, int]:
    return state.thin, state.trips, state.in_flight, state.most


def of_loop(flow: Flow, loop: Loop) -> State:
    """Of a turn that follows others: what they have left in flight is there."""
    state = along(flow, loop.blocks)
    for _ in range(TURNS):
        before, state.most = state, 0
        state = along(flow, loop.blocks, before)
    turn = state.copy()
    turn.trips -= before.trips
    turn.thin -= before.thin
    turn.alone -= before.alone
    return turn
