// Training a tiny network in one launch: each lane of a warp takes rows of the batch through the whole network and back by
// itself, all in registers.
//
// The sizes are compile-time constants (shape.h), the weights lie in shared memory, where all lanes read the same value at
// a time. A lane adds up the gradient of its rows; then the lanes' sums are halved over the warp (halving.h), and the loss
// with them, until each lane has those of a few values of its own, whose weights and states it keeps in registers over
// the whole launch. It updates them and puts the new weights back into shared memory. A step has two barriers of the warp.
//
// Batches of more than a warp's lanes have four warps, which add their sums up in shared memory, and several rows a lane.
// Networks with batches of up to four rows, if there are many, share a warp, four lanes for each. Either comes to the
// same bits: the order of sums is that of a warp whose other lanes have no rows.
#pragma once

#include "cuda/block/copy_async.h"
#include "cuda/block/step_constants.h"
#include "cuda/tiny/halving.h"
#include "cuda/tiny/lane_pass.h"

namespace fastmlp::cuda {

// `warps`: of a network. `group`: lanes of a network, where several share a warp, or kWarp.
template <class T, class S, int warps, int group = kWarp>
struct RowsInLanes {
  static_assert(warps == 1 || group == kWarp);
  static constexpr int kThreads = warps * kWarp;
  static constexpr int kBlocks = warps > 1;  // at a time: the compiler may take all registers; 0 is its own choice
  static constexpr int kLanes = warps > 1 ? kThreads : group;  // of a network
  static constexpr int kNetworks = kThreads / kLanes;
  // Sums that halving leaves to a lane, or that several lanes have, and values of a thread, side by side.
  static constexpr int kSummed = (S::kPlaces + group - 1) / group;
  static constexpr int kOwned = (S::kPlaces + kLanes - 1) / kLanes;
  static constexpr int kStride = S::kPlaces + (kNetworks > 1 ? 4 : 0);  // networks in different banks
  using V = Real<T>;
  using Params = TinyParams<T>;

  // Shared memory, in bytes: first of all `combine`'s.
  static constexpr int kConstants = (warps * static_cast<int>(sizeof(double)) + 15) / 16 * 16;
  static constexpr int kWeights = (kConstants + kNetworks * StepConstants<T>::kBytes + 15) / 16 * 16;
  static constexpr int kPartial = kWeights + kNetworks * kStride * static_cast<int>(sizeof(T));
  static constexpr int kBytes = kPartial + (warps > 1 ? warps * S::kPlaces * static_cast<int>(sizeof(T)) : 0);

  struct Registers : OutputRegisters<T> {
    SingleBlockRows<T> data;  // the network's
    T x[S::kIn], t[S::kOut], weight;
    int target_class;
    // The row after the present one, while it is on its way, and the number of the one after that.
    T next_x[S::kIn], next_t[S::kOut], next_weight;
    int next_class;
    Index coming;  // negative: none
    T h[S::kLayers][S::kHidden], y[S::kOut], dz[S::kOut];
    T gradient[S::kPlaces];  // the last one is the loss
    V w[kOwned], state[3][kOwned];
    unsigned trained;  // bit by bit
  };

  // Rows that the lanes take at the same time: those of one turn.
  struct Turn {
    Index step;
    int turn;
  };

  Block<RowsInLanes>& block;
  const Params& p;
  const int turns;
  Turn coming = {0, 0};  // of the rows whose numbers are on their way

  static FASTMLP_DEVICE void run(Block<RowsInLanes>& block, const Params& p) {
    RowsInLanes kernel{block, p, (p.rows + kLanes - 1) / kLanes};
    kernel.begin();
    for (Index step = 0; step < p.steps; ++step) kernel.step(step);
    kernel.end();
  }

  FASTMLP_DEVICE int lane(int thread) const { return thread % kLanes; }
  FASTMLP_DEVICE int network(int thread) const { return block.index().x * kNetworks + thread / kLanes; }
  FASTMLP_DEVICE T* weights(int thread) const {
    return reinterpret_cast<T*>(block.shared() + kWeights) + thread / kLanes * kStride;
  }
  FASTMLP_DEVICE StepConstants<T> constants(int thread) const {
    return StepConstants<T>(block.shared() + kConstants + thread / kLanes * StepConstants<T>::kBytes);
  }
  // The first place of a lane's sums.
  static FASTMLP_DEVICE int first_sum(int lane) {
    constexpr int kSharing = kSummed * group / S::kPlaces;  // lanes with the same sums: one of them owns the place
    return lane % kSharing == 0 ? lane / kSharing * kSummed : S::kPlaces;
  }
  // That of a thread's values; kPlaces or more: it has none.
  FASTMLP_DEVICE int first_owned(int thread) const {
    if constexpr (warps > 1)
      return thread * kOwned;
    else
      return first_sum(lane(thread));
  }
  FASTMLP_DEVICE bool has_row(int thread, int turn) const {
    return turn * kLanes + lane(thread) < p.rows && network(thread) < p.models;
  }

