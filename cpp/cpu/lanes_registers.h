// A step of the smallest networks, in registers from the parameters to their update.
//
// Two layers, 2 or 3 inputs, 2 to 4 hidden units, one output, at most four rows, in float32, in calls of many steps: the
// truth tables of every tutorial. Each value waits for the one before, and of a step by lanes_block.h most of the time goes
// into what one loop stores and the next one loads. Here the widths are known to the compiler, which leaves no loop. A
// vector holds the four rows of several hidden units, a quad for each. Every result is that of lanes_block.h to the last
// bit.
//
// Where a vector has quads for more units than there are, these read the parameters behind a layer's, of which the last
// ones are padding. What comes of it stays in quads of its own, which nobody asks for.
#pragma once

#include <type_traits>
#include <utility>

#include "cpu/lanes_block.h"

namespace fastmlp::FASTMLP_ISA_NS {

// Updates the parameters, which lie one after the other as the layers have them, and returns the loss, given its scale.
template <class T>
using StepInRegisters = double (*)(const LanesArgs<T>&, const LanesPlan<T>&, double, const Update&,
                                   const UpdateTarget<T>&);

inline bool has_register_form(const Activation& activation) {
  return activation.kind == ActivationKind::Sigmoid || activation.kind == ActivationKind::Tanh ||
         activation.kind == ActivationKind::ReLU || activation.kind == ActivationKind::Identity;
}

// What `body` gives for the functor of one of these activations.
template <class T, class Body>
FASTMLP_INLINE Vec<T> with_activation(ActivationKind kind, const Body& body) {
  if (kind == ActivationKind::Sigmoid) return body(ops::Sigmoid{});
  if (kind == ActivationKind::Tanh) return body(ops::Tanh{});
  if (kind == ActivationKind::ReLU) return body(ops::ReLU{});
  return body(ops::Identity{});
}
// A call, for several places share its code, and what it saves on the stack nobody waits for.
template <class T>
FASTMLP_NOINLINE Vec<T> activate(ActivationKind kind, Vec<T> z) {
  return with_activation<T>(kind, [&](auto f) { return f.forward(z, ops::ActivationParams<Vec<T>>{}); });
}
template <class T>
FASTMLP_INLINE Vec<T> activate_back(ActivationKind kind, Vec<T> dy, Vec<T> a) {
  return with_activation<T>(kind, [&](auto f) { return f.backward(dy, a, ops::ActivationParams<Vec<T>>{}); });
}

template <class T>
FASTMLP_NOINLINE void load_rows(const LanesBlock<T, Quad<T>, 1>& block) {
  block.load_x();
  block.load_targets();
}

// The value alone, for which no later step waits, unlike its gradient: a call does.
template <class T>
FASTMLP_NOINLINE Vec<T> cross_entropy_of(Vec<T> y, Vec<T> t) {
  return ops::BCE::value(y, t, ops::LossParams<Vec<T>>{});
}

// Any loss, which leaves its gradient in the block.
template <class T>
FASTMLP_NOINLINE double any_loss(const LanesBlock<T, Quad<T>, 1>& block, Vec<T> y, T scale) {
  y.store(block.output());
  return block.loss(true, scale);
}

// The parameters, in groups of one for each hidden unit: of each input the weights, the biases, the second layer's weights;
// its bias is alone in the last group. The products whose sums are their gradients stand so in registers, four of which
// are reduced at once.
template <class T, int kIn, int kHidden>
struct RegisterSums {
  static constexpr int kUnits = Vec<T>::lanes / 4, kVectors = (kHidden + kUnits - 1) / kUnits;  // of a group
  static constexpr int kGroups = kIn + 3, kParameters = (kIn + 2) * kHidden + 1;
  static constexpr int kReduced = (kGroups * kVectors + 3) / 4;
  // The last values that spread_to_quads reads are parameters or their padding.
  static_assert((kIn + 1) * kHidden + (kVectors - 1) * kUnits + 4 <= round_up(kParameters, Vec<T>::lanes));

  static constexpr int vector_of(int parameter) {
    return parameter / kHidden * kVectors + parameter % kHidden / kUnits;
  }
  // The reduced vector that has a parameter's sum, and its lane there.
  static constexpr int reduced_of(int parameter) { return vector_of(parameter) / 4; }
  static constexpr int lane_of(int parameter) { return parameter % kHidden % kUnits * 4 + vector_of(parameter) % 4; }

