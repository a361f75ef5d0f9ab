#include "core/borrowed_chain.h"

#include <algorithm>
#include <cstring>

#include "core/buffer.h"
#include "core/openmp_executor.h"
#include "core/strategies/choice.h"

namespace fastmlp {

namespace {

constexpr Index kAligned = 16;  // values
Index padded(Index n) { return (n + kAligned - 1) / kAligned * kAligned; }

template <class T>
T* data(void* memory) {
  return static_cast<T*>(memory);
}

// Kernels' scratch memory of the calling thread.
template <class T>
Context dense_context() {
  static thread_local Buffer<unsigned char> scratch;
  const Executor executor = openmp_executor();
  scratch.reserve(static_cast<std::size_t>(executor.workers) * active_backend<T>().scratch_bytes);
  return {executor, scratch.data()};
}

// to: columns x rows, of a matrix of rows x columns.
template <class T>
void transpose(const T* from, Index rows, Index columns, T* to) {
  for (Index c = 0; c < columns; ++c)
    for (Index r = 0; r < rows; ++r) to[c * rows + r] = from[r * columns + c];
}

// In vectors of the least processor, which is enough for what a product has just left in the cache.
template <class T>
void add_to_rows(const T* bias, Index rows, Index columns, T* values) {
  constexpr Index kLanes = 16 / sizeof(T);
  typedef T Vector __attribute__((vector_size(16), aligned(alignof(T)), may_alias));
  for (Index row = 0; row < rows; ++row, values += columns) {
    Index c = 0;
    for (; c + kLanes <= columns; c += kLanes)
      *reinterpret_cast<Vector*>(values + c) += *reinterpret_cast<const Vector*>(bias + c);
    for (; c < columns; ++c) values[c] += bias[c];
  }
}

// The lock of a workspace, for threads that run the same pass backward at once.
Lock& lock_of(const void* workspace) {
  static Lock locks[64];
  return locks[reinterpret_cast<std::size_t>(workspace) / 64 % 64];
}

}  // namespace

template <class T>
BorrowedChain<T>::BorrowedChain(std::vector<BorrowedLayer> layers) : layers_(std::move(layers)) {
  for (const BorrowedLayer& layer : layers_) {
    weights_ += (layer.in + 1) * layer.out;
    lanes_.push_back({layer.in, layer.out, nullptr, nullptr, layer.activation, {}, {}});
  }
}

// Lanes ------------------------------------------------------------------------------------------------------------

// The workspace of a tiny network: its weights in x out, their gradients, and the kernels' buffer.
template <class T>
struct BorrowedChain<T>::LanesPass {
  LanesPass(const BorrowedChain& chain, Index rows, bool training, T* workspace)
      : weights(workspace), gradients(weights + padded(chain.weights_)), layers(chain.lanes_) {
    T* value = weights;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      LanesLayer<T>& layer = layers[i];
      layer.weight = value;
      if (chain.layers_[i].has_bias) layer.bias = value + layer.in * layer.out;
      value += (layer.in + 1) * layer.out;
    }
    const int depth = static_cast<int>(layers.size());
    active_backend<T>().lanes_plan(layers.data(), depth, rows, training, plan);
    args.layers = layers.data();
    args.depth = depth;
    args.rows = rows;
    args.plan = &plan;
    args.buffer = gradients + padded(chain.weights_);
    args.training = training;
  }
  LanesPass(const LanesPass&) = delete;
  LanesPass& operator=(const LanesPass&) = delete;

  static Index size(const BorrowedChain& chain, Index rows, bool training) {
    LanesPlanStorage plan;
    const auto& layers = chain.lanes_;
    return 2 * padded(chain.weights_) +
           active_backend<T>().lanes_plan(layers.data(), static_cast<int>(layers.size()), rows, training, plan);
  }

  T *weights, *gradients;
  std::vector<LanesLayer<T>> layers;
  LanesPlanStorage plan;
  LanesArgs<T> args{};
};

template <class T>
bool BorrowedChain<T>::uses_lanes(Index rows) const {
  constexpr Index kMostBytes = Index{1} << 30;
  switch (forced_strategy()) {
    case Strategy::Automatic:
      return active_backend<T>().prefers_lanes(lanes_.data(), static_cast<int>(lanes_.size()), rows, true);
    case Strategy::Lanes:
      return LanesPass::size(*this, rows, true) <= kMostBytes / Index{sizeof(T)};
    default:
      return false;
  }
}

// Dense ------------------------------------------------------------------------------------------------------------

// The workspace of any other: what the backward pass needs of each layer, its output and the input of its activation; and
// two gradients. Without a backward pass, two outputs.
template <class T>
struct BorrowedChain<T>::DensePlan {
  DensePlan(const BorrowedChain& chain, Index rows, bool training) {
    Index widest = 0;
    for (const BorrowedLayer& layer : chain.layers_) widest = std::max({widest, layer.in, layer.out});
    const auto take = [this](Index n) {
      const Index begin = size;
      size += padded(n);
      return begin;
    };
    for (Index& buffer : buffers) buffer = take(rows * widest);
    for (std::size_t i = 0; i < chain.layers_.size(); ++i) {
      const BorrowedLayer& layer = chain.layers_[i];
      const Index n = rows * layer.out;
      y.push_back(training ? take(n) : buffers[i % 2]);
      z.push_back(training && saves_input(layer.activation.kind) ? take(n) : y.back());
    }
  }

