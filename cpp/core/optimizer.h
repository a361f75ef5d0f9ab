// The optimizers: groups of parameters with options, and the states and steps of each parameter.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/backend.h"
#include "core/locks.h"
#include "core/parameter.h"
#include "core/planned_options.h"
#include "core/state.h"

namespace fastmlp {

// Parameters that share their options.
template <class T>
struct ParameterGroup {
  OptimizerOptions options;
  std::vector<std::shared_ptr<Parameter<T>>> parameters;
};

template <class T>
class Optimizer {
 public:
  using ParameterPtr = std::shared_ptr<Parameter<T>>;

  Optimizer(OptimizerKind kind, std::vector<ParameterGroup<T>> groups);
  Optimizer(OptimizerKind kind, OptimizerOptions options, std::vector<ParameterPtr> parameters)
      : Optimizer(kind, {{options, std::move(parameters)}}) {}

  // For the next step on. Throws std::invalid_argument where a parameter is there already; nothing has changed then.
  void add_group(ParameterGroup<T> group);
  int groups() const { return static_cast<int>(groups_.size()); }
  // Takes effect at the next call of take_options. Any thread may call this.
  void set_option(int group, const std::string& name, double value);
  // Makes the options that were set take effect. Returns whether there were any: update targets obtained before are then
  // out of date.
  bool take_options() {
    const bool changed = changed_.load(std::memory_order_relaxed);
    if (changed) [[unlikely]]
      change_options();
    return changed;
  }

  // Options of the trainer's next steps, which take the place of those that are set. Nobody else may step meanwhile.
  void plan(PlannedOptions plan) { plan_ = std::move(plan); }
  const PlannedOptions& planned() const { return plan_; }
  // Forgets the plan; returns how many steps have used it.
  Index end_plan() {
    const Index used = plan_.used();
    plan_ = {};
    return used;
  }
  // Before a step of the trainer that next_update makes; next_updates and count_steps do it themselves.
  void begin_step() {
    if (!plan_.empty()) use_plan(1);
  }
  // The learning rates of the first group in the last step of each of the last epochs, each of so many steps.
  StepRates last_rates(Index epochs, Index steps) const {
    return plan_.empty() ? StepRates{&groups_[0].options.lr, 0} : plan_.last_rates(epochs, steps);
  }

  // Takes the options and makes the states that later steps need.
  void prepare();
  // Updates every parameter that has a gradient.
  void step();
  void zero_grad(bool forget = true);  // or sets the gradients that there are to zero

  // The parts of a step, for kernels that apply updates themselves. A slot is a parameter's number over all groups; -1: none.
  int size() const { return static_cast<int>(slots_.size()); }
  int slot(const Parameter<T>* parameter) const;
  const ParameterPtr& parameter(int slot) const { return slots_[static_cast<std::size_t>(slot)].parameter; }
  std::vector<ParameterPtr> parameters() const {
    std::vector<ParameterPtr> all;
    for (const Slot& slot : slots_) all.push_back(slot.parameter);
    return all;
  }
  // The constants of the slot's last step.
  const Update& update(int slot) const { return slots_[static_cast<std::size_t>(slot)].update; }
  // Counts one more step of the slot and returns its constants, which hold until the slot's next step.
  const Update& next_update(int slot) {
    Slot& own = slots_[static_cast<std::size_t>(slot)];
    ++own.steps;
    own.parameter->count_change();
    const Group& group = groups_[own.group];
    if (!group.constant || own.stamp != group.stamp) refresh(own);
    return own.update;
  }
  // Whether the constants of the slot's next step hold for all later ones.
  bool has_one_update(int slot) const {
    return plan_.empty() && constant_from(slot_steps(slot) + 1, group_of(slot).options);
  }
  // Counts `count` steps of slots that are in step, and returns their constants: one for each step, or a single one for
  // all. They hold until the next call.
  const std::vector<Update>& next_updates(const std::vector<int>& slots, Index count);
  // The same, where a plan changes nothing but the rates and the momenta: those, and a single one for all but them.
  struct Steps {
    const std::vector<Update>& updates;
    StepRates rates, momenta;  // may be null; momenta come with rates
  };
  Steps next_steps(const std::vector<int>& slots, Index count);
  // Whether these slots, all of one group, have seen equally many steps, and the same momenta where that matters.
  bool equal_step_counts(const std::vector<int>& slots) const;
  // Like next_updates, where the constants are known: `last` is the last step's.
  void count_steps(const std::vector<int>& slots, Index count, const Update& last);
  // The rule of the slot's next step, and whether it keeps a state.
  UpdateKind rule(int slot) const { return make_update(kind_, group_of(slot).options, 1).kind; }
  bool keeps(int slot, int state) const;
  // Whether the next steps of a slot of another optimizer, which has seen equally many, have the same constants.
  bool steps_like(int slot, const Optimizer& other, int other_slot) const {
    return kind_ == other.kind_ && plan_.empty() && other.plan_.empty() &&
           group_of(slot).options == other.group_of(other_slot).options &&
           update(slot).momentum_product == other.update(other_slot).momentum_product;
  }
  UpdateTarget<T> target(int slot);
  void step_slot(int slot, const Context& context);

  Index steps() const;  // the most steps that a parameter has seen

  Index slot_steps(int slot) const { return slots_[static_cast<std::size_t>(slot)].steps; }

  // "group.<number>.<option>" of each group; "<slot>.steps" and "<slot>.momentum_product" of each slot, and its states by
  // torch's names, as "<slot>.exp_avg", where they exist, in the order of the storage.
  State state() const;
  // Options that are missing stay as they are, states are made anew when they are needed. Throws std::invalid_argument for
  // other parameters than these; nothing has changed then.
  void set_state(const State& state);

 private:
  // The options that hold, those that were set since, and the constants of the group's last step.
  struct Group {
    OptimizerOptions options, wanted;
    Update update;
    Index update_step = -1;     // the step number that `update` is for; -1: the options have changed
    double product_before = 1;  // and the momentum product
    Index stamp = 0;            // counts the changes of `update`
    bool constant = false;      // it holds for all later steps, too
  };
  struct Slot {
    ParameterPtr parameter;
    std::size_t group = 0;
    Buffer<T> state[3];
    Index steps = 0;
    Update update;
    Index stamp = -1;                 // of the constants in `update`
    const Device* made_on = nullptr;  // where its states are, if all that the options need are there
  };

  const Group& group_of(int slot) const { return groups_[slots_[static_cast<std::size_t>(slot)].group]; }
  void make_states(Slot& slot, const OptimizerOptions& options) const;  // on the parameter's device
  void need_states(Slot& slot) const {
    if (slot.made_on != &slot.parameter->device()) [[unlikely]]
      make_states(slot, groups_[slot.group].options);
  }

  OptimizerKind kind_;
  mutable Lock lock_;                 // of the wanted options
  std::atomic<bool> changed_{false};  // some of them were not taken yet
  std::vector<Group> groups_;
  std::vector<Slot> slots_;
  std::unordered_map<const Parameter<T>*, int> index_;
  // Brings the constants of the slot's step into its update.
  void refresh(Slot& slot);
  // Whether the constants of this step hold for all later ones.
  bool constant_from(Index step, const OptimizerOptions& options) const {
    return step > 1 && has_constant_steps(kind_, options);
  }
  void change_options();
  // The options of the last of so many steps take effect.
  void use_plan(Index steps);

  PlannedOptions plan_;

  std::vector<Update> updates_;
};

}  // namespace fastmlp
