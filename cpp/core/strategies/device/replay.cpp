// Steps that are recorded once and replayed.
#include <algorithm>

#include "core/strategies/device/device_runner.h"

namespace fastmlp {

template <class T>
std::vector<std::uintptr_t> DeviceRunner<T>::recording_key(const Batch<T>& batch, const Replay& replay,
                                                           const DropoutState& dropout, Optimizer<T>& optimizer) const {
  std::vector<std::uintptr_t> key = {static_cast<std::uintptr_t>(rows_), replay.one_update, replay.same_rows,
                                     dropout.seed};
  const auto add = [&key](const void* address) { key.push_back(reinterpret_cast<std::uintptr_t>(address)); };
  add(batch.x);
  add(batch.targets.dense);
  add(batch.targets.classes);
  add(batch.targets.weights);
  add(batch.targets.column_weights);
  add(batch.targets.column_params);
  add(batch.ids);
  add(this->memory().data());
  add(this->scratch_.data());
  add(this->batch_x_.data());
  add(this->batch_targets_.data());
  add(this->batch_classes_.data());
  add(this->batch_weights_.data());
  add(updates_.data());
  add(losses_.data());
  add(StreamScope::current());
  add(this->partial_.data());
  add(begin_.data());
  for (const auto& buffer : program_.buffers()) add(buffer->value.data());
  for (const auto& parameter : program_.parameters()) {
    const GradientSink<T> sink = this->sink(parameter, rows_, &optimizer);
    key.push_back(sink.update ? 1 + static_cast<std::uintptr_t>(sink.update->kind) : 0);
    add(parameter->value.data());  // which a parameter has without an update, too
    add(sink.grad);
    for (const T* state : sink.target.state) add(state);
  }
  return key;
}

// The device counts the steps: kernels of a recorded step read how many there were before it, and the recording's last kernel
// adds its own, so that replays follow one another without the host between them.
template <class T>
void DeviceRunner<T>::replay_steps(const LossSpec& spec, const Batch<T>& batch, Index count, Replay replay,
                                   const DropoutState& dropout, Optimizer<T>& optimizer) {
  const Stream stream = StreamScope::current();
  if (!replay.same_rows) this->reserve_rows(batch, this->head_of(spec.kind));
  this->context();  // makes the scratch memory
  const std::uint64_t begin[] = {0, static_cast<std::uint64_t>(batch.row), dropout.step};
  begin_.reserve(std::size(begin));
  check(device().upload(begin_.data(), begin, sizeof begin, stream));
  // An integer may be read as one of the other sign.
  Index* const first = reinterpret_cast<Index*>(begin_.data());
  replay.first = first;
  replay.counters = begin_.data() + 2;
  std::vector<std::uintptr_t> key = recording_key(batch, replay, dropout, optimizer);
  if (key != recorded_ || spec != recorded_loss_) {
    forget_recordings();
    recorded_ = std::move(key);
    recorded_loss_ = spec;
  }

  const auto enqueue = [&](Index steps) {
    struct Use {
      const Replay*& place;
      ~Use() { place = nullptr; }
    } use{this->replay_};
    this->replay_ = &replay;
    for (replay.offset = 0; replay.offset < steps; ++replay.offset) {
      const Batch<T> rows = replay.same_rows ? batch : this->gather_for_step(batch, spec.kind);
      this->enqueue_step(spec, rows, &dropout, &optimizer);
    }
    device().advance(first, steps, stream);
  };
  const auto record = [&](Index steps) {
    check(device().begin_recording(stream));
    try {
      enqueue(steps);
    } catch (...) {
      device().release_recording(device().end_recording(stream));
      throw;
    }
    return device().end_recording(stream);
  };

  Index done = 0;
  for (Recording& recording : recordings_) {
    recording.steps = &recording == recordings_ ? many_steps() : kFewSteps;
    // Recording takes about as long as it saves in a few replays of the many steps, or one of the few.
    const Index least = &recording == recordings_ ? 2 * recording.steps : recording.steps + 1;
    if (!recording.replayed && count - done >= least) {
      if (done == 0) {
        enqueue(1);  // kernels may initialise themselves at their first launch, which cannot be recorded
        done = 1;
      }
      recording.replayed = record(recording.steps);
    }
    for (; recording.replayed && count - done >= recording.steps; done += recording.steps)
      check(device().replay(recording.replayed, stream));
  }
  if (done < count) enqueue(count - done);
  check(device().launch_problem());
}

// A node of a recording costs the host a microsecond or two once, and every replay some microseconds: so as many steps as
// make about a thousand nodes.
template <class T>
Index DeviceRunner<T>::many_steps() const {
  constexpr Index kMostNodes = 1024, kMost = 64;
  const Index nodes = 3 * program_.size() + 2;
  return std::clamp(kMostNodes / nodes / kFewSteps * kFewSteps, kFewSteps, kMost);
}

template <class T>
void DeviceRunner<T>::forget_recordings() {
  for (Recording& recording : recordings_) device().release_recording(std::exchange(recording.replayed, nullptr));
  recorded_.clear();
}

template Index DeviceRunner<float>::many_steps() const;
template Index DeviceRunner<double>::many_steps() const;
template void DeviceRunner<float>::forget_recordings();
template void DeviceRunner<double>::forget_recordings();
template void DeviceRunner<float>::replay_steps(const LossSpec&, const Batch<float>&, Index, Replay,
                                                const DropoutState&, Optimizer<float>&);
template void DeviceRunner<double>::replay_steps(const LossSpec&, const Batch<double>&, Index, Replay,
                                                 const DropoutState&, Optimizer<double>&);

}  // namespace fastmlp
