#include "core/history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fastmlp {

namespace {

const std::string kMetricPrefix = "metrics.";  // of their names in a state

}  // namespace

bool History::is_finite(Index epochs) const {
  return std::all_of(measured_.loss.end() - epochs, measured_.loss.end(),
                     [](double loss) { return std::isfinite(loss); });
}

void History::make_room(Index epochs, bool rates, bool validation) {
  constexpr Index kMost = Index{1} << 20;
  const Index count = std::min(epochs, kMost);
  const Locked locked(lock_);
  measured_.loss.make_room(count);
  if (rates) measured_.learning_rate.make_room(count);
  if (validation) measured_.validation_loss.make_room(count);
}

void History::add_steps(const double* losses, Index count, Index eval_interval) {
  const Locked locked(lock_);
  Measured& m = measured_;
  for (const double* const end = losses + count; losses < end;) {
    const Index own = std::min<Index>(end - losses, std::max<Index>(eval_interval - m.report_count, 1));
    m.report_sum = std::accumulate(losses, losses + own, m.report_sum);
    m.report_count += own;
    m.steps += own;
    losses += own;
    if (m.report_count < eval_interval) continue;
    m.report_step.push_back(m.steps);
    m.report_loss.push_back(m.report_sum / static_cast<double>(m.report_count));
    m.report_sum = 0;
    m.report_count = 0;
  }
}

void History::add_epochs(const double* losses, const StepRates& rates, Index count, double seconds) {
  const Locked locked(lock_);
  Measured& m = measured_;
  m.loss.append(losses, count);
  m.learning_rate.add(rates, count);
  m.epoch_time.repeat(seconds / static_cast<double>(count), count);
}

namespace {

// Makes `value` that of the last of so many epochs; those that have none get NaN.
void set_last(Numbers& values, std::size_t epochs, double value) {
  while (values.size() + 1 < epochs) values.push_back(std::numeric_limits<double>::quiet_NaN());
  values.push_back(value);
}

}  // namespace

void History::add_epoch(const EpochResult& result, const std::vector<std::string>& metrics, double seconds) {
  const Locked locked(lock_);
  Measured& m = measured_;
  m.loss.push_back(result.loss);
  m.learning_rate.add(result.rate);
  m.epoch_time.add(seconds);
  if (result.validation_loss) set_last(m.validation_loss, m.loss.size(), *result.validation_loss);
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    auto found =
        std::find_if(m.metrics.begin(), m.metrics.end(), [&](const auto& old) { return old.first == metrics[i]; });
    if (found == m.metrics.end()) found = m.metrics.insert(found, {metrics[i], {}});
    set_last(found->second, m.loss.size(), result.metrics[i]);
  }
}

State History::state() const {
  const Measured m = read([](const Measured& measured) { return measured; });
  State state("history");
  state.add("loss", m.loss.values());
  state.add("validation_loss", m.validation_loss.values());
  state.add("learning_rate", m.learning_rate.values());
  state.add("epoch_time", m.epoch_time.values());
  for (const auto& [name, values] : m.metrics) state.add(kMetricPrefix + name, values.values());
  state.add("report_step", m.report_step);
  state.add("report_loss", m.report_loss);
  state.add("steps", m.steps);
  state.add("report_sum", m.report_sum);
  state.add("report_count", m.report_count);
  return state;
}

void History::set_state(const State& state) {
  Measured m;
  m.loss = Numbers(state.get<std::vector<double>>("loss"));
  m.validation_loss = Numbers(state.get<std::vector<double>>("validation_loss"));
  const auto rates = state.get<std::vector<double>>("learning_rate"),
             times = state.get<std::vector<double>>("epoch_time");
  m.learning_rate = Runs(rates);
  m.epoch_time = Runs(times);
  bool fits =
      times.size() == m.loss.size() && rates.size() == m.loss.size() && m.validation_loss.size() <= m.loss.size();
  for (const auto& [name, value] : state.entries())
    if (name.starts_with(kMetricPrefix)) {
      m.metrics.emplace_back(name.substr(kMetricPrefix.size()), Numbers(state.get<std::vector<double>>(name)));
      fits = fits && m.metrics.back().second.size() <= m.loss.size();
    }
  m.report_step = state.get<std::vector<Index>>("report_step");
  m.report_loss = state.get<std::vector<double>>("report_loss");
  m.steps = state.get<Index>("steps");
  m.report_sum = state.get<double>("report_sum");
  m.report_count = state.get<Index>("report_count");
  if (!fits || m.report_step.size() != m.report_loss.size() || m.steps < 0 || m.report_count < 0)
    throw std::invalid_argument("history: expected curves and counters that belong together");
  const Locked locked(lock_);
  measured_ = std::move(m);
}

}  // namespace fastmlp
