"""Where a kernel's instructions lead: blocks, what dominates what, and loops."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from sass.listing import Instruction

Graph = list[list[int]]


@dataclass(eq=False)
class Loop:
    header: int
    blocks: set[int]
    inner: list["Loop"] = field(default_factory=list)
    outer: "Loop | None" = None

    @property
    def own(self) -> set[int]:
        """Its blocks but for those of the loops within."""
        return self.blocks.difference(*(loop.blocks for loop in self.inner))


class Flow:
    """The blocks of a kernel in the order of their addresses, and its loops.

    A listing does not tell where an indirect branch leads: to those blocks that follow it and that
    nothing else leads to. What is called is a function of its own, which comes back.
    """

    def __init__(self, code: Sequence[Instruction]):
        self.code = code
        self.starts = self._leaders()
        ends = [*self.starts[1:], len(code)]
        self.blocks = [code[a:b] for a, b in zip(self.starts, ends, strict=True)]
        of_address = {code[a].address: block for block, a in enumerate(self.starts)}
        called = {of_address[i.target] for i in code if i.name == "CALL" and i.target in of_address}
        self.after = self._edges(of_address, called)
        self.before: Graph = [[] for _ in self.blocks]
        for block, successors in enumerate(self.after):
            for other in successors:
                self.before[other].append(block)
        self.order = self._reverse_postorder([*sorted(called, reverse=True), 0])
        self.place = {block: k for k, block in enumerate(self.order)}
        self.kernel = self.reached([0])  # without the functions that it calls
        self._roots = {0, *called}
        self.loops = self._loops()

    def instructions(self, blocks: Iterable[int]) -> list[Instruction]:
        return [i for block in sorted(blocks) for i in self.blocks[block]]

    def reached(self, starts: Iterable[int], stop: Container[int] = ()) -> set[int]:
        """The blocks that those lead to, themselves among them, and none of `stop`."""
        found: set[int] = set()
        todo = [block for block in starts if block not in stop]
        while todo:
            if (block := todo.pop()) not in found:
                found.add(block)
                todo += [other for other in self.after[block] if other not in stop]
        return found

    # --- blocks and edges

    def _leaders(self) -> list[int]:
        index = {i.address: k for k, i in enumerate(self.code)}
        leaders = {0}
        for k, i in enumerate(self.code):
            if i.target in index:
                leaders.add(index[i.target])
            if i.name in ENDS and k + 1 < len(self.code):
                leaders.add(k + 1)
        return sorted(leaders)

    def _edges(self, of_address: dict[int, int], called: set[int]) -> Graph:
        edges: Graph = []
        awaited: dict[str, int] = {}  # of each convergence barrier, where its threads go on
        for block, code in enumerate(self.blocks):
            for i in code:
                if i.name == "BSSY" and i.target is not None:
                    awaited[i.operands.split(",")[0]] = i.target
            last, following = code[-1], [block + 1] if block + 1 < len(self.blocks) else []
            if last.name == "BRA":
                to = [of_address[last.target]] if last.target in of_address else []
                edges.append(to + (following if last.conditional else []))
            elif last.name == "BSYNC":
                place = awaited.get(last.operands.strip())
                to = [of_address[place]] if place in of_address else following
                edges.append(to + (following if last.predicate else []))
            elif last.name in ("EXIT", "RET", "BRX", "JMX", "BPT"):
                edges.append(following if last.predicate else [])
            else:
                edges.append(following)
        indirect = None
        led_to = {other for successors in edges for other in successors} | called | {0}
        for block, code in enumerate(self.blocks):
            if block not in led_to and indirect is not None and code[0].name != "NOP":
                edges[indirect].append(block)
            if code[-1].name in ("BRX", "JMX"):
                indirect = block
        return [list(dict.fromkeys(successors)) for successors in edges]

    def _reverse_postorder(self, roots: Iterable[int]) -> list[int]:
        seen: set[int] = set()
        order: list[int] = []
        for root in roots:
            if root in seen:
                continue
            seen.add(root)
            stack = [(root, iter(self.after[root]))]
            while stack:
                block, successors = stack[-1]
                other = next((o for o in successors if o not in seen), None)
                if other is None:
                    order.append(block)
                    stack.pop()
                else:
                    seen.add(other)
                    stack.append((other, iter(self.after[other])))
        return order[::-1]

    # --- loops

    def _dominators(self) -> dict[int, int]:
        """Of each block the nearest other that all ways to it go through; -1 for none."""
        nearest: dict[int, int] = dict.fromkeys(self._roots, -1)

        def common(a: int, b: int) -> int:
            while a != b:
                if a == -1 or b == -1:
                    return -1
                if self.place[a] > self.place[b]:
                    a = nearest[a]
                else:
                    b = nearest[b]
            return a

        changed = True
        while changed:
            changed = False
            for block in self.order:
                if block in self._roots:
                    continue
                known = [other for other in self.before[block] if other in nearest]
                found = known[0]
                for other in known[1:]:
                    found = common(found, other)
                if nearest.get(block) != found:
                    nearest[block], changed = found, True
        return nearest

    def _loops(self) -> list[Loop]:
        """The inner ones before those around them."""
        nearest = self._dominators()
        bodies: dict[int, set[int]] = {}
        for block in self.order:
            for header in self.after[block]:
                above = block
                while above not in (header, -1):
                    above = nearest[above]
                if above == header:
                    bodies.setdefault(header, {header}).update(self._body(block, header))
        loops = [
            Loop(header, blocks) for header, blocks in bodies.items() if not self._trap(blocks)
        ]
        loops.sort(key=lambda loop: len(loop.blocks))
        for k, loop in enumerate(loops):
            loop.outer = next((o for o in loops[k + 1 :] if loop.blocks <= o.blocks), None)
            if loop.outer:
                loop.outer.inner.append(loop)
        return loops

    def _body(self, latch: int, header: int) -> set[int]:
        found, todo = {header}, [latch]
        while todo:
            if (block := todo.pop()) not in found:
                found.add(block)
                todo += [other for other in self.before[block] if other in self.place]
        return found

    def _trap(self, blocks: set[int]) -> bool:
        """The branch to itself that follows a kernel's end."""
        return sum(len(self.blocks[block]) for block in blocks) == 1


ENDS = ("BRA", "BRX", "JMX", "BSYNC", "EXIT", "RET", "BPT", "CALL")
