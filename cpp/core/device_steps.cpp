// Many training steps on a device, without waiting for one before the next is on its way: a tiny network as a whole in
// one launch; others as a step that is recorded once and replayed, all that changes lying in the device's memory.
#include <bit>

#include "core/network.h"

namespace fastmlp {

template <class T>
DeviceSteps<T>::DeviceSteps(const Device& own) : device(own), first(own), coins(own), updates(own), losses(own) {}

template <class T>
DeviceSteps<T>::~DeviceSteps() {
  device.release_recording(recording);
}

namespace {

// Steps in a recording: a replay costs the host some microseconds.
constexpr Index kRecordedSteps = 8;

template <class T>
void upload(const Device& device, Buffer<T>& to, const T* from, std::size_t count) {
  check(device.upload(to.data(), from, count * sizeof(T), StreamScope::current()));
}

}  // namespace

// Fills in the network's part of a whole training; whether there is one: affine layers, and at most a row activation
// at the end. The sinks are set.
template <class T>
bool Network<T>::describe_whole(const Workspace<T>& w, const LossSpec& spec, std::vector<LanesLayer<T>>& layers,
                                WholeTraining<T>& args) const {
  for (const Layer<T>& layer : layers_) {
    if (layer.kind == LayerKind::RowActivation && &layer == &layers_.back() && !layers.empty()) {
      args.has_row_activation = true;
      args.row_activation = layer.row_activation;
      break;
    }
    if (layer.kind != LayerKind::Affine) return false;
    layers.push_back({layer.weight->in,
                      layer.weight->out,
                      layer.weight->value.data(),
                      layer.bias ? layer.bias->value.data() : nullptr,
                      layer.activation,
                      {},
                      {}});
  }
  args.layers = layers.data();
  args.depth = static_cast<int>(layers.size());
  args.rows = w.rows_;
  args.loss = spec;
  args.logits = logits_for(spec.kind);
  return args.depth > 0;
}

template <class T>
bool Network<T>::device_steps(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                              DropoutState dropout, Optimizer<T>& optimizer, double* losses) const {
  if (device_->host) return false;
  std::vector<int> slots;
  for (const auto& parameter : parameters_)
    if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->requires_grad) slots.push_back(slot);
  if (slots.empty() || !optimizer.in_step(slots)) return false;
  for (const int slot : slots) optimizer.target(slot);  // makes the states

  DeviceSteps<T>& own = w.device_steps_;
  const std::vector<Update>& updates = optimizer.next_updates(slots, count);
  own.updates.reserve(updates.size());
  own.losses.reserve(static_cast<std::size_t>(count));
  upload(*device_, own.updates, updates.data(), updates.size());
  const bool one_update = updates.size() == 1;

  WholeTraining<T> whole{};
  std::vector<LanesLayer<T>> layers;
  if (kernels_->trains_whole && describe_whole(w, spec, layers, whole)) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      layers[l].weight_sink = sink(layers_[l].weight, w.rows_, &optimizer);
      layers[l].bias_sink = sink(layers_[l].bias, w.rows_, &optimizer);
    }
    const Batch<T> rows = batch.advanced(w.columns_, out_);
    whole.x = rows.x;
    whole.targets = rows.targets;
    whole.ids = rows.ids;
    whole.same_rows = same_rows;
    whole.steps = count;
    whole.updates = own.updates.data();
    whole.one_update = one_update;
    whole.losses = own.losses.data();
    if (!kernels_->trains_whole(whole)) whole.steps = 0;
  }
  if (whole.steps > 0)
    kernels_->train_whole(whole, context(w));
  else
    replay_steps(w, spec, batch, count,
                 {nullptr, 0, own.updates.data(), one_update, batch.ids, same_rows, nullptr, own.losses.data()},
                 dropout, optimizer);
  check(device_->download(losses, own.losses.data(), static_cast<std::size_t>(count) * sizeof(double),
                          StreamScope::current()));
  return true;
}

