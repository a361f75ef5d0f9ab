#include "core/network.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/strategy.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
Workspace<T>::Workspace(const Device& device)
    : memory_(device),
      scratch_(device),
      partial_(device),
      batch_x_(device),
      batch_targets_(device),
      batch_classes_(device),
      device_steps_(device) {}

template <class T>
Network<T>::Network(const std::vector<Layer<T>>& layers, Precision precision) : precision_(precision) {
  bool fusible = false;  // the last layer can take an activation
  for (const Layer<T>& layer : layers) {
    if (layer.kind == LayerKind::Activation && fusible) {
      layers_.back().activation = layer.activation;
      fusible = false;
      continue;
    }
    fusible = layer.kind == LayerKind::Affine;
    layers_.push_back(layer);
    if (layer.kind != LayerKind::Affine) continue;
    if (in_ < 0) in_ = layer.weight->in;
    if (out_ >= 0 && layer.weight->in != out_)
      throw std::invalid_argument("layers: a layer takes " + std::to_string(layer.weight->in) +
                                  " features, but the one before it gives " + std::to_string(out_));
    out_ = layer.weight->out;
    for (const auto& parameter : {layer.weight, layer.bias}) {
      if (!parameter) continue;
      if (std::find(parameters_.begin(), parameters_.end(), parameter) == parameters_.end())
        parameters_.push_back(parameter);
      else
        shares_parameters_ = true;
    }
  }
  if (!parameters_.empty()) device_ = &parameters_[0]->device();
  kernels_ = &kernels_of<T>(*device_);
  for (const auto& parameter : parameters_)
    if (&parameter->device() != device_)
      throw std::invalid_argument(std::string("layers: expected parameters on one device, got some on ") +
                                  device_->name + " and some on " + parameter->device().name);
  only_affine_ = !layers_.empty() && std::all_of(layers_.begin(), layers_.end(),
                                                 [](const Layer<T>& layer) { return layer.kind == LayerKind::Affine; });
}

namespace {

template <class T>
std::vector<LanesLayer<T>> lanes_layers(const std::vector<Layer<T>>& layers) {
  std::vector<LanesLayer<T>> result;
  for (const Layer<T>& layer : layers)
    result.push_back({layer.weight->in,
                      layer.weight->out,
                      layer.weight->value.data(),
                      layer.bias ? layer.bias->value.data() : nullptr,
                      layer.activation,
                      {},
                      {}});
  return result;
}

}  // namespace

template <class T>
bool Network<T>::prefers_lanes(Index rows, bool training) const {
  if (!only_affine_ || forced_strategy() == Strategy::Dense) return false;
  if (!device_->host) return false;
  const auto layers = lanes_layers(layers_);
  const int depth = static_cast<int>(layers.size());
  if (forced_strategy() == Strategy::Automatic) return kernels_->prefers_lanes(layers.data(), depth, rows, training);
  // Lanes can run any chain of affine layers, but need a vector for each weight of each chunk of rows.
  constexpr Index kMostBytes = Index{1} << 30;
  LanesPlanStorage plan;
  return kernels_->lanes_plan(layers.data(), depth, rows, true, plan) <= kMostBytes / Index{sizeof(T)};
}

// Memory -----------------------------------------------------------------------------------------------------------

template <class T>
typename Network<T>::Lease Network<T>::acquire(Index rows, Index columns, bool training) {
  for (const auto& parameter : parameters_)
    if (&parameter->device() != device_) [[unlikely]]
      throw std::runtime_error("the model's parameters have moved to another device");
  std::unique_ptr<Workspace<T>> workspace;
  {
    const Locked locked(lock_);
    if (!locked.intact) forget_free();
    // The last pass may still be under way in its stream, and what it uses is about to be used in another.
    if (!device_->host)
      if (const Stream last = std::exchange(last_stream_, StreamScope::current()); last != last_stream_)
        check(device_->synchronize(last));
    auto found = std::find_if(free_.begin(), free_.end(), [&](const auto& free) {
      return free->rows_ == rows && free->training_ == training && free->columns_ == columns;
    });
    if (found == free_.end() && !free_.empty()) found = free_.end() - 1;
    if (found != free_.end()) {
      workspace = std::move(*found);
      free_.erase(found);
    }
  }
  if (!workspace) workspace.reset(new Workspace<T>(*device_));
  prepare(*workspace, rows, columns, training);
  workspace->forget_optimizer();
  return Lease(workspace.release(), Return{this});
}

