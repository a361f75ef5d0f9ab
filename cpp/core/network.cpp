#include "core/network.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/strategy.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
Network<T>::Network(const std::vector<Layer<T>>& layers) {
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
  const Backend<T>& kernels = active_backend<T>();
  const auto layers = lanes_layers(layers_);
  const int depth = static_cast<int>(layers.size());
  if (forced_strategy() == Strategy::Automatic) return kernels.prefers_lanes(layers.data(), depth, rows, training);
  // Lanes can run any chain of affine layers, but need a vector for each weight of each chunk of rows.
  constexpr Index kMostBytes = Index{1} << 30;
  LanesPlanStorage plan;
  return kernels.lanes_plan(layers.data(), depth, rows, true, plan) <= kMostBytes / Index{sizeof(T)};
}

// Memory -----------------------------------------------------------------------------------------------------------

template <class T>
typename Network<T>::Lease Network<T>::acquire(Index rows, Index columns, bool training) {
  std::unique_ptr<Workspace<T>> workspace;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto found = std::find_if(free_.begin(), free_.end(), [&](const auto& free) {
      return free->rows_ == rows && free->training_ == training && free->columns_ == columns;
    });
    if (found == free_.end() && !free_.empty()) found = free_.end() - 1;
    if (found != free_.end()) {
      workspace = std::move(*found);
      free_.erase(found);
    }
  }
  if (!workspace) workspace = std::make_unique<Workspace<T>>();
  prepare(*workspace, rows, columns, training);
  workspace->forget_optimizer();
  return Lease(workspace.release(), Return{this});
}

template <class T>
void Network<T>::release(Workspace<T>* workspace) {
  constexpr std::size_t kMostKept = 4;  // a training and an inference workspace for two threads
  std::unique_ptr<Workspace<T>> owned(workspace);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.size() < kMostKept) free_.push_back(std::move(owned));
}

// Lays the workspace out, unless it is laid out so already.
template <class T>
void Network<T>::prepare(Workspace<T>& w, Index rows, Index columns, bool training) const {
  if (w.rows_ == rows && w.columns_ == columns && w.training_ == training) return;
  w.rows_ = -1;  // should an allocation fail
  const Backend<T>& kernels = active_backend<T>();
  w.columns_ = columns;
  w.training_ = training;
  w.lanes_ = prefers_lanes(rows, training);
  w.partial_.resize(static_cast<std::size_t>(kernels.loss_partials(rows)));
  Index end = 0;
  const auto take = [&end](Index n) {
    const Index at = end;
    end += (n + 15) / 16 * 16;
    return at;
  };
  if (w.lanes_) {
    w.lanes_layers_ = lanes_layers(layers_);
    const int depth = static_cast<int>(layers_.size());
    take(kernels.lanes_plan(w.lanes_layers_.data(), depth, rows, training, w.lanes_plan_));
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
  if (!w.lanes_) w.scratch_.reserve(static_cast<std::size_t>(executor.workers) * active_backend<T>().scratch_bytes);
  return {executor, w.scratch_.data()};
}

namespace {

// body(row) for each of them, shared out where they have values enough for several threads.
template <class Body>
void parallel_rows(Index rows, Index columns, const Body& body) {
  constexpr Index kWorthAThread = 16 * 1024;
  const Executor executor = thread_pool_executor();
  const Index tasks = std::min<Index>({executor.workers, rows, rows * columns / kWorthAThread});
  if (tasks <= 1) {
    for (Index r = 0; r < rows; ++r) body(r);
    return;
  }
  struct Job {
    const Body& body;
    Index rows, tasks;
  } job{body, rows, tasks};
  executor.run(
      executor.pool, executor.workers, static_cast<int>(tasks),
      [](void* context, int task, int) {
        const Job& own = *static_cast<const Job*>(context);
        for (Index r = task * own.rows / own.tasks; r < (task + 1) * own.rows / own.tasks; ++r) own.body(r);
      },
      &job);
}

}  // namespace

// A batch given by row numbers, as consecutive rows.
template <class T>
Batch<T> Network<T>::gather(Workspace<T>& w, const Batch<T>& batch) const {
  if (!batch.ids) return batch;
  Batch<T> result{nullptr, {}, nullptr, batch.rows, batch.unchanged};
  const auto copy_rows = [&](const T* from, Index columns, Buffer<T>& to) {
    to.reserve(static_cast<std::size_t>(batch.rows * columns));
    parallel_rows(batch.rows, columns, [&](Index r) {
      std::memcpy(to.data() + r * columns, from + batch.ids[r] * columns,
                  static_cast<std::size_t>(columns) * sizeof(T));
    });
    return to.data();
  };
  result.x = copy_rows(batch.x, w.columns_, w.batch_x_);
  if (batch.targets.dense)
    result.targets.dense = copy_rows(batch.targets.dense, w.places_.back().width, w.batch_targets_);
  if (batch.targets.classes) {
    w.batch_classes_.reserve(static_cast<std::size_t>(batch.rows));
    for (Index r = 0; r < batch.rows; ++r) w.batch_classes_.data()[r] = batch.targets.classes[batch.ids[r]];
    result.targets.classes = w.batch_classes_.data();
  }
  return result;
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
  active_backend<T>().lanes_forward(args, context(w));
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

template <class T>
double Network<T>::loss(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, bool gradient) const {
  const Backend<T>& kernels = active_backend<T>();
  const bool logits = logits_for(spec.kind);
  if (gradient) w.logits_ = logits;
  if (w.lanes_) {
    LanesArgs<T> args = lanes_args(w);
    args.loss = spec;
    args.targets = batch.targets;
    args.ids = batch.ids;
    args.logits = logits;
    return kernels.lanes_loss(args, gradient, context(w));
  }
  LossArgs<T> args{};
  args.spec = spec;
  args.rows = w.rows_;
  args.columns = w.places_.back().width;
  args.y = w.places_.back().out;
  args.targets = batch.targets;
  args.logits = logits;
  args.dy = gradient ? w.memory_.data() + w.result_ : nullptr;
  args.partial = w.partial_.data();
  return kernels.loss(args, context(w));
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
    if (active_backend<T>().weight_update_needs_grad(rows)) sink.grad = parameter->grad_buffer();
    return sink;
  }
  sink.grad = parameter->grad_buffer();
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
  active_backend<T>().lanes_backward(args, context(w));
}

template <class T>
double Network<T>::step(Workspace<T>& w, const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout,
                        Optimizer<T>* fused) const {
  if (!w.lanes_) {
    const Batch<T> rows = gather(w, batch);
    forward(w, rows, dropout, nullptr);
    const double value = loss(w, spec, rows, true);
    backward(w, nullptr, nullptr, fused);
    return value;
  }
  set_lanes_sinks(w, fused);
  if (fused) begin_updates(*fused);
  w.logits_ = logits_for(spec.kind);
  return active_backend<T>().lanes_step(lanes_args(w, spec, batch), context(w));
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
    LossArgs<T> args{};
    args.spec = spec;
    args.spec.mean = false;
    args.rows = n;
    args.columns = out;
    args.y = y;
    args.targets.dense = targets.dense ? targets.dense + row * out : nullptr;
    args.targets.classes = targets.classes ? targets.classes + row : nullptr;
    args.partial = workspace->partial_.data();
    total += active_backend<T>().loss(args, context(*workspace));
  }
  if (!spec.mean) return total;
  return total / static_cast<double>(is_class_loss(spec.kind) ? rows : rows * out);
}

template class Network<float>;
template class Network<double>;

}  // namespace fastmlp
