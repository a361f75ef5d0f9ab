"""A step length that fulfils the strong Wolfe conditions.

Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 3.5 and 3.6, with cubic
interpolation (their equation 3.59) and limits of how near to the ends of an interval a trial may
lie; constants and limits are those of torch.
"""

from collections.abc import Callable
from math import isfinite, sqrt
from typing import NamedTuple

from fastmlp._types import Array

DECREASE = 1e-4  # the share of the slope by which the loss has to fall,
CURVATURE = 0.9  # and to which the slope has to become smaller
NARROWEST = 1e-9  # an interval's width, times the largest entry of the direction


class Point(NamedTuple):
    """Of a line, by its distance from the start; `slope` is the loss's along the line."""

    length: float
    loss: float
    gradient: Array
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], start: Point, length: float, reach: float, limit: int
) -> tuple[Point, int]:
    """Search a line for a point with a smaller loss and a flatter slope.

    Parameters
    ----------
    at : callable
        Gives the point at a distance.
    start : Point
        At distance 0, where the slope is negative.
    length : float
        The first distance to try.
    reach : float
        The largest entry of the direction.
    limit : int
        Evaluations after the first.

    Returns
    -------
    Point, int
        The best that was found, and the number of evaluations.
    """

    def is_too_high(point: Point) -> bool:
        return point.loss > start.loss + DECREASE * point.length * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    before, now = start, at(length)
    for tried in range(limit):
        if is_too_high(now) or (tried > 1 and now.loss >= before.loss):
            break
        if is_flat(now):
            return now, tried + 1
        if now.slope >= 0:
            break
        nearest = now.length + 0.01 * (now.length - before.length)
        length = _cubic_minimum(before, now, nearest, 10 * now.length)
        before, now = now, at(length)
    else:
        return (start if start.loss <= now.loss else now), limit + 1

    # A good point lies between the two. `low` has the smallest loss of those that fell enough.
    low, high = (before, now) if before.loss <= now.loss else (now, before)
    was_near = False
    while tried < limit and abs(high.length - low.length) * reach >= NARROWEST:
        length, was_near = _inside(low, high, was_near)
        now = at(length)
        tried += 1
        if is_too_high(now) or now.loss >= low.loss:
            high = now
            if high.loss < low.loss:
                low, high = high, low
            continue
        if is_flat(now):
            return now, tried + 1
        if now.slope * (high.length - low.length) >= 0:
            high = low
        low = now
    return low, tried + 1


def _inside(low: Point, high: Point, was_near: bool) -> tuple[float, bool]:
    """A trial in an interval, and whether it lies near one of its ends.

    One that does so for the second time, or lies outside, moves to a tenth of the width inside.
    """
    a, b = (low, high) if low.length <= high.length else (high, low)
    left, right = a.length, b.length
    length = _cubic_minimum(a, b, left, right)
    margin = 0.1 * (right - left)
    if min(right - length, length - left) >= margin:
        return length, False
    if not was_near and left < length < right:
        return length, True
    return (right - margin if right - length < length - left else left + margin), False


def _cubic_minimum(a: Point, b: Point, least: float, most: float) -> float:
    """Where the cubic of two points' losses and slopes is smallest, within limits."""
    width = b.length - a.length
    if width != 0:
        d1 = a.slope + b.slope - 3 * (b.loss - a.loss) / width
        square = d1 * d1 - a.slope * b.slope
        if square >= 0:
            d2 = sqrt(square)
            divisor = b.slope - a.slope + 2 * d2
            if divisor != 0:
                found = b.length - width * ((b.slope + d2 - d1) / divisor)
                if isfinite(found):
                    return min(max(found, least), most)
    return (least + most) / 2
