#include "core/optimizer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/thread_pool.h"

namespace fastmlp {

void OptimizerOptions::set(const std::string& name, double value) {
  const std::pair<const char*, double*> numbers[] = {{"lr", &lr},
                                                     {"momentum", &momentum},
                                                     {"dampening", &dampening},
                                                     {"weight_decay", &weight_decay},
                                                     {"beta1", &beta1},
                                                     {"beta2", &beta2},
                                                     {"eps", &eps},
                                                     {"alpha", &alpha}};
  const std::pair<const char*, bool*> flags[] = {
      {"nesterov", &nesterov}, {"amsgrad", &amsgrad}, {"centered", &centered}, {"maximize", &maximize}};
  for (const auto& [key, place] : numbers)
    if (name == key) {
      *place = value;
      return;
    }
  for (const auto& [key, place] : flags)
    if (name == key) {
      *place = value != 0;
      return;
    }
  throw std::invalid_argument("option: unknown optimizer option '" + name + "'");
}

Update make_update(OptimizerKind kind, const OptimizerOptions& o, Index step) {
  Update update;
  ops::UpdateConstants& c = update.constants;
  c.lr = o.lr;
  c.sign = o.maximize ? -1 : 1;
  c.l2 = o.weight_decay;
  c.eps = o.eps;
  switch (kind) {
    case OptimizerKind::SGD:
      update.kind = o.momentum == 0 ? UpdateKind::SGD : UpdateKind::SGDMomentum;
      c.momentum = o.momentum;
      c.gradient_share = step == 1 ? 1 : 1 - o.dampening;
      c.nesterov = o.nesterov;
      break;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      update.kind = UpdateKind::Adam;
      c.beta1 = o.beta1;
      c.moves_far = o.beta1 <= 0.5;
      c.beta2 = o.beta2;
      c.lr = o.lr / (1 - std::pow(o.beta1, static_cast<double>(step)));
      c.root_scale = 1 / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step)));
      c.amsgrad = o.amsgrad;
      if (kind == OptimizerKind::AdamW) {
        c.keep = 1 - o.lr * o.weight_decay;
        c.l2 = 0;
      }
      break;
    case OptimizerKind::RMSprop:
      update.kind = UpdateKind::RMSprop;
      c.beta2 = o.alpha;
      c.moves_far = o.alpha <= 0.5;
      c.momentum = o.momentum;
      c.centered = o.centered;
      break;
  }
  c.decays = c.l2 != 0;
  return update;
}

namespace {

// Which of the state values a rule needs.
void needed_states(OptimizerKind kind, const OptimizerOptions& o, bool (&needed)[3]) {
  switch (kind) {
    case OptimizerKind::SGD:
      needed[0] = o.momentum != 0;
      break;
    case OptimizerKind::Adam:
    case OptimizerKind::AdamW:
      needed[0] = needed[1] = true;
      needed[2] = o.amsgrad;
      break;
    case OptimizerKind::RMSprop:
      needed[0] = true;
      needed[1] = o.momentum != 0;
      needed[2] = o.centered;
      break;
  }
}

}  // namespace

template <class T>
Optimizer<T>::Optimizer(OptimizerKind kind, std::vector<ParameterGroup<T>> groups) : kind_(kind) {
  for (ParameterGroup<T>& group : groups) {
    Group& own = groups_.emplace_back();
    own.options = own.wanted = group.options;
    for (ParameterPtr& parameter : group.parameters) {
      if (!index_.emplace(parameter.get(), static_cast<int>(slots_.size())).second)
        throw std::invalid_argument("params: a parameter appears more than once");
      Slot& slot = slots_.emplace_back();
      slot.parameter = std::move(parameter);
      slot.group = groups_.size() - 1;
    }
  }
}

template <class T>
void Optimizer<T>::set_option(int group, const std::string& name, double value) {
  const Locked locked(lock_);
  groups_.at(static_cast<std::size_t>(group)).wanted.set(name, value);
  changed_.store(true, std::memory_order_relaxed);
}

template <class T>
void Optimizer<T>::change_options() {
  const Locked locked(lock_);
  for (Group& group : groups_) {
    group.options = group.wanted;
    group.update_step = -1;
    group.constant = false;
  }
  changed_.store(false, std::memory_order_relaxed);
  for (Slot& slot : slots_) slot.made_on = nullptr;
}

template <class T>
int Optimizer<T>::slot(const Parameter<T>* parameter) const {
  const auto found = index_.find(parameter);
  return found == index_.end() ? -1 : found->second;
}

// Whether the constants of this step hold for all later ones.
template <class T>
bool Optimizer<T>::constant_from(Index step) const {
  const bool adam = kind_ == OptimizerKind::Adam || kind_ == OptimizerKind::AdamW;
  return !adam && step > 1;
}

