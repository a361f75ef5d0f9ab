// What the large products do with a tile of their result, as nodes of CUTLASS's epilogue visitor trees. One kernel
// serves all activations and all update rules: the kind is an argument, chosen once for each fragment.
//
// A tile goes through the epilogue subtile by subtile; visit() is called with the values that a thread has of one, its
// fragment. The formulas are those of cpp/ops.
#pragma once

#if defined(__CUDACC__) && defined(FASTMLP_CUTLASS)

#include <cutlass/array.h>
#include <cutlass/cutlass.h>
#include <cute/tensor.hpp>
#include <cutlass/epilogue/fusion/sm90_callbacks_tma_warpspecialized.hpp>

#include "cuda/block/by_kind.h"
#include "cuda/large/large_column_sums.h"

namespace fastmlp::cuda::large {

namespace fusion = cutlass::epilogue::fusion;

// What the nodes here have in common: no shared memory, no workspace, and parameters that are their arguments.
template <class Own>
struct Node {
  struct SharedStorage {};
  using Arguments = Own;
  using Params = Own;

  template <class Shape>
  static constexpr Params to_underlying_arguments(const Shape&, const Arguments& arguments, void*) {
    return arguments;
  }
  template <class Shape>
  static bool can_implement(const Shape&, const Arguments&) {
    return true;
  }
  template <class Shape>
  static std::size_t get_workspace_size(const Shape&, const Arguments&) {
    return 0;
  }
  template <class Shape>
  static cutlass::Status initialize_workspace(const Shape&, const Arguments&, void*, cudaStream_t,
                                              cutlass::CudaHostAdapter* = nullptr) {
    return cutlass::Status::kSuccess;
  }

  CUTLASS_HOST_DEVICE Node() : params(nullptr) {}
  CUTLASS_HOST_DEVICE Node(const Params& own, const SharedStorage&) : params(&own) {}

  // Whether a warp loads something ahead of the epilogue, and whether that is the matrix C.
  CUTLASS_DEVICE bool is_producer_load_needed() const { return false; }
  CUTLASS_DEVICE bool is_C_load_needed() const { return false; }

  template <class... Args>
  CUTLASS_DEVICE auto get_producer_load_callbacks(const fusion::detail::ProducerLoadArgs<Args...>&) const {
    return fusion::EmptyProducerLoadCallbacks{};
  }

  const Params* params;
};

struct ActivationArguments {
  ActivationKind kind = ActivationKind::Identity;
  float alpha = 0, beta = 0;

  ActivationArguments() = default;
  explicit ActivationArguments(const Activation& activation)
      : kind(activation.kind), alpha(static_cast<float>(activation.alpha)), beta(static_cast<float>(activation.beta)) {}

  FASTMLP_DEVICE ops::ActivationParams<Real<float>> params() const { return {Real<float>(alpha), Real<float>(beta)}; }
};

// act(z), z being the node's child.
struct Activate : Node<ActivationArguments> {
  using Node::Node;

  struct Callbacks : fusion::EmptyConsumerStoreCallbacks {
    CUTLASS_DEVICE explicit Callbacks(const Params& own) : params(own) {}
    const Params& params;

    template <int N>
    CUTLASS_DEVICE cutlass::Array<float, N> visit(const cutlass::Array<float, N>&, int, int, int,
                                                  const cutlass::Array<float, N>& z) {
      cutlass::Array<float, N> y;
      const auto constants = params.params();
      with_activation(params.kind, [&](auto functor) {
        CUTLASS_PRAGMA_UNROLL
        for (int i = 0; i < N; ++i) y[i] = decltype(functor)::forward(Real<float>(z[i]), constants).value;
      });
      return y;
    }
  };

  template <bool ReferenceSrc, class... Args>
  CUTLASS_DEVICE auto get_consumer_store_callbacks(const fusion::detail::ConsumerStoreArgs<Args...>&) const {
    return Callbacks(*params);
  }
};

// The product times act'(C); C is loaded unless the activation is the identity.
struct Differentiate : Node<ActivationArguments> {
  using Node::Node;

