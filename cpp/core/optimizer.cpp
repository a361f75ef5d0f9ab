#include "core/optimizer.h"

#include <algorithm>

#include "core/thread_pool.h"

namespace fastmlp {

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
void Optimizer<T>::use_plan(Index steps) {
  plan_.use(steps);
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    if (!schedule(kind_, plan_.at(-1, g), group.options)) continue;
    group.update_step = -1;
    group.constant = false;
  }
}

template <class T>
int Optimizer<T>::slot(const Parameter<T>* parameter) const {
  const auto found = index_.find(parameter);
  return found == index_.end() ? -1 : found->second;
}

template <class T>
void Optimizer<T>::refresh(Slot& slot) {
  Group& group = groups_[slot.group];
  const double product = slot.update.momentum_product;
  const bool known = slot.steps == group.update_step && product == group.product_before;
  if (!known && !(group.constant && constant_from(slot.steps, group.options))) {
    group.update = make_update(kind_, group.options, slot.steps, product);
    group.update_step = slot.steps;
    group.product_before = product;
    group.constant = constant_from(slot.steps, group.options);
    ++group.stamp;
  }
  if (slot.stamp != group.stamp) {
    slot.update = group.update;
    slot.stamp = group.stamp;
  }
}

template <class T>
bool Optimizer<T>::equal_step_counts(const std::vector<int>& slots) const {
  const auto at = [&](int slot) -> const Slot& { return slots_[static_cast<std::size_t>(slot)]; };
  return std::all_of(slots.begin(), slots.end(), [&](int slot) {
    return at(slot).steps == at(slots[0]).steps && at(slot).group == at(slots[0]).group &&
           at(slot).update.momentum_product == at(slots[0]).update.momentum_product;
  });
}

template <class T>
const std::vector<Update>& Optimizer<T>::next_updates(const std::vector<int>& slots, Index count) {
  const Slot& first = slots_[static_cast<std::size_t>(slots[0])];
  OptimizerOptions options = groups_[first.group].options;
  updates_.resize(has_one_update(slots[0]) ? 1 : static_cast<std::size_t>(count));
  double product = first.update.momentum_product;
  for (std::size_t i = 0; i < updates_.size(); ++i) {
    const auto step = static_cast<Index>(i);
    if (!plan_.empty()) schedule(kind_, plan_.at(step, first.group), options);
    updates_[i] = make_update(kind_, options, first.steps + 1 + step, product);
    product = updates_[i].momentum_product;
  }
  count_steps(slots, count, updates_.back());
  return updates_;
}

namespace {

// Whether the momenta of a rule without betas are what its constants hold: without any, SGD is another rule.
bool are_constants(const StepRates& momenta, Index count) {
  bool all = static_cast<bool>(momenta);
  for (Index i = 0; all && i < count; ++i) all = momenta[i] > 0;
  return all;
}

}  // namespace

template <class T>
typename Optimizer<T>::Steps Optimizer<T>::next_steps(const std::vector<int>& slots, Index count) {
  const Slot& first = slots_[static_cast<std::size_t>(slots[0])];
  OptimizerOptions options = groups_[first.group].options;
  const StepRates rates = plan_.rates(first.group, count), momenta = plan_.momenta(first.group, count);
  if (!rates || !constant_from(first.steps + 1, options) || has_decoupled_decay(kind_, options) ||
      (plan_.sets_momenta() && (has_betas(kind_) || !are_constants(momenta, count))))
    return {next_updates(slots, count), {}, {}};
  schedule(kind_, plan_.at(count - 1, first.group), options);
  updates_ = {make_update(kind_, options, first.steps + 1, first.update.momentum_product)};
  count_steps(slots, count, updates_[0]);
  return {updates_, rates, momenta};
}

template <class T>
void Optimizer<T>::count_steps(const std::vector<int>& slots, Index count, const Update& last) {
  for (const int number : slots) {
    Slot& slot = slots_[static_cast<std::size_t>(number)];
    slot.steps += count;
    slot.parameter->count_change();
    slot.update = last;
    slot.stamp = -1;
  }
  if (!plan_.empty()) use_plan(count);
}

template <class T>
bool Optimizer<T>::keeps(int slot, int state) const {
  bool needed[3] = {};
  needed_states(kind_, group_of(slot).options, needed);
  return needed[state];
}

template <class T>
void Optimizer<T>::prepare() {
  take_options();
  for (Slot& slot : slots_)
    if (slot.parameter->requires_grad) need_states(slot);
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
  Parameter<T>& parameter = *this->parameter(index);
  const UpdateTarget<T> target = this->target(index);
  kernels_of<T>(parameter.device())
      .update(next_update(index), parameter.size(), target, parameter.grad.data(), context);
  parameter.count_change();  // once more, now that the values are there or enqueued
}

template <class T>
void Optimizer<T>::step() {
  take_options();
  const Context context{thread_pool_executor(), nullptr, StreamScope::current()};
  for (std::size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].parameter->has_grad && slots_[i].parameter->requires_grad) step_slot(static_cast<int>(i), context);
  if (!slots_.empty()) check(slots_[0].parameter->device().launch_problem());
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
Index Optimizer<T>::steps() const {
  Index most = 0;
  for (const Slot& slot : slots_) most = std::max(most, slot.steps);
  return most;
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace fastmlp
