"""Derive the polynomials of vmath_coefficients.h and print that header.

Each is a minimax fit (Remez exchange) of a smooth function on the interval that is left after
argument reduction, weighted so that the relative error of the final result is what is equalised.
Coefficients are rounded to the target type one at a time, lowest power first, and the remaining
ones fitted again to what is left, so that the rounding costs next to nothing.

Usage: python fit_coefficients.py > ../vmath_coefficients.h   (needs mpmath; takes minutes)
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp

mp.mp.prec = 200
Function = Callable[[mp.mpf], mp.mpf]
DIGITS = {"float": 24, "double": 53}
GRID = 1500


def round_to(value: mp.mpf, bits: int) -> mp.mpf:
    """Round to `bits` significant bits, halves to even."""
    fraction, exponent = mp.frexp(value)
    return mp.ldexp(mp.nint(mp.ldexp(fraction, bits)), exponent - bits)


def hexadecimal(value: mp.mpf, kind: str) -> str:
    text = float(value).hex().replace("p+", "p")
    fraction, exponent = text.split("p")
    if "." in fraction:
        fraction = fraction.rstrip("0").rstrip(".")
    return f"{fraction}p{exponent}" + ("F" if kind == "float" else "")


def remez(
    values: list[mp.mpf], weights: list[mp.mpf], grid: list[mp.mpf], count: int
) -> list[mp.mpf]:
    """Minimax fit of weight * (value - sum c_k x^k), k < count, over the points of the grid."""
    # A first node where the weight vanishes would force the levelled error to 0.
    floor = max(weights) / 20
    heavy = [i for i, w in enumerate(weights) if w > floor]
    nodes = [heavy[round((len(heavy) - 1) * k / count)] for k in range(count + 1)]
    for _ in range(30):
        rows = mp.matrix(count + 1, count + 1)
        right = mp.matrix(count + 1, 1)
        for row, node in enumerate(nodes):
            for power in range(count):
                rows[row, power] = weights[node] * grid[node] ** power
            rows[row, count] = (-1) ** row
            right[row] = weights[node] * values[node]
        coefficients = list(mp.lu_solve(rows, right)[:count])
        error = [
            w * (v - mp.polyval(coefficients[::-1], x))
            for x, v, w in zip(grid, values, weights, strict=True)
        ]
        # One extremum in each run of equal sign.
        extrema: list[int] = []
        for i, e in enumerate(error):
            if extrema and (error[extrema[-1]] > 0) == (e > 0):
                if abs(e) > abs(error[extrema[-1]]):
                    extrema[-1] = i
            else:
                extrema.append(i)
        # Drop the smallest: one at an end, or two neighbours, so that the signs still alternate.
        while len(extrema) > count + 1:
            sizes = [abs(error[i]) for i in extrema]
            drop = sizes.index(min(sizes))
            if len(extrema) == count + 2 or drop in (0, len(extrema) - 1):
                extrema.pop(0 if sizes[0] < sizes[-1] else -1)
            else:
                other = drop - 1 if sizes[drop - 1] < sizes[drop + 1] else drop + 1
                extrema = [e for i, e in enumerate(extrema) if i not in (drop, other)]
        if len(extrema) < count + 1 or extrema == nodes:
            break
        nodes = extrema
    return coefficients


def fit(
    kind: str, function: Function, weight: Function, low: float, high: float, count: int
) -> tuple[list[mp.mpf], float]:
    """Fit `count` coefficients, lowest power first; also returns log2 of the weighted error."""
    middle, half = mp.mpf(low + high) / 2, mp.mpf(high - low) / 2
    grid = [middle - half * mp.cos(mp.pi * (k + 0.5) / GRID) for k in range(GRID)]
    weights = [abs(weight(x)) for x in grid]
    rest = [function(x) for x in grid]
    coefficients: list[mp.mpf] = []
    error = mp.mpf(0)
    # With c_0 fixed, what remains is (function - c_0) / x, to be fitted with the weight |x|.
    for free in range(count, 0, -1):
        rounded = round_to(remez(rest, weights, grid, free)[0], DIGITS[kind])
        coefficients.append(rounded)
        rest = [v - rounded for v in rest]
        error = max(abs(w * e) for w, e in zip(weights, rest, strict=True))
        weights = [w * abs(x) for x, w in zip(grid, weights, strict=True)]
        rest = [v / x for x, v in zip(grid, rest, strict=True)]
    return coefficients, float(mp.log(error, 2))


def print_fit(
    name: str, kind: str, function: Function, weight: Function, low: float, high: float, count: int
) -> None:
    coefficients, error = fit(kind, function, weight, low, high, count)
    print(f"\n  // on [{low:.5g}, {high:.5g}]: error 2^{error:.1f}")
    print(f"  static constexpr {kind} {name}[] = {{")
    for coefficient in coefficients:
        print(f"      {hexadecimal(coefficient, kind)},")
    print("  };")


def expm1_tail(r: mp.mpf) -> mp.mpf:
    return (mp.expm1(r) - r) / r**2


def log1p_tail(f: mp.mpf) -> mp.mpf:
    return (mp.log1p(f) - f + f**2 / 2) / f**3


def log_ratio_tail(z: mp.mpf) -> mp.mpf:
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def mills(t: mp.mpf) -> mp.mpf:
    """The normal distribution's tail beyond t, divided by exp(-t^2 / 2)."""
    return mp.erfc(t / mp.sqrt(2)) * mp.exp(t * t / 2) / 2