  CUTLASS_DEVICE bool is_producer_load_needed() const { return is_C_load_needed(); }
  CUTLASS_DEVICE bool is_C_load_needed() const { return params->kind != ActivationKind::Identity; }

  template <class Source>
  struct Callbacks : fusion::EmptyConsumerStoreCallbacks {
    CUTLASS_DEVICE Callbacks(const Params& own, const Source& c) : params(own), source(c) {}
    const Params& params;
    const Source& source;

    template <int N>
    CUTLASS_DEVICE cutlass::Array<float, N> visit(const cutlass::Array<float, N>& product, int part, int, int) {
      const cutlass::Array<float, N> saved = cute::recast<cutlass::Array<float, N>>(source)(part);
      cutlass::Array<float, N> dz;
      const auto constants = params.params();
      with_activation(params.kind, [&](auto functor) {
        CUTLASS_PRAGMA_UNROLL
        for (int i = 0; i < N; ++i)
          dz[i] = decltype(functor)::backward(Real<float>(product[i]), Real<float>(saved[i]), constants).value;
      });
      return dz;
    }
  };

  template <bool ReferenceSrc, class... Args>
  CUTLASS_DEVICE auto get_consumer_store_callbacks(const fusion::detail::ConsumerStoreArgs<Args...>& args) const {
    return Callbacks<cute::remove_cvref_t<decltype(args.tCrC)>>(*params, args.tCrC);
  }
};

struct SumsArguments {
  float* sums = nullptr;  // null: none are wanted
  Index ld = 0;
};

// Its child's values, whose column sums it stores on the way (large_column_sums.h).
struct SumColumns : Node<SumsArguments> {
  using Node::Node;

  template <class Places, class Rest>
  struct Callbacks : fusion::EmptyConsumerStoreCallbacks {
    CUTLASS_DEVICE Callbacks(const Params& own, const Places& places, const Rest& rest, int row, int column)
        : params(own), places(places), rest(rest), row(row), column(column) {}
    const Params& params;
    Places places;
    Rest rest;
    int row, column;  // of the thread's first value

    template <int N>
    CUTLASS_DEVICE cutlass::Array<float, N> visit(const cutlass::Array<float, N>&, int, int epi_m, int epi_n,
                                                  const cutlass::Array<float, N>& values) {
      using Halving = ColumnHalving;
      static_assert(N == Halving::kValues);
      if (!params.sums) return values;
      const auto place = places(cute::_, cute::_, cute::_, epi_m, epi_n);
      const auto inside = [&](int i) { return cute::elem_less(place(i), rest) ? values[i] : 0.0f; };
      float sums[Halving::kOwn];
      CUTLASS_PRAGMA_UNROLL
      for (int j = 0; j < Halving::kOwn; ++j) sums[j] = inside(Halving::value(j)) + inside(Halving::value(j) + 2);
      const int lane = static_cast<int>(threadIdx.x) % kWarp;
      CUTLASS_PRAGMA_UNROLL
      for (int half = Halving::kOwn / 2; half > 0; half /= 2) {
        CUTLASS_PRAGMA_UNROLL
        for (int j = 0; j < half; ++j)
          sums[j] =
              Halving::kept(sums, lane, half, j) + __shfl_xor_sync(~0U, Halving::sent(sums, lane, half, j), 4 * half);
      }
      // The warp's first row and column.
      const int first_row = row + cute::get<0>(place(0)) - lane / 4;
      const int first_column = column + cute::get<1>(place(0)) - lane % 4 * 2;
      const int own = first_column + Halving::column_of(lane);
      const int rows = row + cute::get<0>(rest), columns = column + cute::get<1>(rest);
      if (first_row < rows && own < columns)
        params.sums[first_row / static_cast<int>(SumsLayout::kRows) * params.ld + own] = sums[0];
      return values;
    }
  };