template <class T>
void Network<T>::replay_steps(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, Index count, Replay replay,
                              const DropoutState& dropout, Optimizer<T>& optimizer) const {
  DeviceSteps<T>& own = w.device_steps_;
  if (!replay.same_rows) reserve_rows(w, batch);
  context(w);  // makes the scratch memory
  own.first.reserve(2);
  own.coins.reserve(1);
  upload(*device_, own.coins, &dropout.step, 1);
  replay.first = own.first.data();
  replay.coins = own.coins.data();

  // Everything that a recorded kernel has in its arguments.
  std::vector<std::uintptr_t> key = {static_cast<std::uintptr_t>(w.rows_),
                                     static_cast<std::uintptr_t>(spec.kind),
                                     spec.mean,
                                     replay.one_update,
                                     replay.same_rows,
                                     dropout.seed};
  const auto add = [&key](const void* address) { key.push_back(reinterpret_cast<std::uintptr_t>(address)); };
  key.push_back(std::bit_cast<std::uintptr_t>(spec.delta));
  for (const void* address :
       {static_cast<const void*>(batch.x), static_cast<const void*>(batch.targets.dense),
        static_cast<const void*>(batch.targets.classes), static_cast<const void*>(batch.ids),
        static_cast<const void*>(w.memory_.data()), static_cast<const void*>(w.scratch_.data()),
        static_cast<const void*>(w.batch_x_.data()), static_cast<const void*>(w.batch_targets_.data()),
        static_cast<const void*>(w.batch_classes_.data()), static_cast<const void*>(own.updates.data()),
        static_cast<const void*>(own.losses.data()), static_cast<const void*>(StreamScope::current())})
    add(address);
  for (const auto& parameter : parameters_) {
    const GradientSink<T> sink = this->sink(parameter, w.rows_, &optimizer);
    key.push_back(sink.update ? 1 + static_cast<std::uintptr_t>(sink.update->kind) : 0);
    for (const T* state : sink.target.state) add(state);
  }

  // Rows and constants of the steps from number `step` on.
  const auto begin_at = [&](Index step) {
    const Index first[] = {step, batch.row};
    upload(*device_, own.first, first, 2);
  };
  const auto enqueue = [&](Index steps) {
    struct Use {
      const Replay*& place;
      ~Use() { place = nullptr; }
    } use{own.replay};
    own.replay = &replay;
    for (replay.offset = 0; replay.offset < steps; ++replay.offset) {
      const Batch<T> rows = replay.same_rows ? batch : gather(w, batch);
      forward(w, rows, &dropout, nullptr);
      enqueue_loss(w, spec, rows.targets, true);
      backward(w, nullptr, nullptr, &optimizer);
    }
  };

  Index done = 0;
  if (own.recorded != key && count > kRecordedSteps) {
    device_->release_recording(std::exchange(own.recording, nullptr));
    own.recorded.clear();
    begin_at(0);
    enqueue(1);  // kernels may make ready what they need, which they must not while they are recorded
    done = 1;
    check(device_->begin_recording(StreamScope::current()));
    try {
      enqueue(kRecordedSteps);
    } catch (...) {
      device_->release_recording(device_->end_recording(StreamScope::current()));
      throw;
    }
    own.recording = device_->end_recording(StreamScope::current());
    if (own.recording) own.recorded = key;
  }
  for (; own.recorded == key && count - done >= kRecordedSteps; done += kRecordedSteps) {
    begin_at(done);
    check(device_->replay(own.recording, StreamScope::current()));
  }
  if (done == count) return;
  begin_at(done);
  enqueue(count - done);
}

#define FASTMLP_INSTANTIATE(T)                                                                                       \
  template struct DeviceSteps<T>;                                                                                    \
  template bool Network<T>::device_steps(Workspace<T>&, const LossSpec&, const Batch<T>&, Index, bool, DropoutState, \
                                         Optimizer<T>&, double*) const;
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
