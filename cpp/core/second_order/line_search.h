// A step length that fulfils the strong Wolfe conditions: Nocedal and Wright, Numerical Optimization, 2nd edition,
// algorithms 3.5 and 3.6, with cubic interpolation (their equation 3.59) and limits of how near to the ends of an interval
// a trial may lie; constants and limits are those of torch.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/types.h"

namespace fastmlp {

// Of a line, by its distance from the start.
template <class Gradient>
struct LinePoint {
  double length, loss, slope;  // the loss's slope along the line
  Gradient gradient;
};

inline constexpr double kWolfeDecrease = 1e-4;  // the share of the slope by which the loss has to fall,
inline constexpr double kWolfeCurvature = 0.9;  // and to which the slope has to become smaller
inline constexpr double kNarrowest = 1e-9;      // an interval's width, times the largest entry of the direction

// Where the cubic of two points' losses and slopes is smallest, within limits.
template <class Point>
double cubic_minimum(const Point& a, const Point& b, double least, double most) {
  const double width = b.length - a.length, middle = (least + most) / 2;
  if (width == 0) return middle;
  const double d1 = a.slope + b.slope - 3 * (b.loss - a.loss) / width;
  const double square = d1 * d1 - a.slope * b.slope;
  if (!(square >= 0)) return middle;
  const double d2 = std::sqrt(square);
  const double found = b.length - width * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2));
  return std::isfinite(found) ? std::min(std::max(found, least), most) : middle;
}

// A trial in an interval. One that lies near to an end for the second time, or outside, moves to a tenth of the width
// inside; `was_near`: whether the last one lay near.
template <class Point>
double trial_inside(const Point& low, const Point& high, bool& was_near) {
  const bool ordered = low.length <= high.length;
  const Point &a = ordered ? low : high, &b = ordered ? high : low;
  const double left = a.length, right = b.length, margin = 0.1 * (right - left);
  const double length = cubic_minimum(a, b, left, right);
  const bool near = !(std::min(right - length, length - left) >= margin);
  const bool stays = !near || (!was_near && left < length && length < right);
  was_near = near && stays;
  if (stays) return length;
  return right - length < length - left ? right - margin : left + margin;
}

// The best point found of a line from `start`, where the slope is negative, and the number of evaluations. at(length): a
// point; `length`: the first to try; `reach`: the largest entry of the direction; `limit`: evaluations after the first.
template <class Point, class At>
std::pair<Point, Index> strong_wolfe(const At& at, const Point& start, double length, double reach, Index limit) {
  const auto is_too_high = [&](const Point& point) {
    return point.loss > start.loss + kWolfeDecrease * point.length * start.slope;
  };
  const auto is_flat = [&](const Point& point) { return std::abs(point.slope) <= -kWolfeCurvature * start.slope; };

  Point before = start, now = at(length);
  Index tried = 0;
  for (;; ++tried) {
    if (tried == limit) return {start.loss <= now.loss ? start : now, limit + 1};
    if (is_too_high(now) || (tried > 1 && now.loss >= before.loss)) break;
    if (is_flat(now)) return {now, tried + 1};
    if (now.slope >= 0) break;
    const double nearest = now.length + 0.01 * (now.length - before.length);
    length = cubic_minimum(before, now, nearest, 10 * now.length);
    before = std::exchange(now, at(length));
  }

  // A good point lies between the two. `low` has the smallest loss of those that fell enough.
  Point low = std::move(before), high = std::move(now);
  if (!(low.loss <= high.loss)) std::swap(low, high);
  bool was_near = false;
  while (tried < limit && std::abs(high.length - low.length) * reach >= kNarrowest) {
    now = at(trial_inside(low, high, was_near));
    ++tried;
    if (is_too_high(now) || now.loss >= low.loss) {
      high = std::move(now);
      if (high.loss < low.loss) std::swap(low, high);
      continue;
    }
    if (is_flat(now)) return {now, tried + 1};
    if (now.slope * (high.length - low.length) >= 0) high = std::move(low);
    low = std::move(now);
  }
  return {low, tried + 1};
}

}  // namespace fastmlp
