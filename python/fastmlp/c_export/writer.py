"""The header's text: its numbers, the functions they need, and the two that callers use."""

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from fastmlp._core import __version__
from fastmlp._types import Array
from fastmlp.c_export.functions import LONG, constants_of, definitions, in_c
from fastmlp.c_export.literals import lines, literal, literals
from fastmlp.c_export.workspace import Layout, layout
from fastmlp.program import Affine, ColumnScale, Function, Normalization, Operation, PReLU, Sum

ROWWISE = ("softmax", "logsoftmax")

_COMMENT = """\
/* A network of {inputs} inputs and {outputs} outputs, written by fastmlp {version}: C99 and C++,
   with libm alone.

   void net_predict(const real *x, real *y)
     The prediction of one row: NET_INPUTS numbers of x give NET_OUTPUTS of y. It has a static
     workspace, so that only one call may run at a time.

   void net_predict_with(const real *x, real *y, real *workspace)
     The same, with NET_WORKSPACE numbers of the caller's as its workspace: reentrant.

   x, y and workspace must not overlap. */
"""

_START = """
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NET_INPUTS {inputs}
#define NET_OUTPUTS {outputs}
#define NET_WORKSPACE {workspace}

#if defined(__GNUC__) || defined(_MSC_VER)
#define NET_RESTRICT __restrict
#elif defined(__cplusplus)
#define NET_RESTRICT
#else
#define NET_RESTRICT restrict
#endif
"""

_PREDICT = """
static inline void net_predict_with(const real *NET_RESTRICT x, real *NET_RESTRICT y,
                                    real *NET_RESTRICT workspace)
{{
{body}
}}

static inline void net_predict(const real *x, real *y)
{{
  static real workspace[NET_WORKSPACE];
  net_predict_with(x, y, workspace);
}}
"""

_GUARD = """
#ifndef NET_HEADER
#define NET_HEADER {mark}
{content}
#elif NET_HEADER != {mark}
#error "two networks have the name net"
#endif
"""


def header(
    operations: Sequence[Operation], dtype: str, in_features: int, name: str, *, half: bool
) -> str:
    """The whole header for a program that `simplified` has made; `half`: matrices in float16."""
    places = layout(operations, in_features, LONG if dtype == "float32" else math.inf)
    writer = _Writer(dtype, half, places)
    for number, operation in enumerate(operations, 1):
        writer.add(number, operation)
    body = "\n".join(writer.body())
    sizes = {
        "inputs": in_features,
        "outputs": places.widths[-1],
        "workspace": max(1, places.size),
        "version": __version__,
    }

    def text(template: str) -> str:
        return in_c(template, name, dtype, half)

    content = text(_START).format(**sizes)
    content += "".join(in_c(head, name, dtype, half) + data for head, data in writer.arrays)
    content += text(definitions(body, half)) + text(_PREDICT.format(body=body))
    mark = f"0x{zlib.crc32(content.encode()):08x}"
    return text(_COMMENT).format(**sizes) + text(_GUARD).format(mark=mark, content=content)


class _Writer:
    """Collects the arrays and the lines of `net_predict_with`."""

    def __init__(self, dtype: str, half: bool, places: Layout) -> None:
        self.dtype, self.half, self.places = dtype, half, places
        self.arrays: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.loops = False

    def add(self, number: int, operation: Operation) -> None:
        """The lines of one operation."""
        x, y = self._name(operation.input), self._name(number)
        width = self.places.widths[number]
        match operation:
            case Affine(_, weight, bias):
                matrix = self._array(f"weight{number}", self._stored(weight.T))
                shift = np.zeros(width, self.dtype) if bias is None else bias
                terms = self._array(f"bias{number}", shift)
                given = f"{matrix}, {terms}, {weight.shape[1]}, {width}, {x}, {y}"
                part = self.places.parts.get(number)
                call = f"net_affine({given})"
                if part is not None:
                    call = f"net_longaffine({given}, workspace + {part})"
                self.lines.append(f"{call};")
            case Function(_, native, constants):
                name = native.replace("_", "")
                if name in ROWWISE:
                    self.lines.append(f"net_{name}({width}, {x}, {y});")
                    return
                used = constants[: constants_of(name)]
                values = [f"{x}[i]", *(literal(number, self.dtype) for number in used)]
                self._loop(width, f"{y}[i] = net_{name}({', '.join(values)});")
            case PReLU(_, slopes):
                slope = self._array(f"slope{number}", slopes) + (
                    "[i]" if slopes.size > 1 else "[0]"
                )
                self._loop(width, f"{y}[i] = net_leakyrelu({x}[i], {slope});")
            case ColumnScale():
                names = [
                    self._array(f"{what}{number}", getattr(operation, what)) + "[i]"
                    for what in ("centre", "scale", "offset")
                ]
                self._loop(width, f"{y}[i] = net_column_scale({x}[i], {', '.join(names)});")
            case Normalization(_, _, weight, bias, eps):
                self.lines.append(f"net_normalize({width}, {literal(eps, self.dtype)}, {x}, {y});")
                if weight is not None:
                    factor = self._array(f"weight{number}", weight)
                    self._loop(width, f"{y}[i] *= {factor}[i];")
                if bias is not None:
                    self._loop(width, f"{y}[i] += {self._array(f'bias{number}', bias)}[i];")
            case Sum(_, other):
                self._loop(width, f"{y}[i] = {x}[i] + {self._name(other)}[i];")

    def body(self) -> Iterator[str]:
        """All lines, with what they declare."""
        places = {place for place in self.places.places if isinstance(place, int)}
        for place in sorted(places):
            yield f"  real *const v{place} = workspace + {place};"
        if self.loops:
            yield "  size_t i;"
        if self.places.size == 0:
            yield "  (void)workspace;"
        yield from (f"  {line}" for line in self.lines)

    def _name(self, value: int) -> str:
        place = self.places.places[value]
        return place if isinstance(place, str) else f"v{place}"

    def _loop(self, width: int, line: str) -> None:
        self.loops = True
        self.lines.append(f"for (i = 0; i < {width}; ++i) {line}")

    def _array(self, name: str, array: Array) -> str:
        kind = "uint16_t" if array.dtype == np.float16 else "real"
        data = "\n".join(lines(literals(array)))
        self.arrays.append(
            (f"\nstatic const {kind} net_{name}[{array.size}] = {{\n", data + "\n};\n")
        )
        return f"net_{name}"

    def _stored(self, matrix: Array) -> Array:
        if not self.half:
            return matrix
        with np.errstate(over="ignore"):
            stored = matrix.astype(np.float16)
        beyond = ~np.isfinite(stored)
        if beyond.any():
            raise ValueError(
                "weights: expected finite numbers below 65520 in size for float16, got a weight of"
                f" {matrix[beyond][0]:g}"
            )
        return stored
