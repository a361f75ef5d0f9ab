"""Kernels and their instructions from what cuobjdump prints of a library or an object."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

BYTES = 16  # of an instruction
ARCH = re.compile(r"^arch = (\S+)")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+(@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*) *(.*?) *;")
USED = re.compile(r"^\s*Function ([^:\s]+):")
RESOURCE = re.compile(r"\b(REG|STACK|SHARED|LOCAL):(\d+)")
REGISTER = re.compile(r"(?<![A-Za-z])R(\d+)(\.64)?")
ADDRESS = re.compile(r"\b0x([0-9a-f]+)")
GLOBAL_LOADS = ("LDG", "LD", "LDGSTS")  # those through the load and store units
BULK_LOADS = ("UBLKCP", "UTMALDG")  # those of the copy engine
GLOBAL_STORES = ("STG", "ST", "UTMASTG")
MATH = ("FFMA", "DFMA", "HMMA", "HGMMA", "IMMA", "QGMMA", "DMMA")


@dataclass(frozen=True)
class Instruction:
    address: int
    predicate: str
    opcode: str  # with its suffixes
    operands: str

    @cached_property
    def name(self) -> str:
        return self.opcode.partition(".")[0]

    @cached_property
    def words(self) -> int:
        """Registers of a value that it loads or stores."""
        suffixes = self.opcode.split(".")
        return 4 if "128" in suffixes else 2 if "64" in suffixes else 1

    @cached_property
    def target(self) -> int | None:
        """Where it may go on, or the place that a BSSY sets."""
        if self.name not in ("BRA", "CALL", "BSSY", "JMP"):
            return None
        found = ADDRESS.findall(self.operands)
        return int(found[-1], 16) if found else None

    @cached_property
    def loaded(self) -> frozenset[int]:
        """The registers that a load from global memory fills."""
        if self.name not in ("LDG", "LD"):
            return frozenset()
        found = REGISTER.search(self.operands)
        first = int(found[1]) if found else 0
        return frozenset(range(first, first + self.words)) if found else frozenset()

    @cached_property
    def named(self) -> frozenset[int]:
        """All registers that it reads or writes."""
        words = 4 if self.name == "HMMA" else self.words
        found: set[int] = set()
        for number, pair in REGISTER.findall(self.operands):
            found |= set(range(int(number), int(number) + (2 if pair else words)))
        return frozenset(found)

    @property
    def conditional(self) -> bool:
        """Whether the next instruction may follow a branch."""
        return (
            bool(self.predicate)
            or ".DIV" in self.opcode
            or re.match(r"!?U?P\d", self.operands) is not None
        )


@dataclass
class Kernel:
    name: str  # as C++ has it, without the namespaces
    arch: str
    instructions: list[Instruction] = field(default_factory=list)
    resources: dict[str, int] = field(default_factory=dict)  # REG, STACK, SHARED, LOCAL


def parse(text: str) -> list[Kernel]:
    """The kernels of `cuobjdump -sass`, with what `-res-usage` says of them where it is there."""
    kernels: dict[tuple[str, str], Kernel] = {}
    arch, code, using = "", None, None
    for line in text.splitlines():
        if found := ARCH.match(line):
            arch = found[1]
        elif found := FUNCTION.match(line):
            code = kernels.setdefault((arch, found[1]), Kernel(found[1], arch))
        elif found := USED.match(line):
            using = kernels.setdefault((arch, found[1]), Kernel(found[1], arch))
        elif using is not None and "REG:" in line:
            using.resources = {key: int(value) for key, value in RESOURCE.findall(line)}
            using = None
        elif code is not None and (found := INSTRUCTION.match(line)):
            address, predicate, opcode, operands = found.groups()
            code.instructions.append(
                Instruction(int(address, 16), (predicate or "").strip(), opcode, operands)
            )
    found_all = [kernel for kernel in kernels.values() if kernel.instructions]
    names = _demangled([kernel.name for kernel in found_all])
    for kernel, name in zip(found_all, names, strict=True):
        kernel.name = short(name)
    return found_all


def _output(command: list[str], given: str = "") -> str:
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def _demangled(names: list[str]) -> list[str]:
    """As C++ has them, where binutils are there."""
    program = shutil.which("c++filt")
    if not program or not names:
        return names
    return _output([program], "\n".join(names)).splitlines()


def short(name: str) -> str:
    """`Gemm<float>` of `void fastmlp::cuda::entry<fastmlp::cuda::Gemm<float> >(...)`."""
    if name.startswith("_Z"):  # of CUTLASS, and too long for the listing: what of it is ours
        ours = re.findall(r"7fastmlp4cuda(?:\d+[a-z]+)*?(\d+)([A-Z]\w*)", name)
        return f"CUTLASS<{', '.join(word[: int(length)] for length, word in ours)}>"
    name = re.sub(r"\(anonymous namespace\)", "", name)
    name = re.sub(
        r"\([\w:]+( int)?\)(?=-?\d)", "", name
    )  # the types of numbers among a template's arguments
    name = name.partition("(")[0].removeprefix("void ")
    name = re.sub(r"\b\w*::|::", "", name)
    if name.startswith("entry<"):
        name = name.removeprefix("entry<").rstrip()[:-1]
    return re.sub(r"\s+>", ">", name).strip()


def tool() -> str:
    """cuobjdump, from the PATH or the package nvidia-cuda-cuobjdump."""
    if found := shutil.which("cuobjdump"):
        return found
    spec = find_spec("nvidia")
    for place in (spec and spec.submodule_search_locations) or []:
        for path in sorted(Path(place).glob("cu*/bin/cuobjdump")):
            return str(path)
    raise FileNotFoundError("no cuobjdump: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")


def read(path: Path) -> list[Kernel]:
    """The kernels of a library, an object, or a text that cuobjdump printed."""
    if path.suffix in (".sass", ".txt"):
        return parse(path.read_text())
    program = tool()
    printed = [_output([program, option, str(path)]) for option in ("-res-usage", "-sass")]
    return parse("\n".join(printed))