def nearly_exact_centre(low: float, high: float) -> mp.mpf:
    """A short number near the middle where mills happens to be very near to a float.

    It is the constant term, whose rounding error would be the largest of all.
    """
    middle, step = mp.mpf(low + high) / 2, mp.mpf(high - low) / 2**11
    candidates = [middle + k * step for k in range(-100, 101)]

    def rounding_error(t: mp.mpf) -> mp.mpf:
        value = mills(t)
        return abs(round_to(value, DIGITS["float"]) / value - 1)

    return min(candidates, key=rounding_error)


def print_mills_pieces() -> None:
    """Print eight polynomials in t - centre, one for each half octave of 1 + t, 0 <= t < 15.

    A row holds one coefficient of all eight, in the order of (bits of the float 1 + t) >> 22 & 7.
    """
    columns = [[mp.mpf(0)]] * 8
    worst = -99.0
    for piece in range(8):
        low, high = ((1 + half / 2) * 2 ** (piece // 2) - 1 for half in (piece % 2, piece % 2 + 1))
        centre = nearly_exact_centre(low, high)
        coefficients, error = fit(
            "float",
            lambda x, centre=centre: mills(centre + x),
            lambda x, centre=centre: 1 / mills(centre + x),
            low - centre,
            high - centre,
            9,
        )
        columns[(254 + piece) & 7] = [centre, *coefficients]
        worst = max(worst, error)
    centres, *rows = [
        "{" + ", ".join(hexadecimal(value, "float") for value in row) + "}"
        for row in zip(*columns, strict=True)
    ]
    print(f"\n  // error 2^{worst:.1f}")
    print(f"  static constexpr float mills_centre[8] = {centres};")
    print("  static constexpr float mills_piece[][8] = {")
    for row in rows:
        print(f"      {row},")
    print("  };")


def print_mills_polynomial() -> None:
    """Print (shift + t) mills(t), which varies little, as a polynomial in v."""
    centre, shift, largest = 5, mp.mpf("1.25"), 39
    print(f"\n  // v = (t - mills_centre) / (t + mills_centre), 0 <= t < {largest}")
    print(f"  static constexpr double mills_centre = {centre}, mills_shift = {shift};", end="")

    def function(v: mp.mpf) -> mp.mpf:
        t = centre * (1 + v) / (1 - v)
        return (round_to(shift, 53) + t) * mills(t)

    high = (largest - centre) / (largest + centre)
    print_fit("mills", "double", function, lambda v: 1 / function(v), -1.0, high, 24)


def print_constants(kind: str) -> None:
    """Print log2(e), and ln 2 in two parts: n * ln2_high is exact for every exponent n."""
    high_bits = {"float": 15, "double": 42}[kind]
    ln2 = mp.log(2)
    high = round_to(ln2, high_bits)
    constants = {"log2e": 1 / ln2, "ln2_high": high, "ln2_low": ln2 - high}
    for name, value in constants.items():
        rounded = hexadecimal(round_to(value, DIGITS[kind]), kind)
        print(f"  static constexpr {kind} {name} = {rounded};")


HEADER = """\
// Written by tools/fit_coefficients.py, which says how: do not edit.
//
// Polynomials, lowest power first. Their errors are relative to the function that they serve.
#pragma once

#include "cpu/isa.h"

// clang-format off: as written.
namespace fastmlp::FASTMLP_ISA_NS {

template <class T>
struct Coefficients;
"""


def main() -> None:
    print(HEADER)
    half_ln2 = float(mp.log(2) / 2) * 1.0001
    for kind in ("float", "double"):
        is_float = kind == "float"
        print(f"template <>\nstruct Coefficients<{kind}> {{")
        print_constants(kind)
        print("\n  // exp(r) = 1 + r + r^2 expm1_tail(r)", end="")
        print_fit(
            "expm1_tail",
            kind,
            expm1_tail,
            lambda r: r**2 / mp.expm1(r),
            -half_ln2,
            half_ln2,
            5 if is_float else 11,
        )
        if is_float:
            print("\n  // log(1 + f) = f - f^2 / 2 + f^3 log1p_tail(f)", end="")
            print_fit(
                "log1p_tail",
                kind,
                log1p_tail,
                lambda f: f**3 / mp.log1p(f),
                float(mp.sqrt(0.5)) - 1,
                float(mp.sqrt(2)) - 1,
                9,
            )
        else:
            print("\n  // log((1 + s) / (1 - s)) = 2 s + s^3 log_ratio_tail(s^2)", end="")
            print_fit("log_ratio_tail", kind, log_ratio_tail, lambda z: z / 2, 0.0, 0.02945, 7)
        print("\n  // normal_cdf(-t) = exp(-t^2 / 2) mills(t)", end="")
        if is_float:
            print_mills_pieces()
        else:
            print_mills_polynomial()
        print("};\n")
    print("}  // namespace fastmlp::FASTMLP_ISA_NS")


if __name__ == "__main__":
    main()