template <class T>
void Network<T>::release(Workspace<T>* workspace) {
  constexpr std::size_t kMostKept = 4;                        // a training and an inference workspace for two threads
  constexpr std::size_t kMostBytes = std::size_t{256} << 20;  // of all that are kept: larger ones are made anew
  std::unique_ptr<Workspace<T>> owned(workspace);
  const Locked locked(lock_);
  if (!locked.intact) forget_free();
  if (bytes_of(*owned) > kMostBytes) return;
  std::size_t kept = bytes_of(*owned);
  for (const auto& free : free_) kept += bytes_of(*free);
  for (; kept > kMostBytes; free_.erase(free_.begin())) kept -= bytes_of(*free_.front());
  if (free_.size() < kMostKept) free_.push_back(std::move(owned));
}

template <class T>
std::size_t Network<T>::bytes_of(const Workspace<T>& w) {
  const std::size_t values = w.memory_.size() + w.packed_.size() + w.batch_x_.size() + w.batch_targets_.size();
  return values * sizeof(T) + w.scratch_.size() + w.batch_classes_.size() * sizeof(Index);
}

// A fork has come while another thread was changing the list: its memory is lost.
template <class T>
void Network<T>::forget_free() {
  new (&free_) std::vector<std::unique_ptr<Workspace<T>>>();
}

// Lays the workspace out, unless it is laid out so already.
template <class T>
void Network<T>::prepare(Workspace<T>& w, Index rows, Index columns, bool training) const {
  if (w.rows_ == rows && w.columns_ == columns && w.training_ == training) return;
  w.rows_ = -1;  // should an allocation fail
  w.columns_ = columns;
  w.training_ = training;
  w.lanes_ = prefers_lanes(rows, training);
  w.partial_.reserve(1 + static_cast<std::size_t>(kernels_->loss_partials(rows)));
  Index end = 0;
  const auto take = [&end](Index n) {
    const Index at = end;
    end += (n + 15) / 16 * 16;
    return at;
  };
  if (w.lanes_) {
    w.lanes_layers_ = lanes_layers(layers_);
    const int depth = static_cast<int>(layers_.size());
    take(kernels_->lanes_plan(w.lanes_layers_.data(), depth, rows, training, w.lanes_plan_));
    w.result_ = take(training ? 0 : rows * out_);
  } else {
    Index width = columns, widest = columns;
    w.places_.resize(layers_.size());
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer<T>& layer = layers_[l];
      if (layer.kind == LayerKind::Affine) width = layer.weight->out;
      widest = std::max(widest, width);
      w.places_[l].width = width;
      if (!training) continue;
      w.places_[l].y = take(rows * width);
      if (layer.kind == LayerKind::Affine && layer.saves_input()) w.places_[l].z = take(rows * width);
    }
    for (Index& gradient : w.gradients_) gradient = take(rows * widest);
    if (!training)
      for (std::size_t l = 0; l < layers_.size(); ++l) w.places_[l].y = w.gradients_[l % 2];
    w.result_ = take(rows * width);
  }
  w.memory_.reserve(static_cast<std::size_t>(end));
  w.rows_ = rows;
}

template <class T>
Context Network<T>::context(Workspace<T>& w) const {
  const Executor executor = thread_pool_executor();
  if (!w.lanes_)
    w.scratch_.reserve(static_cast<std::size_t>(device_->host ? executor.workers : 1) * kernels_->scratch_bytes);
  if (device_->host) return {executor, w.scratch_.data()};
  return {executor, w.scratch_.data(), StreamScope::current(), precision_, w.device_steps_.replay};
}

template <class T>
void Network<T>::copy(const T* from, Index n, T* to) const {
  check(device_->copy(to, from, static_cast<std::size_t>(n) * sizeof(T), StreamScope::current()));
}