  template <bool ReferenceSrc, class... Args>
  CUTLASS_DEVICE auto get_consumer_store_callbacks(const fusion::detail::ConsumerStoreArgs<Args...>& args) const {
    const int row = cute::get<0>(args.problem_shape_mnkl) - cute::get<0>(args.residue_tCcD);
    const int column = cute::get<1>(args.problem_shape_mnkl) - cute::get<1>(args.residue_tCcD);
    return Callbacks<cute::remove_cvref_t<decltype(args.tCcD)>, cute::remove_cvref_t<decltype(args.residue_tCcD)>>(
        *params, args.tCcD, args.residue_tCcD, row, column);
  }
};

struct GradientArguments {
  bool update = false, accumulate = false;
  Update own;  // the rule, and its constants unless the step is replayed
  Step step{Context{}};
  float* state[3] = {nullptr, nullptr, nullptr};
  Index ld = 0;  // of the states
};

// What becomes of a weight's gradient, the product: it is stored; or C + product, C being the gradient so far; or the
// new weight, C being the old one. C and the result are the same memory: a tile is read before it is written, and by no
// one else.
//
// C and the result travel by TMA. The states are read and written here, 8 bytes a time: of a warp's 32 threads each 4
// have 32 bytes of a row, a whole sector. So that they need not be waited for, the warp that loads C has them brought
// into the L2 cache, half an epilogue ahead.
struct UseGradient : Node<GradientArguments> {
  using Node::Node;

  CUTLASS_DEVICE bool is_producer_load_needed() const { return is_C_load_needed(); }
  CUTLASS_DEVICE bool is_C_load_needed() const { return params->update || params->accumulate; }

  // Of each of the states, the lines of 128 bytes that a subtile has, a row each. The warp has few registers.
  template <int Rows, int Columns>
  struct Prefetch : fusion::EmptyProducerLoadCallbacks {
    static_assert(Rows % kWarp == 0 && Columns * sizeof(float) == 128);
    CUTLASS_DEVICE Prefetch(const Params& own, int row, int column, int rows, int columns)
        : params(own), first(row * own.ld + column), rows(rows - row), columns(columns - column) {}
    const Params& params;
    Index first;
    int rows, columns;  // from the thread's first place to the matrix's end

    CUTLASS_DEVICE void step(std::uint64_t*, int epi_m, int epi_n, int, bool) {
      CUTLASS_PRAGMA_UNROLL
      for (int i = 0; i < Rows; i += kWarp) {
        const int row = epi_m * Rows + i, column = epi_n * Columns;
        if (row >= rows || column >= columns) continue;
        const Index at = first + row * params.ld + column;
        CUTLASS_PRAGMA_UNROLL
        for (int s = 0; s < 3; ++s)
          if (params.state[s]) asm volatile("prefetch.global.L2 [%0];" ::"l"(params.state[s] + at));
      }
    }
  };

  template <class... Args>
  CUTLASS_DEVICE auto get_producer_load_callbacks(const fusion::detail::ProducerLoadArgs<Args...>& args) const {
    using EpilogueTile = cute::remove_cvref_t<decltype(args.epi_tile)>;
    const int row = cute::get<0>(args.tile_coord_mnkl) * cute::get<0>(args.tile_shape_mnk) + args.thread_idx;
    const int column = cute::get<1>(args.tile_coord_mnkl) * cute::get<1>(args.tile_shape_mnk);
    return Prefetch<cute::size<0>(EpilogueTile{}), cute::size<1>(EpilogueTile{})>(
        *params, row, column, cute::get<0>(args.problem_shape_mnkl), cute::get<1>(args.problem_shape_mnkl));
  }

  // Places: the rows and columns of the thread's values relative to its first one, known at compile time; Rest: how far
  // the matrix goes beyond that.
  template <class Source, class Places, class Rest>
  struct Callbacks : fusion::EmptyConsumerStoreCallbacks {
    CUTLASS_DEVICE Callbacks(const Params& own, const Source& c, const Places& places, const Rest& rest, Index first)
        : params(own),
          source(c),
          places(places),
          rest(rest),
          first(first),
          constants(&constants_of(own.own, own.step)) {}
    const Params& params;
    const Source& source;
    Places places;
    Rest rest;
    Index first;
    const ops::UpdateConstants* constants;  // read again for each fragment: as values they would not fit the registers

