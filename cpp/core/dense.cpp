// The dense strategy: layer by layer.
#include "core/network.h"

namespace fastmlp {

template <class T>
void Network<T>::dense_forward(Workspace<T>& w, const T* x, T* y) const {
  const Context context = this->context(w);
  const Index rows = w.rows_;
  const T* in = x;
  Index width = w.columns_;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer<T>& layer = layers_[l];
    auto& place = w.places_[l];
    // In inference the last layer writes where the result is wanted.
    T* out = !w.training_ && l + 1 == layers_.size() ? y : w.memory_.data() + place.y;
    place.in = in;
    switch (layer.kind) {
      case LayerKind::Affine: {
        AffineForward<T> args{rows,    place.width,      width, in,          width,  layer.weight->value.data(),
                              nullptr, layer.activation, out,   place.width, nullptr};
        if (layer.bias) args.bias = layer.bias->value.data();
        if (w.training_ && layer.saves_input()) args.z = w.memory_.data() + place.z;
        kernels_->affine_forward(args, context);
        break;
      }
      case LayerKind::Activation:
        kernels_->activation_forward(layer.activation, rows * width, in, out, context);
        break;
      case LayerKind::RowActivation:
        kernels_->row_forward(layer.row_activation, rows, width, in, out, context);
        break;
      case LayerKind::Dropout:
        if (w.drops_)
          kernels_->dropout(w.dropout_, static_cast<Index>(l), layer.p, rows * width, in, out, context);
        else
          copy(in, rows * width, out);
        break;
    }
    place.out = in = out;
    width = place.width;
  }
  if (y && y != in) copy(in, rows * width, y);
}

template <class T>
void Network<T>::dense_backward(Workspace<T>& w, const T* dy, T* dx, Optimizer<T>* fused) const {
  if (fused && !w.device_steps_.replay) begin_updates(*fused);
  const Context context = this->context(w);
  const Index rows = w.rows_;
  std::size_t lowest = 0;  // the layer where the gradient's way ends
  if (!dx)
    while (lowest < layers_.size() && layers_[lowest].kind != LayerKind::Affine) ++lowest;

  int turn = 0;
  const auto next_buffer = [&] { return w.memory_.data() + w.gradients_[turn ^= 1]; };
  const T* gradient = dy;
  // Whether the gradient is already that of the input of the layer's own activation.
  bool before_activation = w.logits_;
  for (std::size_t l = layers_.size(); l-- > lowest;) {
    const Layer<T>& layer = layers_[l];
    const auto& place = w.places_[l];
    const Index width_in = l > 0 ? w.places_[l - 1].width : w.columns_;
    T* const below = l == 0 && dx ? dx : nullptr;
    switch (layer.kind) {
      case LayerKind::Affine: {
        if (!before_activation && layer.activation.kind != ActivationKind::Identity) {
          const T* saved = layer.saves_input() ? w.memory_.data() + place.z : place.out;
          T* dz = next_buffer();
          kernels_->activation_backward(layer.activation, rows * place.width, gradient, saved, dz, context);
          gradient = dz;
        }
        before_activation = false;
        const T* dz = gradient;
        if (l > lowest || below) {
          AffineBackwardInput<T> args{rows,    place.width, width_in,
                                      dz,      place.width, layer.weight->value.data(),
                                      {},      nullptr,     below ? below : next_buffer(),
                                      width_in};
          if (l > 0 && layers_[l - 1].kind == LayerKind::Affine) {
            const Layer<T>& previous = layers_[l - 1];
            const auto& previous_place = w.places_[l - 1];
            args.activation = previous.activation;
            if (previous.activation.kind != ActivationKind::Identity)
              args.saved = previous.saves_input() ? w.memory_.data() + previous_place.z : previous_place.out;
            before_activation = true;
          }
          kernels_->affine_backward_input(args, context);
          gradient = args.dx;
        }
        // After the input's gradient, which needs the old weights.
        AffineBackwardWeight<T> args{rows, place.width, width_in, place.in, width_in, dz, place.width, {}, {}};
        args.weight = sink(layer.weight, rows, fused);
        args.bias = sink(layer.bias, 0, fused);
        kernels_->affine_backward_weight(args, context);
        break;
      }
      case LayerKind::Activation: {
        const T* saved = layer.saves_input() ? place.in : place.out;
        T* out = below ? below : next_buffer();
        if (before_activation)
          copy(gradient, rows * width_in, out);
        else
          kernels_->activation_backward(layer.activation, rows * width_in, gradient, saved, out, context);
        before_activation = false;
        gradient = out;
        break;
      }
      case LayerKind::RowActivation: {
        T* out = below ? below : next_buffer();
        if (before_activation)
          copy(gradient, rows * width_in, out);
        else
          kernels_->row_backward(layer.row_activation, rows, width_in, gradient, place.out, out, context);
        before_activation = false;
        gradient = out;
        break;
      }
      case LayerKind::Dropout: {
        T* out = below ? below : next_buffer();
        if (w.drops_)
          kernels_->dropout(w.dropout_, static_cast<Index>(l), layer.p, rows * width_in, gradient, out, context);
        else
          copy(gradient, rows * width_in, out);
        gradient = out;
        break;
      }
    }
  }
  if (layers_.empty() && dx) copy(dy, rows * w.columns_, dx);
}

template void Network<float>::dense_forward(Workspace<float>&, const float*, float*) const;
template void Network<double>::dense_forward(Workspace<double>&, const double*, double*) const;
template void Network<float>::dense_backward(Workspace<float>&, const float*, float*, Optimizer<float>*) const;
template void Network<double>::dense_backward(Workspace<double>&, const double*, double*, Optimizer<double>*) const;

}  // namespace fastmlp
