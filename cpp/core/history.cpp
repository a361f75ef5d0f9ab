#include "core/history.h"

#include <algorithm>
#include <cmath>

namespace fastmlp {

bool History::is_finite(Index epochs) const {
  return std::all_of(measured_.loss.end() - epochs, measured_.loss.end(),
                     [](double loss) { return std::isfinite(loss); });
}

void History::add_steps(const double* losses, Index count, Index eval_interval) {
  const Locked locked(lock_);
  Measured& m = measured_;
  for (Index i = 0; i < count; ++i) {
    ++m.steps;
    m.report_sum += losses[i];
    if (++m.report_count < eval_interval) continue;
    m.report_step.push_back(m.steps);
    m.report_loss.push_back(m.report_sum / static_cast<double>(m.report_count));
    m.report_sum = 0;
    m.report_count = 0;
  }
}

void History::add_epochs(const double* losses, const double* rates, Index count) {
  const Locked locked(lock_);
  measured_.loss.insert(measured_.loss.end(), losses, losses + count);
  measured_.learning_rate.insert(measured_.learning_rate.end(), rates, rates + count);
}

void History::add_epoch(double loss, const double* validation_loss, double rate) {
  const Locked locked(lock_);
  measured_.loss.push_back(loss);
  measured_.learning_rate.push_back(rate);
  if (validation_loss) measured_.validation_loss.push_back(*validation_loss);
}

State History::state() const {
  const Measured m = read([](const Measured& measured) { return measured; });
  State state("history");
  state.add("loss", m.loss);
  state.add("validation_loss", m.validation_loss);
  state.add("learning_rate", m.learning_rate);
  state.add("report_step", m.report_step);
  state.add("report_loss", m.report_loss);
  state.add("steps", m.steps);
  state.add("report_sum", m.report_sum);
  state.add("report_count", m.report_count);
  return state;
}

void History::set_state(const State& state) {
  Measured m;
  m.loss = state.get<std::vector<double>>("loss");
  m.validation_loss = state.get<std::vector<double>>("validation_loss");
  m.learning_rate = state.get<std::vector<double>>("learning_rate");
  m.report_step = state.get<std::vector<Index>>("report_step");
  m.report_loss = state.get<std::vector<double>>("report_loss");
  m.steps = state.get<Index>("steps");
  m.report_sum = state.get<double>("report_sum");
  m.report_count = state.get<Index>("report_count");
  if (m.validation_loss.size() > m.loss.size() || m.learning_rate.size() != m.loss.size() ||
      m.report_step.size() != m.report_loss.size() || m.steps < 0 || m.report_count < 0)
    throw std::invalid_argument("history: expected curves and counters that belong together");
  const Locked locked(lock_);
  measured_ = std::move(m);
}

}  // namespace fastmlp