    template <int N>
    CUTLASS_DEVICE cutlass::Array<float, N> visit(const cutlass::Array<float, N>& product, int part, int epi_m,
                                                  int epi_n) {
      const cutlass::Array<float, N> old = cute::recast<cutlass::Array<float, N>>(source)(part);
      cutlass::Array<float, N> result = product;
      if (params.update) {
        const auto place = places(cute::_, cute::_, cute::_, epi_m, epi_n);
        with_update(params.own.kind, [&](auto rule) { step(rule, product, old, result, place, part * N); });
      } else if (params.accumulate) {
        CUTLASS_PRAGMA_UNROLL
        for (int i = 0; i < N; ++i) result[i] = old[i] + product[i];
      }
      return result;
    }

   private:
    // In portions, which the registers have room for; of each first the loads, so that they are under way together.
    template <class Rule, int N, class Place>
    CUTLASS_DEVICE void step(Rule, const cutlass::Array<float, N>& gradient, const cutlass::Array<float, N>& old,
                             cutlass::Array<float, N>& result, const Place& place, int from) {
      constexpr int kPortion = Rule::kStates < 2 ? N : N / 2;
      const ops::UpdateValues<Real<float>> values(*constants);
      CUTLASS_PRAGMA_UNROLL
      for (int begin = 0; begin < N; begin += kPortion) {
        Real<float> state[kPortion][3];
        CUTLASS_PRAGMA_UNROLL
        for (int i = 0; i < kPortion; i += 2) {
          const auto at = place(from + begin + i);
          CUTLASS_PRAGMA_UNROLL
          for (int s = 0; s < Rule::kStates; ++s) {
            float2 pair{0, 0};
            if (params.state[s] && inside(at)) pair = *reinterpret_cast<const float2*>(params.state[s] + offset(at));
            state[i][s] = pair.x;
            state[i + 1][s] = pair.y;
          }
        }
        CUTLASS_PRAGMA_UNROLL
        for (int i = 0; i < kPortion; ++i)
          result[begin + i] =
              Rule::apply(Real<float>(old[begin + i]), Real<float>(gradient[begin + i]), state[i], values).value;
        CUTLASS_PRAGMA_UNROLL
        for (int i = 0; i < kPortion; i += 2) {
          const auto at = place(from + begin + i);
          CUTLASS_PRAGMA_UNROLL
          for (int s = 0; s < Rule::kStates; ++s)
            if (params.state[s] && inside(at))
              *reinterpret_cast<float2*>(params.state[s] + offset(at)) =
                  float2{state[i][s].value, state[i + 1][s].value};
        }
      }
    }

    template <class Coordinate>
    CUTLASS_DEVICE bool inside(const Coordinate& place) const {
      return cute::elem_less(place, rest);
    }
    template <class Coordinate>
    CUTLASS_DEVICE Index offset(const Coordinate& place) const {
      return first + cute::get<0>(place) * params.ld + cute::get<1>(place);
    }
  };

  template <bool ReferenceSrc, class... Args>
  CUTLASS_DEVICE auto get_consumer_store_callbacks(const fusion::detail::ConsumerStoreArgs<Args...>& args) const {
    const Index row = cute::get<0>(args.problem_shape_mnkl) - cute::get<0>(args.residue_tCcD);
    const Index column = cute::get<1>(args.problem_shape_mnkl) - cute::get<1>(args.residue_tCcD);
    return Callbacks<cute::remove_cvref_t<decltype(args.tCrC)>, cute::remove_cvref_t<decltype(args.tCcD)>,
                     cute::remove_cvref_t<decltype(args.residue_tCcD)>>(*params, args.tCrC, args.tCcD,
                                                                        args.residue_tCcD, row * params->ld + column);
  }
};

}  // namespace fastmlp::cuda::large

#endif
