// What an optimizer keeps between steps: groups, the states of each parameter, and both as numbers and arrays.
#include <iterator>
#include <stdexcept>

#include "core/optimizer.h"

namespace fastmlp {

template <class T>
Optimizer<T>::Optimizer(OptimizerKind kind, std::vector<ParameterGroup<T>> groups) : kind_(kind) {
  for (ParameterGroup<T>& group : groups) add_group(std::move(group));
}

template <class T>
void Optimizer<T>::add_group(ParameterGroup<T> group) {
  std::unordered_map<const Parameter<T>*, int> index = index_;
  for (const ParameterPtr& parameter : group.parameters)
    if (!index.emplace(parameter.get(), static_cast<int>(index.size())).second)
      throw std::invalid_argument("params: a parameter appears more than once");
  std::vector<Slot> slots;
  for (ParameterPtr& parameter : group.parameters) {
    Slot& slot = slots.emplace_back();
    slot.parameter = std::move(parameter);
    slot.group = groups_.size();
    if (has_initial_value(kind_)) make_states(slot, group.options);
  }
  const Locked locked(lock_);
  Group& own = groups_.emplace_back();
  own.options = own.wanted = group.options;
  std::move(slots.begin(), slots.end(), std::back_inserter(slots_));
  index_ = std::move(index);
  changed_.store(true, std::memory_order_relaxed);  // targets obtained before point to nowhere
}

template <class T>
void Optimizer<T>::set_option(int group, const std::string& name, double value) {
  const Locked locked(lock_);
  groups_.at(static_cast<std::size_t>(group)).wanted.set(name, value);
  changed_.store(true, std::memory_order_relaxed);
}

template <class T>
void Optimizer<T>::make_states(Slot& slot, const OptimizerOptions& options) const {
  bool needed[3] = {};
  needed_states(kind_, options, needed);
  const Device& device = slot.parameter->device();
  const auto size = static_cast<std::size_t>(slot.parameter->size());
  for (int s = 0; s < 3; ++s) {
    Buffer<T>& state = slot.state[s];
    if (&state.device() != &device) state = state.on(device, StreamScope::current());
    if (!needed[s] || state.size() > 0) continue;
    Buffer<T> fresh(size, device);
    if (const T first = has_initial_value(kind_) ? static_cast<T>(initial_value(options)) : T(0); first != 0) {
      const std::vector<T> values(size, first);
      check(device.upload(fresh.data(), values.data(), size * sizeof(T), StreamScope::current()));
    }
    state = std::move(fresh);
  }
  slot.made_on = &device;
}

template <class T>
State Optimizer<T>::state() const {
  State state;
  {
    const Locked locked(lock_);
    for (std::size_t g = 0; g < groups_.size(); ++g)
      for (const auto& [name, value] : groups_[g].wanted.all())
        state.add("group." + std::to_string(g) + "." + name, value);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const std::string prefix = std::to_string(i) + ".";
    state.add(prefix + "steps", slots_[i].steps);
    if (kind_ == OptimizerKind::NAdam) state.add(prefix + "momentum_product", slots_[i].update.momentum_product);
    const std::vector<std::string>& names = state_names(kind_);
    for (std::size_t s = 0; s < names.size(); ++s) {
      const Buffer<T>& buffer = slots_[i].state[s];
      if (buffer.size() == 0) continue;
      std::vector<T> values(buffer.size());
      check(buffer.device().download(values.data(), buffer.data(), values.size() * sizeof(T), StreamScope::current()));
      state.add(prefix + names[s], std::move(values));
    }
  }
  return state;
}

template <class T>
void Optimizer<T>::set_state(const State& state) {
  struct Fresh {
    Index steps;
    double momentum_product;
    Buffer<T> state[3];
  };
  std::vector<Fresh> fresh;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const std::string prefix = std::to_string(i) + ".";
    const std::string product = prefix + "momentum_product";
    Fresh& own = fresh.emplace_back(
        Fresh{state.get<Index>(prefix + "steps"), state.has(product) ? state.get<double>(product) : 1, {}});
    if (own.steps < 0) throw std::invalid_argument("state: '" + prefix + "steps': expected at least 0");
    const Parameter<T>& parameter = *slots_[i].parameter;
    const std::vector<std::string>& names = state_names(kind_);
    for (std::size_t s = 0; s < 3; ++s) {
      own.state[s] = Buffer<T>(parameter.device());
      if (s >= names.size() || !state.has(prefix + names[s])) continue;
      const auto values = state.get<std::vector<T>>(prefix + names[s]);
      if (static_cast<Index>(values.size()) != parameter.size())
        throw std::invalid_argument("state: '" + prefix + names[s] + "': expected " + std::to_string(parameter.size()) +
                                    " values, got " + std::to_string(values.size()));
      own.state[s].reserve(values.size());
      check(parameter.device().upload(own.state[s].data(), values.data(), values.size() * sizeof(T),
                                      StreamScope::current()));
    }
  }
  if (state.has(std::to_string(slots_.size()) + ".steps"))
    throw std::invalid_argument("state: expected that of " + std::to_string(slots_.size()) +
                                " parameters, got one of more");
  std::vector<OptimizerOptions> options;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    options.push_back(groups_[g].wanted);
    for (const auto& [name, value] : options.back().all()) {
      const std::string key = "group." + std::to_string(g) + "." + name;
      if (state.has(key)) options.back().set(name, state.get<double>(key));
    }
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    std::move(fresh[i].state, fresh[i].state + 3, slot.state);
    slot.steps = fresh[i].steps;
    slot.update.momentum_product = fresh[i].momentum_product;
    slot.stamp = -1;
    slot.made_on = nullptr;
  }
  const Locked locked(lock_);
  for (std::size_t g = 0; g < groups_.size(); ++g) groups_[g].wanted = options[g];
  changed_.store(true, std::memory_order_relaxed);
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace fastmlp
