// A step length with a sufficient decrease and a flat slope by the search of Moré and Thuente (ACM Transactions on
// Mathematical Software 20, 1994), with the constants of L-BFGS-B.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/second_order/line_search.h"

namespace fastmlp {

class MoreThuente {
 public:
  static constexpr double kDecrease = 1e-3, kFlat = 0.9, kNarrow = 0.1, kLongest = 1e10;
  static constexpr Index kMost = 20;  // evaluations

  // The first good point of a line from `start`, where the slope is negative, or the best that rounding allows; none if
  // the evaluations do not suffice. Also how many there were. at(length): a point; `length`: the first to try.
  template <class Point, class At>
  static std::pair<std::optional<Point>, Index> search(const At& at, const Point& start, double length) {
    MoreThuente state{{0, start.loss, start.slope}, {0, start.loss, start.slope}, 0, length + 4 * length};
    for (Index tried = 1; tried <= kMost; ++tried) {
      Point point = at(length);
      const End now{length, point.loss, point.slope};
      if (state.is_last(now, {0, start.loss, start.slope})) return {std::move(point), tried};
      length = state.next(now, {0, start.loss, start.slope});
    }
    return {std::nullopt, kMost};
  }

 private:
  struct End {
    double length, loss, slope;
  };

  MoreThuente(End best_, End other_, double least_, double most_)
      : best(best_), other(other_), least(least_), most(most_) {}

  // The loss that is low enough there.
  static double limit(const End& point, const End& start) {
    return start.loss + point.length * (kDecrease * start.slope);
  }

  // Whether the point is good, or no better one can be told apart.
  bool is_last(const End& now, const End& start) {
    const bool low = now.loss <= limit(now, start);
    if (low && now.slope >= 0) has_been_low = true;
    if (bracketed && (now.length <= least || now.length >= most || most - least <= kNarrow * most)) return true;
    if (now.length == kLongest && low && now.slope <= kDecrease * start.slope) return true;
    return low && std::abs(now.slope) <= kFlat * -start.slope;
  }

  // The next length to try.
  double next(const End& now, const End& start) {
    double length;
    // At first a function counts that has its minima where the decrease suffices.
    if (!has_been_low && now.loss <= best.loss && now.loss > limit(now, start)) {
      const double slope = kDecrease * start.slope;
      const auto tilted = [&](const End& e, double by) {
        return End{e.length, e.loss - by * e.length * slope, e.slope - by * slope};
      };
      best = tilted(best, 1);
      other = tilted(other, 1);
      length = trial(tilted(now, 1));
      best = tilted(best, -1);
      other = tilted(other, -1);
    } else {
      length = trial(now);
    }
    if (bracketed) {
      const double between = std::abs(other.length - best.length);
      if (between >= 0.66 * width_before) length = best.length + 0.5 * (other.length - best.length);
      width_before = std::exchange(width, between);
      least = std::min(best.length, other.length);
      most = std::max(best.length, other.length);
    } else {
      least = length + 1.1 * (length - best.length);
      most = length + 4 * (length - best.length);
    }
    length = std::clamp(length, 0.0, kLongest);
    if (bracketed && (length <= least || length >= most || most - least <= kNarrow * most)) length = best.length;
    return length;
  }

  // Of the cubic of two ends' losses and slopes: where it is smallest, as a share of the way from a to b.
  static double cubic_share(const End& a, const End& b, double& root) {
    const double theta = 3 * (a.loss - b.loss) / (b.length - a.length) + a.slope + b.slope;
    const double s = std::max({std::abs(theta), std::abs(a.slope), std::abs(b.slope)});
    root = s * std::sqrt(std::max(0.0, (theta / s) * (theta / s) - (a.slope / s) * (b.slope / s)));
    if (b.length < a.length) root = -root;
    return ((root - a.slope) + theta) / (((root - a.slope) + root) + b.slope);
  }
  static double cubic(const End& a, const End& b) {
    double root;
    return a.length + cubic_share(a, b, root) * (b.length - a.length);
  }
  static double secant(const End& a, const End& b) {
    return a.length + a.slope / (a.slope - b.slope) * (b.length - a.length);
  }

  // Section 4 of the paper: four cases, by what the trial has shown.
  double trial(const End& now) {
    const bool turned = now.slope * (best.slope / std::abs(best.slope)) < 0;
    double length;
    if (now.loss > best.loss) {
      const double by_cubic = cubic(best, now), way = now.length - best.length;
      const double by_square = best.length + best.slope / ((best.loss - now.loss) / way + best.slope) / 2 * way;
      const bool near = std::abs(by_cubic - best.length) < std::abs(by_square - best.length);
      length = near ? by_cubic : by_cubic + (by_square - by_cubic) / 2;
      bracketed = true;
    } else if (turned) {
      const double by_cubic = cubic(now, best), by_secant = secant(now, best);
      length = std::abs(by_cubic - now.length) > std::abs(by_secant - now.length) ? by_cubic : by_secant;
      bracketed = true;
    } else if (std::abs(now.slope) < std::abs(best.slope)) {
      length = beyond(now);
    } else if (bracketed) {
      length = cubic(now, other);
    } else {
      length = now.length > best.length ? most : least;
    }
    if (now.loss > best.loss) {
      other = now;
    } else {
      if (turned) other = best;
      best = now;
    }
    return length;
  }

  // Where the slope has become flatter, but has not turned.
  double beyond(const End& now) const {
    double root;
    const double share = cubic_share(now, best, root);
    const bool ahead = now.length > best.length;
    double by_cubic = ahead ? most : least;
    if (share < 0 && root != 0) by_cubic = now.length + share * (best.length - now.length);
    const double by_secant = secant(now, best);
    const bool nearer = std::abs(by_cubic - now.length) < std::abs(by_secant - now.length);
    if (!bracketed) return std::clamp(nearer ? by_secant : by_cubic, least, most);
    const double length = nearer ? by_cubic : by_secant, limit = now.length + 0.66 * (other.length - now.length);
    return ahead ? std::min(limit, length) : std::max(limit, length);
  }

  End best, other;     // of the interval
  double least, most;  // lengths to try next
  bool bracketed = false, has_been_low = false;
  double width = kLongest, width_before = 2 * kLongest;
};

}  // namespace fastmlp
