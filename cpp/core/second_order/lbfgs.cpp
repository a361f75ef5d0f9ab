#include "core/second_order/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

#include "core/second_order/line_search.h"

namespace fastmlp {

template <class T>
void Lbfgs<T>::set_option(const std::string& name, double value) {
  const auto count = [&] { return static_cast<Index>(std::min(value, 0x1p62)); };
  const Locked locked(lock_);
  if (name == "lr")
    options_.lr = value;
  else if (name == "max_iter")
    options_.max_iter = count();
  else if (name == "max_eval")
    options_.max_eval = count();
  else if (name == "tolerance_grad")
    options_.tolerance_grad = value;
  else if (name == "tolerance_change")
    options_.tolerance_change = value;
  else if (name == "history_size")
    options_.history_size = count();
  else if (name == "line_search")
    options_.searches = value != 0;
  else
    throw std::invalid_argument("LBFGS has no option '" + name + "'");
}

// The last step and what it did to the gradient, unless the curvature was none.
template <class T>
void Lbfgs<T>::Memory::remember(const std::vector<T>& gradient_now, Index most) {
  constexpr double kLeast = 1e-10;
  std::vector<T> change = sum_with_scaled(gradient_now, -1, *gradient), step = scaled(*direction, length);
  const double product = dot(change, step);
  if (product > kLeast) curvature.add(std::move(change), std::move(step), product, most);
}

template <class T>
double Lbfgs<T>::step(std::vector<T>& x, const Evaluate& evaluate) {
  const LbfgsOptions options = this->options();
  std::vector<T> gradient(x.size()), end = x;
  const double first = evaluate(nullptr, gradient);
  Memory memory = iterate(memory_, options, end, first, shared_vector(std::move(gradient)), evaluate);
  std::swap(memory_, memory);
  x.swap(end);
  return first;
}

template <class T>
typename Lbfgs<T>::Memory Lbfgs<T>::iterate(Memory memory, const LbfgsOptions& options, std::vector<T>& x, double loss,
                                            SharedVector<T> gradient, const Evaluate& evaluate) {
  using Point = LinePoint<SharedVector<T>>;
  ++memory.evaluations;
  Index left = options.max_eval - 1;
  if (largest(*gradient) <= options.tolerance_grad) return memory;
  for (Index iteration = 1; iteration <= options.max_iter; ++iteration) {
    if (++memory.iterations > 1) memory.remember(*gradient, options.history_size);
    memory.length = options.lr;
    if (memory.iterations == 1) memory.length *= std::min(1.0, 1 / sum_of_magnitudes(*gradient));
    memory.direction = shared_vector(memory.curvature.downhill(*gradient));
    memory.gradient = gradient;
    memory.loss = loss;
    const std::vector<T>& direction = *memory.direction;
    const double slope = dot(*gradient, direction);
    if (slope > -options.tolerance_change) break;

    const auto at = [&](double length) {
      const std::vector<T> there = sum_with_scaled(x, length, direction);
      std::vector<T> found(x.size());
      const double value = evaluate(&there, found);
      const double slope_there = dot(found, direction);
      return Point{length, value, slope_there, shared_vector(std::move(found))};
    };
    Index used = 0;
    if (options.searches) {
      Point point{0, loss, slope, gradient};
      std::tie(point, used) = strong_wolfe(at, point, memory.length, largest(direction), left);
      memory.length = point.length;
      loss = point.loss;
      gradient = std::move(point.gradient);
    } else if (iteration < options.max_iter) {  // nobody looks at the last one any more
      Point point = at(memory.length);
      loss = point.loss;
      gradient = std::move(point.gradient);
      used = 1;
    }
    add_scaled(x, memory.length, direction);
    memory.evaluations += used;
    left -= used;
    if (left <= 0 || largest(*gradient) <= options.tolerance_grad ||
        largest(direction) * std::abs(memory.length) <= options.tolerance_change ||
        std::abs(loss - memory.loss) < options.tolerance_change)
      break;
  }
  return memory;
}

template <class T>
State Lbfgs<T>::state() const {
  State state;
  if (memory_.evaluations == 0) return state;
  state.add("func_evals", memory_.evaluations);
  state.add("n_iter", memory_.iterations);
  if (!memory_.direction) return state;
  state.add("d", *memory_.direction);
  state.add("t", memory_.length);
  state.add("prev_flat_grad", *memory_.gradient);
  state.add("prev_loss", memory_.loss);
  state.add("H_diag", memory_.curvature.scale);
  std::vector<double> inverses;
  for (const auto& pair : memory_.curvature.pairs) {
    const std::string number = std::to_string(inverses.size());
    state.add("old_dirs." + number, *pair.change);
    state.add("old_stps." + number, *pair.step);
    inverses.push_back(pair.inverse);
  }
  state.add("ro", std::move(inverses));
  return state;
}

template <class T>
void Lbfgs<T>::set_state(const State& state) {
  const auto vector = [&](const std::string& name) { return shared_vector(state.get<std::vector<T>>(name)); };
  Memory memory;
  if (state.has("func_evals")) memory.evaluations = state.get<Index>("func_evals");
  if (state.has("n_iter")) memory.iterations = state.get<Index>("n_iter");
  if (memory.iterations > 0) {
    memory.direction = vector("d");
    memory.length = state.get<double>("t");
    memory.gradient = vector("prev_flat_grad");
    memory.loss = state.get<double>("prev_loss");
    memory.curvature.scale = state.get<double>("H_diag");
    for (const double inverse : state.get<std::vector<double>>("ro")) {
      const std::string number = std::to_string(memory.curvature.pairs.size());
      memory.curvature.pairs.push_back({vector("old_dirs." + number), vector("old_stps." + number), inverse});
    }
  }
  std::swap(memory_, memory);
}

template class Lbfgs<float>;
template class Lbfgs<double>;

}  // namespace fastmlp