template <class T>
void Optimizer<T>::refresh(Slot& slot) {
  Group& group = groups_[slot.group];
  if (slot.steps != group.update_step && !(group.constant && constant_from(slot.steps))) {
    group.update = make_update(kind_, group.options, slot.steps);
    group.update_step = slot.steps;
    group.constant = constant_from(slot.steps);
    ++group.stamp;
  }
  if (slot.stamp != group.stamp) {
    slot.update = group.update;
    slot.stamp = group.stamp;
  }
}

template <class T>
bool Optimizer<T>::in_step(const std::vector<int>& slots) const {
  const auto at = [&](int slot) -> const Slot& { return slots_[static_cast<std::size_t>(slot)]; };
  return std::all_of(slots.begin(), slots.end(), [&](int slot) {
    return at(slot).steps == at(slots[0]).steps && at(slot).group == at(slots[0]).group;
  });
}

template <class T>
const std::vector<Update>& Optimizer<T>::next_updates(const std::vector<int>& slots, Index count) {
  const Slot& first = slots_[static_cast<std::size_t>(slots[0])];
  const OptimizerOptions& options = groups_[first.group].options;
  const Index done = first.steps;
  updates_.resize(constant_from(done + 1) ? 1 : static_cast<std::size_t>(count));
  for (Update& update : updates_) update = make_update(kind_, options, done + 1 + (&update - updates_.data()));
  for (const int number : slots) {
    Slot& slot = slots_[static_cast<std::size_t>(number)];
    slot.steps += count;
    slot.parameter->count_change();
    slot.update = updates_[0];
    slot.stamp = -1;
  }
  return updates_;
}

template <class T>
void Optimizer<T>::prepare() {
  take_options();
  for (Slot& slot : slots_)
    if (slot.parameter->requires_grad) need_states(slot);
}

template <class T>
void Optimizer<T>::make_states(Slot& slot) const {
  bool needed[3] = {};
  needed_states(kind_, groups_[slot.group].options, needed);
  const Device& device = slot.parameter->device();
  for (int s = 0; s < 3; ++s) {
    Buffer<T>& state = slot.state[s];
    if (&state.device() != &device) state = state.on(device, StreamScope::current());
    if (needed[s]) state.reserve(static_cast<std::size_t>(slot.parameter->size()));
  }
  slot.made_on = &device;
}

template <class T>
UpdateTarget<T> Optimizer<T>::target(int index) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  need_states(slot);
  UpdateTarget<T> target;
  target.value = slot.parameter->value.data();
  for (int s = 0; s < 3; ++s) target.state[s] = slot.state[s].data();
  return target;
}

template <class T>
void Optimizer<T>::step_slot(int index, const Context& context) {
  const Parameter<T>& parameter = *this->parameter(index);
  const UpdateTarget<T> target = this->target(index);
  kernels_of<T>(parameter.device())
      .update(next_update(index), parameter.size(), target, parameter.grad.data(), context);
}

template <class T>
void Optimizer<T>::step() {
  take_options();
  const Context context{thread_pool_executor(), nullptr, StreamScope::current()};
  for (std::size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].parameter->has_grad && slots_[i].parameter->requires_grad) step_slot(static_cast<int>(i), context);
}

template <class T>
void Optimizer<T>::zero_grad(bool forget) {
  for (Slot& slot : slots_) {
    Parameter<T>& parameter = *slot.parameter;
    if (!parameter.has_grad) continue;
    if (forget) {
      parameter.has_grad = false;
    } else {
      const std::vector<T> zeros(static_cast<std::size_t>(parameter.size()));
      parameter.write_grad(zeros.data());
    }
  }
}

template <class T>
std::vector<T> Optimizer<T>::state(int index, int which) const {
  const Slot& slot = slots_[static_cast<std::size_t>(index)];
  const Buffer<T>& state = slot.state[which];
  std::vector<T> values(state.size());
  if (!values.empty())
    check(state.device().download(values.data(), state.data(), values.size() * sizeof(T), StreamScope::current()));
  return values;
}

template <class T>
void Optimizer<T>::set_state(int index, Index steps, const std::vector<T> (&states)[3]) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  Buffer<T> fresh[3];
  for (int s = 0; s < 3; ++s) {
    fresh[s] = Buffer<T>(states[s].size(), slot.parameter->device());
    if (!states[s].empty())
      check(fresh[s].device().upload(fresh[s].data(), states[s].data(), states[s].size() * sizeof(T),
                                     StreamScope::current()));
  }
  for (int s = 0; s < 3; ++s) slot.state[s] = std::move(fresh[s]);
  slot.steps = steps;
  slot.stamp = -1;
  slot.made_on = nullptr;
}

template <class T>
Index Optimizer<T>::steps() const {
  Index most = 0;
  for (const Slot& slot : slots_) most = std::max(most, slot.steps);
  return most;
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace fastmlp
