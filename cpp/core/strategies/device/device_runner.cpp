// Many steps on a device, and the choice between its two ways.
#include "core/strategies/device/device_runner.h"

#include <algorithm>
#include <optional>

#include "core/strategies/chain.h"

namespace fastmlp {

namespace {

// What networks that are trained together in one launch have in common.
struct Kind {
  std::vector<SingleBlockLayer> layers;
  std::optional<RowActivationKind> row_activation;
  UpdateKind rule;
  bool states[3];
  Index steps;  // that the parameters have seen

  bool operator==(const Kind&) const = default;
};

// Affine operations, and at most a row activation at the end; one optimizer's group updates all that is trained. Null for
// other networks.
template <class T>
std::optional<Kind> kind_of(const GroupMember<T>& member, const std::vector<int>& slots) {
  const Program<T>& program = *member.program;
  const Optimizer<T>& optimizer = *member.optimizer;
  const int depth = affine_chain(program);
  if (depth == 0 || slots.empty() || !optimizer.equal_step_counts(slots)) return std::nullopt;
  Kind kind{{}, {}, optimizer.rule(slots[0]), {}, optimizer.slot_steps(slots[0])};
  for (int s = 0; s < 3; ++s) kind.states[s] = optimizer.keeps(slots[0], s);
  if (depth < program.size()) {
    const Operation<T>& last = program.operations().back();
    if (depth + 1 < program.size() || last.kind != OperationKind::RowActivation) return std::nullopt;
    kind.row_activation = last.row_activation;
  }
  const auto trains = [&](const std::shared_ptr<Parameter<T>>& parameter) {
    return parameter && parameter->requires_grad && optimizer.slot(parameter.get()) >= 0;
  };
  for (int l = 0; l < depth; ++l) {
    const Operation<T>& operation = program.operations()[static_cast<std::size_t>(l)];
    kind.layers.push_back({operation.weight->in, operation.weight->out, operation.activation, operation.bias != nullptr,
                           trains(operation.weight), trains(operation.bias)});
  }
  return kind;
}

}  // namespace

template <class T>
DeviceRunner<T>::DeviceRunner(const Program<T>& program)
    : DenseRunner<T>(program),
      first_(program.device()),
      counters_(program.device()),
      updates_(program.device()),
      losses_(program.device()),
      parameters_(program.device()) {}

template <class T>
DeviceRunner<T>::~DeviceRunner() {
  device().release_recording(recording_);
}

template <class T>
void DeviceRunner<T>::upload_updates(const std::vector<Update>& updates) {
  updates_.reserve(updates.size());
  check(device().upload(updates_.data(), updates.data(), updates.size() * sizeof(Update), StreamScope::current()));
}

// Skips the copy where nobody's memory has changed since the last call.
template <class T>
void DeviceRunner<T>::upload_parameters(const std::vector<GroupMember<T>>& members) {
  std::vector<UpdateTarget<T>> table;
  const auto add = [&](const std::shared_ptr<Parameter<T>>& parameter, Optimizer<T>& optimizer) {
    UpdateTarget<T>& entry = table.emplace_back();
    if (!parameter) return;
    if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->requires_grad)
      entry = optimizer.target(slot);
    entry.value = parameter->value.data();
  };
  for (const GroupMember<T>& member : members)
    for (int l = 0, depth = affine_chain(program_); l < depth; ++l) {
      const Operation<T>& operation = member.program->operations()[static_cast<std::size_t>(l)];
      add(operation.weight, *member.optimizer);
      add(operation.bias, *member.optimizer);
    }
  if (table == uploaded_) return;
  uploaded_.clear();
  parameters_.reserve(table.size());
  check(device().upload(parameters_.data(), table.data(), table.size() * sizeof table[0], StreamScope::current()));
  uploaded_ = std::move(table);
}

