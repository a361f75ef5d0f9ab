// Many steps on a device, and the choice between its two ways.
#include "core/strategies/device/device_runner.h"
#include "core/strategies/chain.h"

namespace fastmlp {

template <class T>
DeviceRunner<T>::DeviceRunner(const Program<T>& program)
    : DenseRunner<T>(program),
      first_(program.device()),
      counters_(program.device()),
      updates_(program.device()),
      losses_(program.device()) {}

template <class T>
DeviceRunner<T>::~DeviceRunner() {
  device().release_recording(recording_);
}

// Affine operations, and at most a row activation at the end.
template <class T>
bool DeviceRunner<T>::describe_training(const LossSpec& spec, Optimizer<T>& optimizer,
                                        std::vector<LanesLayer<T>>& layers, SingleBlockTraining<T>& args) const {
  const int depth = affine_chain(program_);
  if (!kernels().trains_in_block || depth == 0) return false;
  if (depth < program_.size()) {
    const Operation<T>& last = program_.operations().back();
    if (depth + 1 < program_.size() || last.kind != OperationKind::RowActivation) return false;
    args.has_row_activation = true;
    args.row_activation = last.row_activation;
  }
  layers = chain_layers(program_, depth);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Operation<T>& operation = program_.operations()[i];
    layers[i].weight_sink = this->sink(operation.weight, rows_, &optimizer);
    layers[i].bias_sink = this->sink(operation.bias, rows_, &optimizer);
  }
  args.layers = layers.data();
  args.depth = depth;
  args.rows = rows_;
  args.loss = spec;
  args.logits = program_.logits_for(spec.kind);
  return true;
}

template <class T>
void DeviceRunner<T>::steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                            DropoutState dropout, Optimizer<T>& optimizer, double* losses) {
  std::vector<int> slots;
  this->find_slots(optimizer, slots);
  // A single step goes this way, too: the number of steps in a call depends on timing, and the bits must not.
  if (slots.empty() || !optimizer.in_step(slots))
    return Runner<T>::steps(spec, batch, count, same_rows, dropout, optimizer, losses);
  for (const int slot : slots) optimizer.target(slot);  // makes the states

  const Stream stream = StreamScope::current();
  const std::vector<Update>& updates = optimizer.next_updates(slots, count);
  updates_.reserve(updates.size());
  losses_.reserve(static_cast<std::size_t>(count));
  check(device().upload(updates_.data(), updates.data(), updates.size() * sizeof(Update), stream));
  const bool one_update = updates.size() == 1;

  SingleBlockTraining<T> whole{};
  std::vector<LanesLayer<T>> layers;
  bool in_one_block = describe_training(spec, optimizer, layers, whole);
  if (in_one_block) {
    const Batch<T> rows = batch.advanced(this->columns_, this->out_columns());
    whole.x = rows.x;
    whole.targets = rows.targets;
    whole.ids = rows.ids;
    whole.same_rows = same_rows;
    whole.steps = count;
    whole.updates = updates_.data();
    whole.one_update = one_update;
    whole.losses = losses_.data();
    in_one_block = kernels().trains_in_block(whole);
  }
  if (in_one_block)
    kernels().train_in_block(whole, this->context());
  else
    replay_steps(spec, batch, count,
                 {nullptr, 0, updates_.data(), one_update, batch.ids, same_rows, nullptr, losses_.data()}, dropout,
                 optimizer);
  check(device().download(losses, losses_.data(), static_cast<std::size_t>(count) * sizeof(double), stream));
}

template class DeviceRunner<float>;
template class DeviceRunner<double>;

}  // namespace fastmlp