template <class T>
void Network<T>::reserve_rows(Workspace<T>& w, const Batch<T>& batch) const {
  const Index out = out_ < 0 ? w.columns_ : out_;
  w.batch_x_.reserve(static_cast<std::size_t>(batch.rows * w.columns_));
  if (batch.targets.dense) w.batch_targets_.reserve(static_cast<std::size_t>(batch.rows * out));
  if (batch.targets.classes) w.batch_classes_.reserve(static_cast<std::size_t>(batch.rows));
}

// A batch given by row numbers, as consecutive rows.
template <class T>
Batch<T> Network<T>::gather(Workspace<T>& w, const Batch<T>& batch) const {
  if (!batch.ids && !w.device_steps_.replay) return batch;
  reserve_rows(w, batch);
  kernels_->gather({batch.rows, w.columns_, out_ < 0 ? w.columns_ : out_, batch.x, batch.targets, batch.ids,
                    w.batch_x_.data(), w.batch_targets_.data(), w.batch_classes_.data()},
                   context(w));
  Batch<T> rows{w.batch_x_.data(), {}, nullptr, batch.rows, batch.unchanged};
  if (batch.targets.dense) rows.targets.dense = w.batch_targets_.data();
  if (batch.targets.classes) rows.targets.classes = w.batch_classes_.data();
  return rows;
}

// The pass ---------------------------------------------------------------------------------------------------------

template <class T>
void Network<T>::forward(Workspace<T>& w, const Batch<T>& batch, const DropoutState* dropout, T* y) const {
  w.logits_ = false;
  w.drops_ = dropout != nullptr;
  if (dropout) w.dropout_ = *dropout;
  if (!w.lanes_) return dense_forward(w, batch.x, y);
  LanesArgs<T> args = lanes_args(w);
  args.x = batch.x;
  args.ids = batch.ids;
  args.y = y;
  kernels_->lanes_forward(args, context(w));
}

// Sigmoid with BCE, and log-softmax with NLL: their product's gradient is simple, exact and cheap.
template <class T>
bool Network<T>::logits_for(LossKind kind) const {
  if (layers_.empty()) return false;
  const Layer<T>& last = layers_.back();
  if (last.kind == LayerKind::RowActivation)
    return kind == LossKind::NLL && last.row_activation == RowActivationKind::LogSoftmax;
  return kind == LossKind::BCE && last.activation.kind == ActivationKind::Sigmoid;
}

// All but what the loss is of.
template <class T>
LossArgs<T> Network<T>::loss_args(Workspace<T>& w, const LossSpec& spec) const {
  LossArgs<T> args{};
  args.spec = spec;
  args.rows = w.rows_;
  args.columns = out_ < 0 ? w.columns_ : out_;
  args.value = w.partial_.data();
  args.partial = w.partial_.data() + 1;
  return args;
}

// What the kernel of the last loss has left.
template <class T>
double Network<T>::loss_value(Workspace<T>& w) const {
  if (device_->host) return *w.partial_.data();
  double value = 0;
  check(device_->download(&value, w.partial_.data(), sizeof value, StreamScope::current()));
  return value;
}

template <class T>
void Network<T>::enqueue_loss(Workspace<T>& w, const LossSpec& spec, const Targets<T>& targets, bool gradient) const {
  const bool logits = logits_for(spec.kind);
  if (gradient) w.logits_ = logits;
  LossArgs<T> args = loss_args(w, spec);
  args.y = w.places_.back().out;
  args.targets = targets;
  args.logits = logits;
  args.dy = gradient ? w.memory_.data() + w.result_ : nullptr;
  kernels_->loss(args, context(w));
}

template <class T>
double Network<T>::loss(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, bool gradient) const {
  if (!w.lanes_) {
    enqueue_loss(w, spec, batch.targets, gradient);
    return loss_value(w);
  }
  const bool logits = logits_for(spec.kind);
  if (gradient) w.logits_ = logits;
  LanesArgs<T> args = lanes_args(w);
  args.loss = spec;
  args.targets = batch.targets;
  args.ids = batch.ids;
  args.logits = logits;
  return kernels_->lanes_loss(args, gradient, context(w));
}