template <class T>
bool DeviceRunner<T>::group_steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                                  const std::vector<GroupMember<T>>& members, double* losses) {
  if (!kernels().trains_in_block) return false;
  std::vector<std::vector<int>> slots(members.size());
  std::optional<Kind> kind;
  bool same_constants = true;
  for (std::size_t m = 0; m < members.size(); ++m) {
    const GroupMember<T>& member = members[m];
    this->find_slots(*member.program, *member.optimizer, slots[m]);
    std::optional<Kind> own = kind_of(member, slots[m]);
    if (!own || (m > 0 && own != kind)) return false;
    if (member.optimizer->planned().empty() != members[0].optimizer->planned().empty()) return false;
    if (m == 0) kind = std::move(own);
    same_constants &= member.optimizer->steps_like(slots[m][0], *members[0].optimizer, slots[0][0]);
  }

  SingleBlockTraining<T> args{};
  args.layers = kind->layers.data();
  args.depth = static_cast<int>(kind->layers.size());
  args.has_row_activation = kind->row_activation.has_value();
  args.row_activation = kind->row_activation.value_or(RowActivationKind{});
  args.rule = kind->rule;
  std::copy_n(kind->states, 3, args.states);
  args.rows = rows_;
  const Batch<T> rows = batch.advanced(this->columns_, this->out_columns());
  args.x = rows.x;
  args.targets = rows.targets;
  args.ids = rows.ids;
  args.same_rows = same_rows;
  args.loss = spec;
  args.logits = program_.logits_for(spec.kind);
  args.steps = count;
  args.models = static_cast<Index>(members.size());
  if (!kernels().trains_in_block(args)) return false;

  upload_parameters(members);
  const std::size_t values = members.size() * static_cast<std::size_t>(count);
  losses_.reserve(values);
  std::vector<Update> updates = members[0].optimizer->next_updates(slots[0], count);
  const std::size_t each = updates.size();
  if (!same_constants) updates.reserve(each * members.size());
  for (std::size_t m = 1; m < members.size(); ++m) {
    if (same_constants) {
      members[m].optimizer->count_steps(slots[m], count, updates.back());
      continue;
    }
    const std::vector<Update>& own = members[m].optimizer->next_updates(slots[m], count);
    updates.insert(updates.end(), own.begin(), own.end());
  }
  upload_updates(updates);
  args.parameters = parameters_.data();
  args.updates = updates_.data();
  args.one_update = each == 1;
  args.update_stride = same_constants ? 0 : static_cast<Index>(each);
  args.losses = losses_.data();
  kernels().train_in_block(args, this->context());
  check(device().download(losses, losses_.data(), values * sizeof(double), StreamScope::current()));
  return true;
}

template <class T>
void DeviceRunner<T>::steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                            DropoutState dropout, Optimizer<T>& optimizer, double* losses) {
  if (group_steps(spec, batch, count, same_rows, {{&program_, &optimizer}}, losses)) return;
  std::vector<int> slots;
  this->find_slots(program_, optimizer, slots);
  // A single step is replayed, too: the number of steps in a call depends on timing, and the bits must not.
  if (slots.empty() || !optimizer.equal_step_counts(slots) || program_.counts_batches())
    return Runner<T>::steps(spec, batch, count, same_rows, dropout, optimizer, losses);
  for (const int slot : slots) optimizer.target(slot);  // makes the states
  losses_.reserve(static_cast<std::size_t>(count));
  const std::vector<Update>& updates = optimizer.next_updates(slots, count);
  upload_updates(updates);
  const bool one_update = updates.size() == 1;
  replay_steps(spec, batch, count,
               {nullptr, 0, updates_.data(), one_update, batch.ids, same_rows, nullptr, losses_.data()}, dropout,
               optimizer);
  program_.add_batches(count);
  check(device().download(losses, losses_.data(), static_cast<std::size_t>(count) * sizeof(double),
                          StreamScope::current()));
}

template class DeviceRunner<float>;
template class DeviceRunner<double>;

}  // namespace fastmlp
