// Steps that are recorded once and replayed.
#include "core/strategies/device/device_runner.h"

namespace fastmlp {

namespace {

// Steps in a recording: a replay costs the host some microseconds.
constexpr Index kRecordedSteps = 8;

}  // namespace

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
  for (const auto& parameter : program_.parameters()) {
    const GradientSink<T> sink = this->sink(parameter, rows_, &optimizer);
    key.push_back(sink.update ? 1 + static_cast<std::uintptr_t>(sink.update->kind) : 0);
    add(sink.target.value);
    for (const T* state : sink.target.state) add(state);
  }
  return key;
}

template <class T>
void DeviceRunner<T>::replay_steps(const LossSpec& spec, const Batch<T>& batch, Index count, Replay replay,
                                   const DropoutState& dropout, Optimizer<T>& optimizer) {
  const auto upload = [&](auto& to, const auto* from, std::size_t n) {
    check(device().upload(to.data(), from, n * sizeof *from, StreamScope::current()));
  };
  if (!replay.same_rows) this->reserve_rows(batch, this->head_of(spec.kind));
  this->context();  // makes the scratch memory
  first_.reserve(2);
  counters_.reserve(1);
  upload(counters_, &dropout.step, 1);
  replay.first = first_.data();
  replay.counters = counters_.data();
  const std::vector<std::uintptr_t> key = recording_key(batch, replay, dropout, optimizer);

  // Rows and constants of the steps from number `step` on.
  const auto begin_at = [&](Index step) {
    const Index first[] = {step, batch.row};
    upload(first_, first, 2);
  };
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
  };

  Index done = 0;
  const auto is_recorded = [&] { return recorded_ == key && recorded_loss_ == spec; };
  if (!is_recorded() && count > kRecordedSteps) {
    device().release_recording(std::exchange(recording_, nullptr));
    recorded_.clear();
    begin_at(0);
    enqueue(1);  // kernels may initialise themselves at their first launch, which cannot be recorded
    done = 1;
    check(device().begin_recording(StreamScope::current()));
    try {
      enqueue(kRecordedSteps);
    } catch (...) {
      device().release_recording(device().end_recording(StreamScope::current()));
      throw;
    }
    recording_ = device().end_recording(StreamScope::current());
    if (recording_) {
      recorded_ = key;
      recorded_loss_ = spec;
    }
  }
  for (; is_recorded() && count - done >= kRecordedSteps; done += kRecordedSteps) {
    begin_at(done);
    check(device().replay(recording_, StreamScope::current()));
  }
  if (done == count) return;
  begin_at(done);
  enqueue(count - done);
}

template void DeviceRunner<float>::replay_steps(const LossSpec&, const Batch<float>&, Index, Replay,
                                                const DropoutState&, Optimizer<float>&);
template void DeviceRunner<double>::replay_steps(const LossSpec&, const Batch<double>&, Index, Replay,
                                                 const DropoutState&, Optimizer<double>&);

}  // namespace fastmlp