// Where a parameter's gradient goes.
template <class T>
GradientSink<T> Network<T>::sink(const std::shared_ptr<Parameter<T>>& parameter, Index rows,
                                 Optimizer<T>* fused) const {
  GradientSink<T> sink;
  if (!parameter || !parameter->requires_grad) return sink;
  if (fused) {
    const int slot = fused->slot(parameter.get());
    if (slot < 0) return sink;
    sink.target = fused->target(slot);
    sink.update = &fused->update(slot);
    if (kernels_->weight_update_needs_grad(rows)) sink.grad = parameter->grad_memory();
    return sink;
  }
  sink.grad = parameter->grad_memory();
  sink.accumulate = parameter->has_grad;
  parameter->has_grad = true;
  return sink;
}

// Before a pass with fused updates: brings the constants that the sinks point to up to this step.
template <class T>
void Network<T>::begin_updates(Optimizer<T>& optimizer) const {
  for (const auto& parameter : parameters_)
    if (const int slot = optimizer.slot(parameter.get()); slot >= 0 && parameter->requires_grad)
      optimizer.next_update(slot);
}

template <class T>
void Network<T>::backward(Workspace<T>& w, const T* dy, T* dx, Optimizer<T>* fused) const {
  if (dy) w.logits_ = false;
  if (!w.lanes_) return dense_backward(w, dy ? dy : w.memory_.data() + w.result_, dx, fused);
  set_lanes_sinks(w, fused);
  LanesArgs<T> args = lanes_args(w);
  args.dy = dy;
  args.dx = dx;
  if (fused) begin_updates(*fused);
  kernels_->lanes_backward(args, context(w));
}

template <class T>
double Network<T>::step(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout,
                        Optimizer<T>* fused) const {
  if (!w.lanes_) {
    const Batch<T> rows = gather(w, batch.advanced(w.columns_, out_ < 0 ? w.columns_ : out_));
    forward(w, rows, dropout, nullptr);
    const double value = loss(w, spec, rows, true);
    backward(w, nullptr, nullptr, fused);
    return value;
  }
  set_lanes_sinks(w, fused);
  if (fused) begin_updates(*fused);
  w.logits_ = logits_for(spec.kind);
  return kernels_->lanes_step(lanes_args(w, spec, batch), context(w));
}

// Inference --------------------------------------------------------------------------------------------------------

// Rows that one pass of inference takes at most: buffers of a few megabytes.
template <class T>
Index Network<T>::inference_rows(Index rows, Index columns) const {
  constexpr Index kValues = Index{1} << 20, kFewest = 256;
  Index widest = columns;
  for (const auto& layer : layers_)
    if (layer.weight) widest = std::max(widest, layer.weight->out);
  return std::min(rows, std::max(kFewest, kValues / widest / kFewest * kFewest));
}

template <class T>
void Network<T>::predict(const T* x, Index rows, Index columns, const DropoutState* dropout, T* y) {
  const Index out = out_ < 0 ? columns : out_, most = inference_rows(rows, columns);
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    const Lease workspace = acquire(n, columns, false);
    DropoutState state = dropout ? *dropout : DropoutState{};
    state.step += static_cast<std::uint64_t>(row / most);
    forward(*workspace, {x + row * columns, {}, nullptr, n}, dropout ? &state : nullptr, y + row * out);
  }
}

template <class T>
double Network<T>::evaluate(const LossSpec& spec, const T* x, const Targets<T>& targets, Index rows, Index columns) {
  const Index out = out_ < 0 ? columns : out_, most = inference_rows(rows, columns);
  double total = 0;
  for (Index row = 0; row < rows; row += most) {
    const Index n = std::min(most, rows - row);
    const Lease workspace = acquire(n, columns, false);
    T* y = workspace->memory_.data() + workspace->result_;
    forward(*workspace, {x + row * columns, {}, nullptr, n}, nullptr, y);
    LossArgs<T> args = loss_args(*workspace, spec);
    args.spec.mean = false;
    args.y = y;
    args.targets.dense = targets.dense ? targets.dense + row * out : nullptr;
    args.targets.classes = targets.classes ? targets.classes + row : nullptr;
    kernels_->loss(args, context(*workspace));
    total += loss_value(*workspace);
  }
  if (!spec.mean) return total;
  return total / static_cast<double>(is_class_loss(spec.kind) ? rows : rows * out);
}

template class Network<float>;
template class Network<double>;

}  // namespace fastmlp
