// Many steps on a device, and the choice between its two ways.
#include "core/strategies/device/device_runner.h"

#include <algorithm>

#include "core/strategies/chain.h"
#include "core/strategies/device/block_kind.h"
#include "core/tasks.h"

namespace fastmlp {

template <class T>
DeviceRunner<T>::DeviceRunner(const Program<T>& program)
    : DenseRunner<T>(program),
      begin_(program.device()),
      updates_(program.device()),
      losses_(program.device()),
      parameters_(program.device()),
      block_rows_(program.device()),
      workspace_(program.device()) {}

template <class T>
DeviceRunner<T>::~DeviceRunner() {
  forget_recordings();
}

template <class T>
void DeviceRunner<T>::upload_updates(const std::vector<Update>& updates) {
  updates_.reserve(updates.size());
  check(device().upload(updates_.data(), updates.data(), updates.size() * sizeof(Update), StreamScope::current()));
}

template <class T>
void DeviceRunner<T>::forward(const Batch<T>& batch, const DropoutState* dropout, T* y) {
  if (this->training_ || dropout || !predict_at_once(batch, y)) DenseRunner<T>::forward(batch, dropout, y);
}

// In one launch, if the backend has one: affine operations one after the other, without what only a training pass does,
// and at most a row activation.
template <class T>
bool DeviceRunner<T>::predict_at_once(const Batch<T>& batch, T* y) {
  if (!kernels().predict_chain || !program_.is_chain()) return false;
  ChainPrediction<T> args{};
  layers_.clear();
  for (const Operation<T>& operation : program_.operations()) {
    if (args.has_row_activation) return false;
    if (operation.kind == OperationKind::Affine) {
      layers_.push_back(chain_layer(operation));
    } else if (operation.kind == OperationKind::RowActivation) {
      args.has_row_activation = true;
      args.row_activation = operation.row_activation;
    } else if (operation.kind != OperationKind::Dropout) {
      return false;
    }
  }
  args.layers = layers_.data();
  args.depth = static_cast<int>(layers_.size());
  args.rows = rows_;
  args.x = batch.x;
  args.y = y;
  const bool is_done = kernels().predict_chain(args, this->context());
  check(device().launch_problem());
  return is_done;
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

// The same.
template <class T>
void DeviceRunner<T>::upload_rows(const std::vector<GroupMember<T>>& members) {
  std::vector<SingleBlockRows<T>> table;
  table.reserve(members.size());
  for (const GroupMember<T>& member : members) {
    const Targets<T>& targets = member.batch.targets;
    table.push_back({member.batch.x, targets.dense, targets.classes, targets.weights, member.batch.ids});
  }
  if (table == uploaded_rows_) return;
  uploaded_rows_.clear();
  block_rows_.reserve(table.size());
  check(device().upload(block_rows_.data(), table.data(), table.size() * sizeof table[0], StreamScope::current()));
  uploaded_rows_ = std::move(table);
}

namespace {

// Whether the batches have the same things.
template <class T>
bool same_form(const Batch<T>& a, const Batch<T>& b) {
  const auto same = [](const auto* one, const auto* other) { return (one != nullptr) == (other != nullptr); };
  return a.row == b.row && same(a.ids, b.ids) && same(a.targets.dense, b.targets.dense) &&
         same(a.targets.classes, b.targets.classes) && same(a.targets.weights, b.targets.weights);
}

}  // namespace

template <class T>
void DeviceRunner<T>::give_losses(std::size_t count, double* losses, PendingDownload* later) {
  PendingDownload download(device(), losses_.data(), count * sizeof(double), StreamScope::current(), losses);
  if (later)
    *later = std::move(download);
  else
    download.take();
}

template <class T>
bool DeviceRunner<T>::group_steps(const LossSpec& spec, Index count, bool same_rows,
                                  const std::vector<GroupMember<T>>& members, double* losses, PendingDownload* later) {
  if (!kernels().trains_in_block) return false;  // nor across blocks
  std::vector<std::vector<int>> slots(members.size());
  std::optional<BlockKind> kind;
  bool same_constants = true;
  for (std::size_t m = 0; m < members.size(); ++m) {
    const GroupMember<T>& member = members[m];
    slots[m] = slots_of(*member.program, *member.optimizer);
    std::optional<BlockKind> own = block_kind(*member.program, *member.optimizer, slots[m]);
    if (!own || (m > 0 && (own != kind || !same_form(member.batch, members[0].batch)))) return false;
    if (m == 0) kind = std::move(own);
    same_constants &= member.optimizer->steps_like(slots[m][0], *members[0].optimizer, slots[0][0]);
  }

  SingleBlockTraining<T> args = kind->training<T>();
  args.rows = rows_;
  const Batch<T>& first = members[0].batch;
  args.targets = first.targets;
  args.by_ids = first.ids != nullptr;
  args.row = first.row;
  args.same_rows = same_rows;
  args.loss = spec;
  args.logits = program_.logits_for(spec.kind);
  args.steps = count;
  args.models = static_cast<Index>(members.size());
  const bool in_block = kernels().trains_in_block(args);
  if (!in_block) {
    const bool can = kernels().workspace_across_blocks && this->context().precision == Precision::Float32;
    const std::size_t bytes = can ? kernels().workspace_across_blocks(args) : 0;
    if (bytes == 0) return false;
    workspace_.reserve(bytes);
  }

  upload_parameters(members);
  upload_rows(members);
  const std::size_t values = members.size() * static_cast<std::size_t>(count);
  losses_.reserve(values);
  std::vector<Update> updates = members[0].optimizer->next_updates(slots[0], count);
  const std::size_t each = updates.size();
  if (same_constants) {
    for (std::size_t m = 1; m < members.size(); ++m) members[m].optimizer->count_steps(slots[m], count, updates.back());
  } else {
    updates.resize(each * members.size());
    for_tasks(static_cast<Index>(members.size()) - 1, [&](Index task) {
      const auto m = static_cast<std::size_t>(task) + 1;
      const std::vector<Update>& own = members[m].optimizer->next_updates(slots[m], count);
      std::copy(own.begin(), own.end(), updates.begin() + static_cast<std::ptrdiff_t>(m * each));
    });
  }
  upload_updates(updates);
  args.parameters = parameters_.data();
  args.data = block_rows_.data();
  args.updates = updates_.data();
  args.update_stride = same_constants ? 0 : static_cast<Index>(each);
  args.losses = losses_.data();
  if (in_block)
    kernels().train_in_block(args, this->context());
  else
    kernels().train_across_blocks(args, workspace_.data(), this->context());
  give_losses(values, losses, later);
  return true;
}

template <class T>
void DeviceRunner<T>::steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                            DropoutState dropout, Optimizer<T>& optimizer, double* losses, PendingDownload* later) {
  if (group_steps(spec, count, same_rows, {{&program_, &optimizer, batch}}, losses, later)) return;
  const std::vector<int> slots = slots_of(program_, optimizer);
  // A single step is replayed, too: the number of steps in a call depends on timing, and the bits must not.
  if (slots.empty() || !optimizer.equal_step_counts(slots) || program_.counts_batches())
    return Runner<T>::steps(spec, batch, count, same_rows, dropout, optimizer, losses, later);
  for (const int slot : slots) optimizer.target(slot);  // makes the states
  // Room that longer calls need is there at once: recordings hold the addresses.
  constexpr Index kLongCall = 4096;
  const Index room = count > kFewSteps ? std::max(count, kLongCall) : count;
  losses_.reserve(static_cast<std::size_t>(room));
  const std::vector<Update>& updates = optimizer.next_updates(slots, count);
  if (updates.size() > 1) updates_.reserve(static_cast<std::size_t>(room));
  upload_updates(updates);
  const bool one_update = updates.size() == 1;
  replay_steps(spec, batch, count,
               {nullptr, 0, updates_.data(), one_update, batch.ids, same_rows, nullptr, losses_.data()}, dropout,
               optimizer);
  program_.add_batches(count);
  give_losses(static_cast<std::size_t>(count), losses, later);
}

template class DeviceRunner<float>;
template class DeviceRunner<double>;

}  // namespace fastmlp