  // Parameters ---------------------------------------------------------------------------------------------------------

  // body(number among the thread's values, where it and its states are in the device's memory, its number there, whether
  // it is trained) for those that the network has.
  template <class Body>
  FASTMLP_DEVICE void for_owned(int thread, const Body& body) const {
    FASTMLP_UNROLL
    for (int q = 0; q < kOwned; ++q) {
      const int place = first_owned(thread) + q;
      if (place >= S::kValues || network(thread) >= p.models) continue;
      const TinyPlace at = S::locate(place);
      const int columns = p.sizes[at.layer + 1];
      const bool bias = at.row == S::terms(at.layer);
      if (at.column >= columns || !(bias ? p.has_bias[at.layer] : at.row < p.sizes[at.layer])) continue;
      const int parameter = (network(thread) * S::kDepth + at.layer) * 2 + bias;
      body(q, p.parameters[parameter], (bias ? 0 : at.row * columns) + at.column, p.trains[at.layer][bias]);
    }
  }

  FASTMLP_DEVICE void put_weights(int thread, const Registers& own) const {
    FASTMLP_UNROLL
    for (int q = 0; q < kOwned; ++q)
      if (first_owned(thread) + q < S::kPlaces) weights(thread)[first_owned(thread) + q] = own.w[q].value;
  }

  FASTMLP_DEVICE void begin() {
    block.each([&](int thread, Registers& own) {
      own.trained = 0;
      FASTMLP_UNROLL
      for (int q = 0; q < kOwned; ++q) own.w[q] = own.state[0][q] = own.state[1][q] = own.state[2][q] = V(0);
      for_owned(thread, [&](int q, const UpdateTarget<T>& from, int i, bool trained) {
        own.w[q] = from.value[i];
        if (!trained) return;
        own.trained |= 1U << q;
        FASTMLP_UNROLL
        for (int s = 0; s < 3; ++s)
          if (p.keeps[s]) own.state[s][q] = from.state[s][i];
      });
      put_weights(thread, own);
      if (network(thread) < p.models) own.data = p.data[network(thread)];
      fetch_update(thread, 0);
      await_copies();
      await_number(thread, own);
    });
    block.each([&](int thread, Registers& own) {
      convert_update(thread, 0);
      fetch_row(own);
    });
    advance();
    block.each_alone([&](int thread, Registers& own) { await_number(thread, own); });
  }

  FASTMLP_DEVICE void end() {
    block.each_alone([&](int thread, Registers& own) {
      for_owned(thread, [&](int q, const UpdateTarget<T>& to, int i, bool trained) {
        if (!trained) return;
        to.value[i] = own.w[q].value;
        FASTMLP_UNROLL
        for (int s = 0; s < 3; ++s)
          if (p.keeps[s]) to.state[s][i] = own.state[s][q].value;
      });
    });
  }

  FASTMLP_DEVICE void fetch_update(int thread, Index step) const {
    if (step < p.steps && network(thread) < p.models)
      constants(thread).fetch(p.updates + network(thread) * p.update_stride, step, lane(thread), kLanes);
  }

  FASTMLP_DEVICE void convert_update(int thread, Index step) const {
    if (lane(thread) == kLanes - 1 && network(thread) < p.models) constants(thread).convert(step);
  }

  // Rows ---------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE void advance() {
    if (++coming.turn < turns) return;
    coming.turn = 0;
    ++coming.step;
  }

  FASTMLP_DEVICE Index number(const Registers& own, Index step, int r) const {
    const Index at = p.row + (p.same_rows ? 0 : step * p.rows) + r;
    return p.by_ids ? in_device_memory(own.data.ids)[at] : at;
  }
  FASTMLP_DEVICE void await_number(int thread, Registers& own) const {
    own.coming = -1;
    if (coming.step < p.steps && has_row(thread, coming.turn))
      own.coming = number(own, coming.step, coming.turn * kLanes + lane(thread));
  }

  FASTMLP_DEVICE void fetch_row(Registers& own) const {
    const bool present = own.coming >= 0;
    FASTMLP_UNROLL
    for (int i = 0; i < S::kIn; ++i)
      own.next_x[i] = present && i < p.sizes[0] ? in_device_memory(own.data.x)[own.coming * p.sizes[0] + i] : T(0);
    own.next_weight = present && p.targets.weights ? in_device_memory(own.data.weights)[own.coming] : T(1);
    own.next_class = present && !p.targets.dense ? static_cast<int>(in_device_memory(own.data.classes)[own.coming]) : 0;
    const bool dense = present && p.targets.dense;
    FASTMLP_UNROLL
    for (int c = 0; c < S::kOut; ++c)
      own.next_t[c] =
          dense && c < p.output.columns ? in_device_memory(own.data.dense)[own.coming * p.output.columns + c] : T(0);
  }