  std::vector<Index> y, z;
  Index buffers[2], size = 0;
};

template <class T>
void BorrowedChain<T>::dense_forward(const T* x, Index rows, const BorrowedMemory* values, bool training, T* workspace,
                                     T* y) const {
  const DensePlan plan(*this, rows, training);
  const Backend<T>& kernels = active_backend<T>();
  const Context context = dense_context<T>();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const BorrowedLayer& layer = layers_[i];
    const Index n = rows * layer.out;
    T *const z = workspace + plan.z[i], *const out = workspace + plan.y[i];
    kernels.affine_backward_input(
        {rows, layer.in, layer.out, x, layer.in, data<T>(values[i].weight), {}, nullptr, z, layer.out}, context);
    if (values[i].bias) add_to_rows(data<T>(values[i].bias), rows, layer.out, z);
    if (layer.activation.kind != ActivationKind::Identity)
      kernels.activation_forward(layer.activation, n, z, out, context);
    x = out;
  }
  std::memcpy(y, x, static_cast<std::size_t>(rows * layers_.back().out) * sizeof(T));
}

template <class T>
void BorrowedChain<T>::dense_backward(const T* dy, const T* x, Index rows, const BorrowedMemory* values, T* workspace,
                                      T* dx, const BorrowedMemory* gradients) const {
  const DensePlan plan(*this, rows, true);
  const Backend<T>& kernels = active_backend<T>();
  const Context context = dense_context<T>();
  const T* dz = dy;  // of the layer's output
  for (std::size_t i = layers_.size(); i-- > 0;) {
    const BorrowedLayer& layer = layers_[i];
    T* const own = workspace + plan.buffers[i % 2];
    if (layer.activation.kind != ActivationKind::Identity) {
      kernels.activation_backward(layer.activation, rows * layer.out, dz, workspace + plan.z[i], own, context);
      dz = own;
    }
    const T* const input = i == 0 ? x : workspace + plan.y[i - 1];
    if (gradients[i].weight) {
      AffineBackwardWeight<T> product{rows, layer.in, layer.out, dz, layer.out, input, layer.in, {}, {}};
      product.weight.grad = data<T>(gradients[i].weight);
      kernels.affine_backward_weight(product, context);
    }
    if (gradients[i].bias) {
      AffineBackwardWeight<T> sums{rows, layer.out, layer.in, input, layer.in, dz, layer.out, {}, {}};
      sums.bias.grad = data<T>(gradients[i].bias);
      kernels.affine_backward_weight(sums, context);
    }
    const bool wanted =
        i > 0 ? std::any_of(gradients, gradients + i, [](const BorrowedMemory& g) { return g.weight || g.bias; }) || dx
              : dx != nullptr;
    if (!wanted) return;
    T* const before = i == 0 ? dx : workspace + plan.buffers[(i - 1) % 2];
    kernels.affine_forward(
        {rows, layer.in, layer.out, dz, layer.out, data<T>(values[i].weight), nullptr, {}, before, layer.in, nullptr},
        context);
    dz = before;
  }
}

// Both -------------------------------------------------------------------------------------------------------------

template <class T>
Index BorrowedChain<T>::workspace_size(Index rows, bool training) const {
  return uses_lanes(rows) ? LanesPass::size(*this, rows, training) : DensePlan(*this, rows, training).size;
}

template <class T>
void BorrowedChain<T>::forward(const T* x, Index rows, const BorrowedMemory* values, bool training, T* workspace,
                               T* y) const {
  if (!uses_lanes(rows)) return dense_forward(x, rows, values, training, workspace, y);
  LanesPass pass(*this, rows, training, workspace);
  T* to = pass.weights;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const BorrowedLayer& layer = layers_[i];
    transpose(data<T>(values[i].weight), layer.out, layer.in, to);
    to += layer.in * layer.out;
    if (values[i].bias) std::copy_n(data<T>(values[i].bias), layer.out, to);
    to += layer.out;
  }
  pass.args.x = x;
  pass.args.y = y;
  active_backend<T>().lanes_forward(pass.args, {openmp_executor(), nullptr});
}

template <class T>
void BorrowedChain<T>::backward(const T* dy, const T* x, Index rows, const BorrowedMemory* values, T* workspace, T* dx,
                                const BorrowedMemory* gradients) const {
  const Locked locked(lock_of(workspace));
  if (!uses_lanes(rows)) return dense_backward(dy, x, rows, values, workspace, dx, gradients);
  LanesPass pass(*this, rows, true, workspace);
  T* sums = pass.gradients;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const BorrowedLayer& layer = layers_[i];
    if (gradients[i].weight) pass.layers[i].weight_sink.grad = sums;
    pass.layers[i].bias_sink.grad = data<T>(gradients[i].bias);
    sums += layer.in * layer.out;
  }
  pass.args.dy = dy;
  pass.args.dx = dx;
  active_backend<T>().lanes_backward(pass.args, {openmp_executor(), nullptr});
  for (std::size_t i = 0; i < layers_.size(); ++i)
    if (gradients[i].weight)
      transpose(pass.layers[i].weight_sink.grad, layers_[i].in, layers_[i].out, data<T>(gradients[i].weight));
}

template class BorrowedChain<float>;
template class BorrowedChain<double>;

}  // namespace fastmlp
