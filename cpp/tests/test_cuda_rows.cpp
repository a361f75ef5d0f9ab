// The device's kernels on rows, emulated, against the scalar kernels of the CPU: activations of a row, and losses with
// their gradients.
#include <utility>
#include <vector>

#include "cuda/runtime/kernels.h"
#include "cuda_testing.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

template <class T>
void test_row_activation(RowActivationKind kind, Index rows, Index columns) {
  const Index n = rows * columns;
  const Values<T> x(n, 1, -6, 6), dy(n, 2, -1, 1);
  Values<T> want(n), got(n), again = x;
  const int number = static_cast<int>(kind);
  cpu<T>().row_forward(kind, rows, columns, x.data(), want.data(), kHost);
  cuda::row_forward(kind, rows, columns, x.data(), got.data(), kHost);
  check(near(got, want, 16), "row_forward", rows, columns, number, sizeof(T));
  cuda::row_forward(kind, rows, columns, again.data(), again.data(), kHost);
  check(same_bits(got, again), "row_forward in place", rows, columns, number, sizeof(T));

  const Values<T> y = got;
  again = dy;
  cpu<T>().row_backward(kind, rows, columns, dy.data(), y.data(), want.data(), kHost);
  cuda::row_backward(kind, rows, columns, dy.data(), y.data(), got.data(), kHost);
  check(near(got, want, 64), "row_backward", rows, columns, number, sizeof(T));
  cuda::row_backward(kind, rows, columns, again.data(), y.data(), again.data(), kHost);
  check(same_bits(got, again), "row_backward in place", rows, columns, number, sizeof(T));
}

template <class T>
class Loss {
 public:
  Loss(const LossSpec& spec, bool logits, bool dense, Index rows, Index columns, Index offset, bool weighted)
      : spec_(spec),
        logits_(logits),
        rows_(rows),
        columns_(columns),
        y_(rows * columns, 1, 0.01, 0.99, offset),
        t_(rows * columns, 2, 0, 1, offset),
        classes_(rows),
        weights_(rows, 3, 0.5, 2),
        column_weights_(columns, 4, 0.5, 2),
        column_params_(columns, 5, 0.2, 0.8) {
    // Targets of 0 and 1 alone take another way through BCE.
    for (Index i = 0; i < t_.size(); i += 1 + i % 2) t_[i] = std::round(t_[i]);
    for (Index r = 0; r < rows; ++r) classes_[r] = r * 7 % columns;
    if (spec.kind == LossKind::NLL) take_logarithms();
    if (dense)
      targets_.dense = t_.data();
    else
      targets_.classes = classes_.data();
    if (weighted) {
      for (Index r = 1; r < rows; r += 3) weights_[r] = 0;
      targets_.weights = weights_.data();
      targets_.column_weights = column_weights_.data();
      targets_.column_params = column_params_.data();
    }
    run(offset);
  }

 private:
  void take_logarithms() {
    for (Index i = 0; i < y_.size(); ++i) y_[i] = std::log(y_[i]);
  }

  LossArgs<T> args(const T* y, T* dy, Values<double>& partial, double& value) const {
    return {spec_, rows_, columns_, y, targets_, logits_, dy, partial.data(), &value};
  }

  void run(Index offset) {
    const Index n = rows_ * columns_;
    Values<T> want(n), got(n, offset), in_place = y_;
    Values<double> want_partial(cpu<T>().loss_partials(rows_)), partial(cuda::loss_partials(rows_));
    double want_value = -1, value = -1, without = -1, again = -1, replayed[6] = {};
    cpu<T>().loss(args(y_.data(), want.data(), want_partial, want_value), kHost);
    cuda::loss(args(y_.data(), got.data(), partial, value), kHost);
    const double scale = spec_.is_mean() ? 1 : static_cast<double>(rows_ * spec_.values_of_row(columns_));
    expect(std::abs(value - want_value) <= tolerance() * (std::abs(want_value) + scale * 0.01), "loss");
    expect(near(got, want, 64), "loss: gradient");
    cuda::loss(args(y_.data(), nullptr, partial, without), kHost);
    cuda::loss(args(in_place.data(), in_place.data(), partial, again), kHost);
    expect(value == without && value == again && same_bits(got, in_place), "loss in place, and without gradient");

    const Index first[] = {3, 0};
    const Replay replay{first, 2, nullptr, false, nullptr, false, nullptr, replayed};
    Context context = kHost;
    context.replay = &replay;
    cuda::loss(args(y_.data(), got.data(), partial, without), context);
    expect(replayed[5] == value && replayed[4] == 0, "loss, replayed");
  }

  // The CPU sums 64 rows in T.
  double tolerance() const {
    return static_cast<double>(std::numeric_limits<T>::epsilon()) * (64 + 2 * static_cast<double>(columns_));
  }
  void expect(bool fine, const char* what) const {
    check(fine, what, rows_, columns_, static_cast<int>(spec_.kind), sizeof(T));
  }

  const LossSpec spec_;
  const bool logits_;
  const Index rows_, columns_;
  Values<T> y_, t_;
  Values<Index> classes_;
  Values<T> weights_, column_weights_, column_params_;
  Targets<T> targets_;
};

template <class T>
void test_losses(Index rows, Index columns, Index offset, bool weighted) {
  for (const Reduction reduction : {Reduction::Mean, Reduction::Sum, Reduction::BatchMean}) {
    const auto test = [&](const LossSpec& spec, bool logits, bool dense) {
      Loss<T>(spec, logits, dense, rows, columns, offset, weighted);
    };
    for (int number = 0; !is_class_loss(static_cast<LossKind>(number)); ++number) {
      const auto kind = static_cast<LossKind>(number);
      if (!is_pair_loss(kind) || columns % 2 == 0) test({kind, 0.3, reduction, weighted}, false, true);
    }
    test({LossKind::BCE, 1, reduction}, true, true);
    for (const bool dense : {true, false}) {
      test({LossKind::CrossEntropy, 1, reduction}, false, dense);
      test({LossKind::CrossEntropy, 1, reduction, false, 0.2}, false, dense);
      test({LossKind::NLL, 1, reduction}, false, dense);
      test({LossKind::NLL, 1, reduction}, true, dense);
    }
  }
}

template <class T>
void test_all() {
  const std::pair<Index, Index> shapes[] = {{1, 1},   {1, 5},    {7, 10},   {128, 10},  {33, 31},  {520, 4},
                                            {3, 130}, {20, 257}, {2, 5000}, {40, 1000}, {5000, 10}};
  for (const auto& [rows, columns] : shapes) {
    for (const RowActivationKind kind : {RowActivationKind::Softmax, RowActivationKind::LogSoftmax})
      test_row_activation<T>(kind, rows, columns);
    for (const Index offset : {0, 1}) test_losses<T>(rows, columns, offset, offset == 0);
    test_losses<T>(rows, columns, 0, false);
  }
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return report();
}
