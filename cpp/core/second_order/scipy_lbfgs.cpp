#include "core/second_order/scipy_lbfgs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <tuple>

#include "core/second_order/curvature_pairs.h"
#include "core/second_order/more_thuente.h"

namespace fastmlp {

namespace {

constexpr Index kPairs = 10;
constexpr double kLeastDecrease = 1e7 * std::numeric_limits<double>::epsilon();  // of the loss, beside its size

}  // namespace

template <class T>
void ScipyLbfgs<T>::set_option(const std::string& name, double value) {
  const auto count = [&] { return static_cast<Index>(std::min(value, 0x1p62)); };
  const Locked locked(lock_);
  if (name == "max_iter")
    options_.max_iter = count();
  else if (name == "max_eval")
    options_.max_eval = count();
  else if (name == "tolerance_grad")
    options_.tolerance_grad = value;
  else
    throw std::invalid_argument("L-BFGS has no option '" + name + "'");
}

template <class T>
double ScipyLbfgs<T>::squares(const std::vector<T>& x, std::vector<T>& gradient) const {
  if (decay_.empty()) return 0;
  if (decay_.size() != x.size()) throw std::invalid_argument("decay: expected one number for each weight");
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double share = decay_[i] * static_cast<double>(x[i]);
    gradient[i] += static_cast<T>(share);
    sum += share * static_cast<double>(x[i]);
  }
  return 0.5 * sum;
}

template <class T>
double ScipyLbfgs<T>::step(std::vector<T>& x, const Evaluate& evaluate) {
  std::vector<T> gradient(x.size()), end = x;
  const double first = evaluate(nullptr, gradient);
  result_ = minimise(options(), end, first + squares(x, gradient), gradient, evaluate);
  x.swap(end);
  return first;
}

template <class T>
typename ScipyLbfgs<T>::Result ScipyLbfgs<T>::minimise(const Options& options, std::vector<T>& x, double loss,
                                                       std::vector<T>& gradient, const Evaluate& evaluate) const {
  using Point = LinePoint<std::vector<T>>;
  Result result{0, 1, Status::Converged, loss};
  CurvaturePairs<T> curvature;
  if (largest(gradient) <= options.tolerance_grad) return result;
  for (;;) {
    const std::vector<T> direction = curvature.downhill(gradient);
    const Point start{0, result.loss, dot(gradient, direction), gradient};
    const auto at = [&](double length) {
      const std::vector<T> there = sum_with_scaled(x, length, direction);
      Point point{length, 0, 0, std::vector<T>(x.size())};
      point.loss = evaluate(&there, point.gradient);
      point.loss += squares(there, point.gradient);
      point.slope = dot(point.gradient, direction);
      return point;
    };
    std::optional<Point> found;
    if (!(start.slope >= 0)) {
      const double length =
          result.iterations > 0 ? 1 : std::min(1 / std::sqrt(dot(direction, direction)), MoreThuente::kLongest);
      Index used;
      std::tie(found, used) = MoreThuente::search(at, start, length);
      result.evaluations += used;
    }
    if (!found) {
      result.status = Status::Abnormal;
      if (curvature.pairs.empty()) return result;
      curvature = {};  // once more, straight downhill
      continue;
    }
    ++result.iterations;
    add_scaled(x, found->length, direction);
    gradient = std::move(found->gradient);
    result.loss = found->loss;
    const double fall = start.loss - found->loss;
    result.status = Status::Iterations;
    if (result.iterations >= options.max_iter) return result;
    result.status = Status::Evaluations;
    if (result.evaluations > options.max_eval) return result;
    result.status = Status::Converged;
    if (largest(gradient) <= options.tolerance_grad) return result;
    if (fall <= kLeastDecrease * std::max({std::abs(start.loss), std::abs(found->loss), 1.0})) return result;
    // A pair whose curvature is lost in rounding is left out.
    const double product = (found->slope - start.slope) * found->length;
    if (product > -start.slope * found->length * std::numeric_limits<double>::epsilon())
      curvature.add(sum_with_scaled(gradient, -1, start.gradient), scaled(direction, found->length), product, kPairs);
  }
}

template <class T>
State ScipyLbfgs<T>::state() const {
  State state;
  state.add("decay", decay_);
  state.add("n_iter", result_.iterations);
  state.add("func_evals", result_.evaluations);
  state.add("status", static_cast<Index>(result_.status));
  state.add("loss", result_.loss);
  return state;
}

template <class T>
void ScipyLbfgs<T>::set_state(const State& state) {
  decay_ = state.get<std::vector<double>>("decay");
  result_ = {};
}

template class ScipyLbfgs<double>;

}  // namespace fastmlp
