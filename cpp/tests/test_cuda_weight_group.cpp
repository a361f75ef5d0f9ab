// The gradients of several weights in one launch of the emulated device, against each alone: the same to rounding, and the
// same bits again.
#include <deque>

#include "cuda/runtime/kernels.h"
#include "cuda/runtime/runtime.h"
#include "cuda_testing.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

struct Shape {
  Index N, K;
};

template <class T>
struct Layer {
  Shape shape;
  Values<T> x, dz, weight, bias, state;

  Layer(Shape s, Index M, std::uint32_t seed)
      : shape(s),
        x(M * s.K, seed, -1, 1),
        dz(M * s.N, seed + 1, -1, 1),
        weight(s.K * s.N, seed + 2, -1, 1),
        bias(s.N, seed + 3, -1, 1),
        state(s.K * s.N, seed + 4, -1, 1) {}
};

template <class T>
class Group {
 public:
  Group(const std::vector<Shape>& shapes, Index M, Precision precision, bool updates, bool some)
      : M_(M), updates_(updates), some_(some), scratch_(static_cast<Index>(cuda::affine_scratch_bytes())) {
    update_.constants.lr = 0.1;
    update_.constants.momentum = 0.5;
    context_.scratch = scratch_.data();
    context_.precision = precision;
    std::uint32_t seed = 1;
    for (const Shape& shape : shapes) layers_.emplace_back(shape, M, seed += 10);
    std::deque<Layer<T>> alone = layers_, grouped = layers_, again = layers_;
    for (const auto& product : products(alone)) cuda::affine_backward_weight(product, context_);
    const std::uint64_t before = cuda::enqueued;
    run(grouped);
    launches = static_cast<int>(cuda::enqueued - before);
    run(again);
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      const auto fine = [&](const Values<T>& got, const Values<T>& want, const Values<T>& repeated, const char* what) {
        check(near(got, want, 16 * std::sqrt(static_cast<double>(M))) && same_bits(got, repeated), what, shapes[l].K,
              shapes[l].N, static_cast<int>(precision), sizeof(T));
      };
      fine(grouped[l].weight, alone[l].weight, again[l].weight, "grouped weight");
      fine(grouped[l].bias, alone[l].bias, again[l].bias, "grouped bias");
      fine(grouped[l].state, alone[l].state, again[l].state, "grouped state");
    }
    for (Index i = static_cast<Index>(cuda::affine_scratch_bytes()) - 4096; i < scratch_.size(); ++i)
      check(scratch_[i] == 0, "counters begin again", i);
  }

  int launches = 0;

 private:
  std::vector<AffineBackwardWeight<T>> products(std::deque<Layer<T>>& layers) const {
    std::vector<AffineBackwardWeight<T>> all;
    for (Layer<T>& l : layers) {
      AffineBackwardWeight<T> a{M_, l.shape.N, l.shape.K, l.x.data(), l.shape.K, l.dz.data(), l.shape.N, {}, {}};
      if (updates_)
        a.weight = {nullptr, false, &update_, {l.weight.data(), {l.state.data(), nullptr, nullptr}}};
      else
        a.weight = {l.weight.data(), true, nullptr, {}};
      a.bias = {l.bias.data(), false, nullptr, {}};
      if (some_ && all.size() == 1) a.weight = {};
      if (some_ && all.size() == 2) a.bias = {};
      all.push_back(a);
    }
    return all;
  }
  void run(std::deque<Layer<T>>& layers) const {
    const auto all = products(layers);
    cuda::affine_backward_weights(all.data(), static_cast<int>(all.size()), context_);
  }

  const Index M_;
  const bool updates_, some_;
  Update update_;
  mutable Values<unsigned char> scratch_;
  Context context_ = kHost;
  std::deque<Layer<T>> layers_;
};

template <class T>
void test(Precision precision) {
  const std::vector<Shape> medium = {{256, 256}, {256, 256}, {256, 100}}, odd = {{7, 33}, {65, 7}, {130, 65}};
  for (const bool updates : {false, true}) {
    check(Group<T>(medium, 256, precision, updates, false).launches == 1, "one launch", 3);
    check(Group<T>({{512, 512}, {512, 784}}, 128, precision, updates, false).launches == 1, "one launch", 2);
    Group<T>(odd, 37, precision, updates, false);
    Group<T>(odd, 300, precision, updates, true);
  }
  // More than a launch takes, and one that is left over.
  check(Group<T>({{32, 32}, {32, 32}, {32, 32}, {32, 32}, {32, 32}}, 64, precision, true, false).launches == 2,
        "two launches", 5);
}

}  // namespace

int main() {
  test<float>(Precision::Float32);
  test<float>(Precision::TF32);
  test<double>(Precision::Float32);
  return report();
}