  // The sums of the parameters from number `first` on, in their order. Padding gets the last one's, as
  // harmless as any.
  template <int first, int... lane>
  static FASTMLP_INLINE Vec<T> gather(const Vec<T>* reduced, std::integer_sequence<int, lane...>) {
    constexpr int last = kParameters - 1;
    constexpr int low = reduced_of(first),
                  high = reduced_of(first + Vec<T>::lanes < last ? first + Vec<T>::lanes - 1 : last);
    static_assert(high <= low + 1, "two vectors are shuffled");
    constexpr auto source = [](int i) {
      const int p = first + i < last ? first + i : last;
      return (reduced_of(p) - low) * Vec<T>::lanes + lane_of(p);
    };
    return Vec<T>::of(__builtin_shufflevector(reduced[low].reg, reduced[high].reg, source(lane)...));
  }
  // body(first, the sums of the parameters from there on) for all vectors of them.
  template <int first = 0, class Body>
  static FASTMLP_INLINE void for_sums(const Vec<T>* reduced, const Body& body) {
    body(first, gather<first>(reduced, std::make_integer_sequence<int, Vec<T>::lanes>{}));
    if constexpr (first + Vec<T>::lanes < kParameters) for_sums<first + Vec<T>::lanes>(reduced, body);
  }
};

template <class T, int kIn, int kHidden>
double step_in_registers(const LanesArgs<T>& a, const LanesPlan<T>& plan, double loss_scale, const Update& update,
                         const UpdateTarget<T>& target) {
  using V = Vec<T>;
  using Q = Quad<T>;
  using Sums = RegisterSums<T, kIn, kHidden>;
  constexpr int kUnits = Sums::kUnits, kVectors = Sums::kVectors;
  const LanesBlock<T, Q, 1> block{a, plan, 0, 0, 0};
  if (!a.loaded) load_rows(block);
  const LanesLayer<T>&first = a.layers[0], &second = a.layers[1];
  const ActivationKind hidden_kind = first.activation.kind, output_kind = second.activation.kind;

  V x[kIn], hidden[kVectors], output(second.bias[0]);  // the inputs and the output are the same in all quads
  FASTMLP_UNROLL
  for (int k = 0; k < kIn; ++k) x[k] = repeat_quad(Q::load(block.x() + 4 * k));
  FASTMLP_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    V z = spread_to_quads(first.bias + v * kUnits);
    FASTMLP_UNROLL
    for (int k = 0; k < kIn; ++k) z = fma(spread_to_quads(first.weight + k * kHidden + v * kUnits), x[k], z);
    hidden[v] = activate(hidden_kind, z);
  }
  [&]<int... h>(std::integer_sequence<int, h...>) {
    ((output = fma(V(second.weight[h]), repeat_quad_of<T, h % kUnits>(hidden[h / kUnits]), output)), ...);
  }(std::make_integer_sequence<int, kHidden>{});
  const V y = activate(output_kind, output);

  const T scale = static_cast<T>(loss_scale);
  double loss;
  V dz;
  const Tail present{static_cast<int>(plan.rows)};  // rows, in the first quad
  const bool cross_entropy = a.loss.kind == LossKind::BCE && a.logits;
  if ((cross_entropy || a.loss.kind == LossKind::MSE) && !block.weighs()) {  // neither has parameters of columns
    const V t = repeat_quad(Q::load(block.t())), in_each_quad = repeat_quad_of<T, 0>(keep(V(T(1)), present));
    const ops::LossParams<V> params{};
    const V value = cross_entropy ? cross_entropy_of(y, t) : ops::MSE::value(y, t, params);
    const V gradient = cross_entropy ? ops::BCE::logit_gradient(y, t) : ops::MSE::gradient(y, t, params);
    loss = static_cast<double>(reduce_add(keep(value, present)));
    dz = select(in_each_quad == V(T(1)), gradient * V(scale), V(T(0)));
  } else {
    loss = any_loss(block, y, scale);
    dz = repeat_quad(Q::load(block.dy()));
  }
  if (!a.logits) dz = activate_back(output_kind, dz, y);

  V products[4 * Sums::kReduced];
  FASTMLP_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    V dh = fma(spread_to_quads(second.weight + v * kUnits), dz, V(T(0)));
    dh = activate_back(hidden_kind, dh, hidden[v]);
    FASTMLP_UNROLL
    for (int k = 0; k < kIn; ++k) products[k * kVectors + v] = x[k] * dh;
    products[kIn * kVectors + v] = dh;
    products[(kIn + 1) * kVectors + v] = hidden[v] * dz;
  }
  products[(kIn + 2) * kVectors] = dz;
  FASTMLP_UNROLL
  for (int i = (kIn + 2) * kVectors + 1; i < 4 * Sums::kReduced; ++i) products[i] = dz;  // nobody reads these
  V reduced[Sums::kReduced];
  FASTMLP_UNROLL
  for (int i = 0; i < Sums::kReduced; ++i)
    reduced[i] = sums_in_quads<T>({products[4 * i], products[4 * i + 1], products[4 * i + 2], products[4 * i + 3]});
  if (update.kind == UpdateKind::SGD && update.constants.plain()) {
    const ops::PlainUpdateValues<V> values(update.constants);
    Sums::for_sums(reduced, [&](int i, V g) {
      V states[3];
      ops::SGD::apply(V::load(target.value + i), g, states, values).store(target.value + i);
    });
  } else {
    T* const gradients = a.buffer + plan.gradients;
    Sums::for_sums(reduced, [&](int i, V g) { g.store(gradients + i); });
    kUpdate<T>[static_cast<int>(update.kind)](update.constants, {0, 1, plan.padded, 0}, target, gradients, 0);
  }
  return loss * loss_scale;
}

// Null where the network is another one.
template <class T>
StepInRegisters<T> find_step_in_registers(const LanesArgs<T>& a, const LanesPlan<T>& plan) {
  if constexpr (std::is_same_v<T, float> && kHasQuads<T>) {
    if (a.depth != 2 || plan.out != 1 || plan.rows > 4 || is_class_loss(a.loss.kind) || a.dx) return nullptr;
    const LanesLayer<T>&first = a.layers[0], &second = a.layers[1];
    if (!first.bias || !second.bias) return nullptr;
    if (!has_register_form(first.activation) || !has_register_form(second.activation)) return nullptr;
    if (first.in == 2 && first.out == 2) return step_in_registers<T, 2, 2>;
    if (first.in == 2 && first.out == 3) return step_in_registers<T, 2, 3>;
    if (first.in == 2 && first.out == 4) return step_in_registers<T, 2, 4>;
    if (first.in == 3 && first.out == 4) return step_in_registers<T, 3, 4>;
  }
  return nullptr;
}

}  // namespace fastmlp::FASTMLP_ISA_NS
