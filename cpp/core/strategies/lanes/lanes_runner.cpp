#include "core/strategies/lanes/lanes_runner.h"

#include <algorithm>
#include <cstring>

#include "core/strategies/chain.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
bool LanesRunner<T>::can_run(const Program<T>& program) {
  return program.device().host && program.size() > 0 && affine_chain(program) == program.size();
}

template <class T>
bool LanesRunner<T>::is_preferred(const Program<T>& program, Index rows, bool training) {
  const auto layers = chain_layers(program, program.size());
  return program.kernels().prefers_lanes(layers.data(), program.size(), rows, training);
}

template <class T>
Index LanesRunner<T>::memory_for(const Program<T>& program, Index rows) {
  const auto layers = chain_layers(program, program.size());
  LanesPlanStorage plan;
  return program.kernels().lanes_plan(layers.data(), program.size(), rows, true, plan);
}

template <class T>
void LanesRunner<T>::lay_out() {
  layers_ = chain_layers(program_, program_.size());
  sinks_for_ = nullptr;
  memory_.reserve(static_cast<std::size_t>(
      kernels().lanes_plan(layers_.data(), static_cast<int>(layers_.size()), this->rows_, this->training_, plan_)));
}

template <class T>
Context LanesRunner<T>::context() {
  return {thread_pool_executor(), nullptr};
}

template <class T>
LanesArgs<T> LanesRunner<T>::args() {
  LanesArgs<T> args{};
  args.layers = layers_.data();
  args.depth = static_cast<int>(layers_.size());
  args.rows = this->rows_;
  args.plan = &plan_;
  args.buffer = memory_.data();
  args.training = this->training_;
  args.logits = logits_;
  return args;
}

template <class T>
LanesArgs<T> LanesRunner<T>::args(const LossSpec& spec, const Batch<T>& batch) {
  LanesArgs<T> args = this->args();
  args.x = batch.x;
  args.ids = batch.ids;
  args.targets = batch.targets;
  args.loaded = batch.unchanged;
  args.loss = spec;
  return args;
}

template <class T>
void LanesRunner<T>::forward(const Batch<T>& batch, const DropoutState*, T* y) {
  logits_ = false;
  LanesArgs<T> args = this->args();
  args.x = batch.x;
  args.ids = batch.ids;
  args.y = y;
  kernels().lanes_forward(args, context());
}

template <class T>
double LanesRunner<T>::loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) {
  const bool logits = program_.logits_for(spec.kind);
  if (gradient) logits_ = logits;
  LanesArgs<T> args = this->args();
  args.loss = spec;
  args.targets = batch.targets;
  args.ids = batch.ids;
  args.logits = logits;
  return kernels().lanes_loss(args, gradient, context());
}

template <class T>
double LanesRunner<T>::evaluate(const LossSpec& spec, const Batch<T>& batch) {
  logits_ = false;
  return kernels().lanes_evaluate(args(spec, batch), context());
}

template <class T>
void LanesRunner<T>::backward(const T* dy, T* dx, Optimizer<T>* fused) {
  if (dy) logits_ = false;
  set_sinks(fused);
  LanesArgs<T> args = this->args();
  args.dy = dy;
  args.dx = dx;
  if (fused) this->begin_updates(*fused);
  kernels().lanes_backward(args, context());
  if (!this->listener_) return;
  for (auto operation = program_.operations().rbegin(); operation != program_.operations().rend(); ++operation)
    this->listener_->after(*operation);
}

template <class T>
double LanesRunner<T>::step(const LossSpec& spec, const Batch<T>& batch, const DropoutState*, Optimizer<T>* fused) {
  set_sinks(fused);
  if (fused) this->begin_updates(*fused);
  logits_ = program_.logits_for(spec.kind);
  return kernels().lanes_step(args(spec, batch), context());
}

// A fit sets the sinks once.
template <class T>
void LanesRunner<T>::set_sinks(Optimizer<T>* fused) {
  if (fused && sinks_for_ == fused) return;
  sinks_for_ = fused;
  if (fused) find_slots(program_, *fused, sink_slots_);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Operation<T>& operation = program_.operations()[i];
    layers_[i].weight_sink = this->sink(operation.weight, 0, fused);
    layers_[i].bias_sink = this->sink(operation.bias, 0, fused);
  }
}

namespace {

// body(packed, original, bytes) for the values (section 0) and the states of all parameters.
template <class T, class Body>
void for_packed(Buffer<T>& packed, const std::vector<LanesLayer<T>>& layers, const Body& body) {
  const std::size_t section = packed.size() / 4;
  T* at = packed.data();
  const auto visit = [&](const GradientSink<T>& sink, Index n) {
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    if (sink.target.value) body(at, sink.target.value, bytes);
    for (std::size_t s = 0; s < 3; ++s)
      if (sink.target.state[s]) body(at + (s + 1) * section, sink.target.state[s], bytes);
    at += n;
  };
  for (const LanesLayer<T>& layer : layers) {
    visit(layer.weight_sink, layer.in * layer.out);
    visit(layer.bias_sink, layer.out);
  }
}

}  // namespace

// Brings the parameters together, where one optimizer updates all of them alike; the sinks are set.
template <class T>
bool LanesRunner<T>::pack_parameters(const Optimizer<T>& optimizer) {
  if (sink_slots_.empty() || sink_slots_.size() != program_.parameters().size() ||
      !optimizer.equal_step_counts(sink_slots_))
    return false;
  constexpr Index kVectorMultiple = 16;
  Index n = 0;
  for (const LanesLayer<T>& layer : layers_) n += (layer.in + 1) * layer.out;
  packed_.reserve(static_cast<std::size_t>(4 * ((n + kVectorMultiple - 1) / kVectorMultiple * kVectorMultiple)));
  for_packed(packed_, layers_, [](T* packed, T* own, std::size_t bytes) { std::memcpy(packed, own, bytes); });
  packed_layers_ = layers_;
  const T* at = packed_.data();
  for (LanesLayer<T>& layer : packed_layers_) {
    layer.weight = at;
    if (layer.bias) layer.bias = at + layer.in * layer.out;
    at += (layer.in + 1) * layer.out;
  }
  return true;
}

template <class T>
void LanesRunner<T>::steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                           DropoutState dropout, Optimizer<T>& optimizer, double* losses, PendingDownload*) {
  if (count > 1) set_sinks(&optimizer);
  if (count == 1 || !pack_parameters(optimizer))
    return Runner<T>::steps(spec, batch, count, same_rows, dropout, optimizer, losses);
  logits_ = program_.logits_for(spec.kind);
  LanesArgs<T> args = this->args(spec, batch);
  args.layers = packed_layers_.data();
  const auto [updates, rates, momenta] = optimizer.next_steps(sink_slots_, count);
  const std::size_t section = packed_.size() / 4;
  T* const packed = packed_.data();
  const LanesTraining<T> training{count,
                                  same_rows,
                                  updates.data(),
                                  updates.size() == 1,
                                  rates,
                                  momenta,
                                  {packed, {packed + section, packed + 2 * section, packed + 3 * section}},
                                  losses};
  kernels().lanes_train(args, training, context());
  for_packed(packed_, layers_, [](T* packed, T* own, std::size_t bytes) { std::memcpy(own, packed, bytes); });
}

template class LanesRunner<float>;
template class LanesRunner<double>;

}  // namespace fastmlp