  // The rows of the next turn, and what follows them into its place; nothing where all turns have the same ones.
  FASTMLP_DEVICE void next_rows(Index step) {
    if (p.same_rows && turns == 1 && step > 0) return;
    block.each_alone([&](int, Registers& own) {
      FASTMLP_UNROLL
      for (int i = 0; i < S::kIn; ++i) own.x[i] = own.next_x[i];
      FASTMLP_UNROLL
      for (int c = 0; c < S::kOut; ++c) own.t[c] = own.next_t[c];
      own.weight = own.next_weight;
      own.target_class = own.next_class;
      fetch_row(own);
    });
    advance();
    block.each_alone([&](int thread, Registers& own) { await_number(thread, own); });
  }

  // The share of a mean that row r of a step has: Targets::share.
  FASTMLP_DEVICE double share(const Registers& own, Index step, int r) const {
    Targets<T> targets = p.targets;
    targets.classes = own.data.classes;
    targets.weights = own.data.weights;
    return targets.share(number(own, step, r));
  }

  // A step -------------------------------------------------------------------------------------------------------------

  FASTMLP_DEVICE void step(Index step) {
    block.each_alone([&](int thread, Registers& own) {
      FASTMLP_UNROLL
      for (int i = 0; i < S::kPlaces; ++i) own.gradient[i] = 0;
      own.loss = 0;
      if (p.one_update) return;
      if (step > 0) convert_update(thread, step);
      fetch_update(thread, step + 1);
    });
    p.scale.find(block, p.rows, [&](const Registers& own, int r) { return share(own, step, r); });
    const LanePass<T, S, Registers> pass{p};
    for (int turn = 0; turn < turns; ++turn) {
      next_rows(step);
      block.each_alone([&](int thread, Registers& own) {
        if (has_row(thread, turn)) pass.forward(weights(thread), own);
      });
      const auto find = [&](int thread, Registers& own) {
        return LaneRow<T, S::kOut>{
            own.y, own.dz, own.t, has_row(thread, turn), p.targets.dense != nullptr, own.target_class, own.weight};
      };
      Output<T, RowsInLanes, decltype(find)>(block, p.output, find).run();
      block.each_alone([&](int thread, Registers& own) {
        if (has_row(thread, turn)) pass.backward(weights(thread), own);
      });
    }
    block.each_alone([](int, Registers& own) { own.gradient[S::kPlaces - 1] = own.loss; });
    halve<S::kPlaces, group, &Registers::gradient>(block);
    if constexpr (warps > 1) {
      T* const partial = reinterpret_cast<T*>(block.shared() + kPartial);
      block.each([&](int thread, Registers& own) {
        const int first = first_sum(thread % kWarp);
        FASTMLP_UNROLL
        for (int q = 0; q < kSummed; ++q)
          if (first < S::kPlaces) partial[thread / kWarp * S::kPlaces + first + q] = own.gradient[q];
      });
      block.each_alone([&](int thread, Registers& own) {
        FASTMLP_UNROLL
        for (int q = 0; q < kOwned; ++q) {
          const int place = first_owned(thread) + q;
          if (place >= S::kPlaces) return;
          T sum = partial[place];
          FASTMLP_UNROLL
          for (int warp = 1; warp < warps; ++warp) sum += partial[warp * S::kPlaces + place];
          own.gradient[q] = sum;
        }
      });
    } else {
      block.each([](int, Registers&) {});  // all have read the weights
    }
    block.each([&](int thread, Registers& own) {
      update(thread, own);
      put_weights(thread, own);
      constexpr int kLoss = S::kPlaces - 1;
      if (first_owned(thread) == kLoss / kOwned * kOwned && network(thread) < p.models)
        p.losses[network(thread) * p.steps + step] = static_cast<double>(own.gradient[kLoss % kOwned]) * own.scale;
      await_copies();
    });
  }

  // States that are not kept count as 0 in each step; see update_value.
  FASTMLP_DEVICE void update(int thread, Registers& own) const {
    if (kNetworks > 1 && network(thread) >= p.models) return;
    with_update(p.kind, [&](auto rule) {
      using Rule = decltype(rule);
      const ops::UpdateValues<V> of_step = *constants(thread).rule;
      FASTMLP_UNROLL
      for (int q = 0; q < kOwned; ++q) {
        const bool trained = own.trained >> q & 1;
        V state[3];
        FASTMLP_UNROLL
        for (int s = 0; s < Rule::kStates; ++s) state[s] = p.keeps[s] ? own.state[s][q] : V(0);
        const V w = Rule::apply(own.w[q], trained ? V(own.gradient[q]) : V(0), state, of_step);
        if (trained) own.w[q] = w;
        FASTMLP_UNROLL
        for (int s = 0; s < Rule::kStates; ++s) own.state[s][q] = state[s];
      }
    });
  }
};

}  // namespace fastmlp::cuda
