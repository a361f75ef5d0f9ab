// Clipping of gradients by their joint norm.
#include "cuda/block/pack.h"
#include "cuda/block/real.h"
#include "cuda/block/reduce.h"
#include "cuda/runtime/kernels.h"

namespace fastmlp::cuda {

namespace {

// Gradients to clip; more than fit among a kernel's arguments go to several launches.
template <class T>
struct Gradients {
  static constexpr int kMost = 64;
  int count = 0;
  T* grad[kMost] = {};
  Index size[kMost] = {};
};

// A sum of squares at three scales: where the squares themselves leave the range of double, those of the values times
// kDown or kUp do not. (Squares of float never leave it.)
struct Squares {
  static constexpr double kDown = 0x1p-600, kUp = 0x1p600;
  double sum, down, up;

  template <class T>
  FASTMLP_FORMULA void add(T value) {
    const double v = static_cast<double>(value);
    sum += v * v;
    if constexpr (sizeof(T) == 8) {
      down += (v * kDown) * (v * kDown);
      up += (v * kUp) * (v * kUp);
    }
  }
  FASTMLP_FORMULA void add(const Squares& other) {
    sum += other.sum;
    down += other.down;
    up += other.up;
  }
  FASTMLP_FORMULA double root() const {
    if (sum > 1e290 && down > 0) return math::sqrt(down) / kDown;
    if (sum < 1e-280) return math::sqrt(up) / kUp;
    return math::sqrt(sum);
  }
};

template <class T, class K>
FASTMLP_DEVICE void combine_squares(Block<K>& block) {
  combine<Sum, &Squares::sum>(block, K::kThreads);
  if constexpr (sizeof(T) == 8) {
    combine<Sum, &Squares::down>(block, K::kThreads);
    combine<Sum, &Squares::up>(block, K::kThreads);
  }
}

// Each block's share of the sum of squares, added to what earlier launches have left.
template <class T>
struct SumSquares {
  static constexpr int kThreads = 256;
  struct Params {
    Gradients<T> gradients;
    Squares* partial;
    bool first;
  };
  struct Registers : Squares {};

  static FASTMLP_DEVICE void run(Block<SumSquares>& block, const Params& p) {
    block.each_alone([&](int thread, Registers& own) {
      own.sum = own.down = own.up = 0;
      for (int i = 0; i < p.gradients.count; ++i) {
        const T* grad = p.gradients.grad[i];
        for_values<T>(block, thread, p.gradients.size[i], aligned(grad), [&](Index at, auto width) {
          for (const T g : load(grad + at, width).value) own.add(g);
        });
      }
    });
    combine_squares<T>(block);
    block.each_alone([&](int thread, Registers& own) {
      if (thread != 0) return;
      Squares& partial = p.partial[block.index().x];
      if (!p.first) own.add(partial);
      partial = own;
    });
  }
};

// Every block adds the shares up for itself, which is less than another launch.
template <class T>
struct ScaleToNorm {
  static constexpr int kThreads = 256;
  struct Params {
    Gradients<T> gradients;
    const Squares* partial;
    int partials;
    double max_norm;
    double* norm;
  };
  struct Registers : Squares {};

  static FASTMLP_DEVICE void run(Block<ScaleToNorm>& block, const Params& p) {
    block.each_alone([&](int thread, Registers& own) {
      own.sum = own.down = own.up = 0;
      for (int i = thread; i < p.partials; i += kThreads) own.add(p.partial[i]);
    });
    combine_squares<T>(block);
    block.each_alone([&](int thread, Registers& own) {
      const double norm = own.root(), factor = p.max_norm / (norm + 1e-6);
      if (block.index().x == 0 && thread == 0) *p.norm = norm;
      // As torch.nn.utils.clip_grad_norm_, also where the factor is NaN; an infinite limit only measures.
      if (factor >= 1 || p.max_norm - p.max_norm != 0) return;
      for (int i = 0; i < p.gradients.count; ++i) {
        T* grad = p.gradients.grad[i];
        for_values<T>(block, thread, p.gradients.size[i], aligned(grad), [&](Index at, auto width) {
          auto values = load(grad + at, width);
          for (T& g : values.value) g = static_cast<T>(static_cast<double>(g) * factor);
          store(grad + at, values);
        });
      }
    });
  }
};

}  // namespace

template <class T>
void clip(int count, T* const* grads, const Index* sizes, double max_norm, double* norm, const Context& context) {
  constexpr int most = Gradients<T>::kMost;
  Squares* const partial = reinterpret_cast<Squares*>(context.scratch);
  Index values = 0;
  for (int i = 0; i < count; ++i) values += sizes[i];
  int blocks = blocks_of_packs<SumSquares<T>, T>(values);
  if (blocks > kClipPartials) blocks = kClipPartials;
  // At least one part: the norm of nothing is 0.
  const auto for_parts = [&](const auto& enqueue) {
    for (int begin = 0; begin == 0 || begin < count; begin += most) {
      Gradients<T> part;
      for (; part.count < most && begin + part.count < count; ++part.count) {
        part.grad[part.count] = grads[begin + part.count];
        part.size[part.count] = sizes[begin + part.count];
      }
      enqueue(part, begin == 0);
    }
  };
  for_parts([&](const Gradients<T>& part, bool first) {
    launch<SumSquares<T>>({blocks}, kCombineBytes<SumSquares<T>>, {part, partial, first}, context.stream);
  });
  for_parts([&](const Gradients<T>& part, bool) {
    launch<ScaleToNorm<T>>({blocks}, kCombineBytes<ScaleToNorm<T>>, {part, partial, blocks, max_norm, norm},
                           context.stream);
  });
}

template void clip<float>(int, float* const*, const Index*, double, double*, const Context&);
template void clip<double>(int, double* const*, const Index*, double, double*, const Context&);

}  // namespace fastmlp::cuda
