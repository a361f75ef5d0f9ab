// The lanes half of Network: the arguments of the backend's passes over a whole tiny network, and many steps in a call.
#include <cstring>

#include "core/network.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
LanesArgs<T> Network<T>::lanes_args(Workspace<T>& w) const {
  LanesArgs<T> args{};
  args.layers = w.lanes_layers_.data();
  args.depth = static_cast<int>(w.lanes_layers_.size());
  args.rows = w.rows_;
  args.plan = &w.lanes_plan_;
  args.buffer = w.memory_.data();
  args.training = w.training_;
  args.logits = w.logits_;
  return args;
}

template <class T>
LanesArgs<T> Network<T>::lanes_args(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch) const {
  LanesArgs<T> args = lanes_args(w);
  args.x = batch.x;
  args.ids = batch.ids;
  args.targets = batch.targets;
  args.loaded = batch.unchanged;
  args.loss = spec;
  return args;
}
// A fit sets the sinks once.
template <class T>
void Network<T>::set_lanes_sinks(Workspace<T>& w, Optimizer<T>* fused) const {
  if (fused && w.sinks_for_ == fused) return;
  w.sinks_for_ = fused;
  w.sink_slots_.clear();
  if (fused)
    for (const auto& parameter : parameters_)
      if (const int slot = fused->slot(parameter.get()); slot >= 0 && parameter->requires_grad)
        w.sink_slots_.push_back(slot);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    w.lanes_layers_[l].weight_sink = sink(layers_[l].weight, 0, fused);
    w.lanes_layers_[l].bias_sink = sink(layers_[l].bias, 0, fused);
  }
}
namespace {

// body(the packed place, the place of its own, bytes) for the values (section 0) and the states of all parameters.
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
bool Network<T>::pack_parameters(Workspace<T>& w, const Optimizer<T>& optimizer) const {
  if (w.sink_slots_.empty() || w.sink_slots_.size() != parameters_.size() || !optimizer.in_step(w.sink_slots_))
    return false;
  constexpr Index kWholeVectors = 16;
  Index n = 0;
  for (const LanesLayer<T>& layer : w.lanes_layers_) n += (layer.in + 1) * layer.out;
  w.packed_.reserve(static_cast<std::size_t>(4 * ((n + kWholeVectors - 1) / kWholeVectors * kWholeVectors)));
  for_packed(w.packed_, w.lanes_layers_, [](T* packed, T* own, std::size_t bytes) { std::memcpy(packed, own, bytes); });
  w.packed_layers_ = w.lanes_layers_;
  const T* at = w.packed_.data();
  for (LanesLayer<T>& layer : w.packed_layers_) {
    layer.weight = at;
    if (layer.bias) layer.bias = at + layer.in * layer.out;
    at += (layer.in + 1) * layer.out;
  }
  return true;
}

template <class T>
void Network<T>::steps(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows,
                       DropoutState dropout, Optimizer<T>& optimizer, double* losses) const {
  if (w.lanes_ && count > 1) {
    set_lanes_sinks(w, &optimizer);
    if (pack_parameters(w, optimizer)) {
      w.logits_ = logits_for(spec.kind);
      LanesArgs<T> args = lanes_args(w, spec, batch);
      args.layers = w.packed_layers_.data();
      const std::vector<Update>& updates = optimizer.next_updates(w.sink_slots_, count);
      const std::size_t section = w.packed_.size() / 4;
      T* const packed = w.packed_.data();
      const LanesTraining<T> training{count,
                                      same_rows,
                                      updates.data(),
                                      updates.size() == 1,
                                      {packed, {packed + section, packed + 2 * section, packed + 3 * section}},
                                      losses};
      kernels_->lanes_train(args, training, context(w));
      for_packed(w.packed_, w.lanes_layers_,
                 [](T* packed, T* own, std::size_t bytes) { std::memcpy(own, packed, bytes); });
      return;
    }
  }
  // A single one, too: how many come at once depends on the time that they take, and the bits must not.
  if (device_steps(w, spec, batch, count, same_rows, dropout, optimizer, losses)) return;
  Batch<T> rows = batch;
  for (Index i = 0; i < count; ++i, ++dropout.step) {
    losses[i] = step(w, spec, rows, &dropout, &optimizer);
    if (same_rows)
      rows.unchanged = true;
    else
      rows.advance(rows.rows, w.columns_, out_ < 0 ? w.columns_ : out_);
  }
}

#define FASTMLP_INSTANTIATE(T)                                                                                \
  template LanesArgs<T> Network<T>::lanes_args(Workspace<T>&) const;                                          \
  template LanesArgs<T> Network<T>::lanes_args(Workspace<T>&, const LossSpec&, const Batch<T>&) const;        \
  template void Network<T>::set_lanes_sinks(Workspace<T>&, Optimizer<T>*) const;                              \
  template void Network<T>::steps(Workspace<T>&, const LossSpec&, const Batch<T>&, Index, bool, DropoutState, \
                                  Optimizer<T>&, double*) const;
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
