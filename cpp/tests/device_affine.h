// The products of an affine layer as the device's tests run them: of one case, against plain loops in double, and against
// what was found to be right before.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "activation_samples.h"
#include "cuda/affine/affine_kernels.h"
#include "cuda/runtime/kernels.h"
#include "expect.h"
#include "marked_matrix.h"

namespace fastmlp::testing {

using namespace fastmlp::cuda;

struct Case {
  Index M, N, K;
  Precision precision = Precision::Float32;
  Index gap = 0, offset = 0;       // of x, dz and the results
  const TilePlan* plan = nullptr;  // in place of the table's choice
};

template <class T>
double rounded(T x, Precision precision) {
  if (precision == Precision::TF32) return static_cast<double>(TF32::value(TF32::word(static_cast<float>(x)), 0));
  if (precision == Precision::BF16) return static_cast<double>(BF16::value(BF16::word(static_cast<float>(x), 0), 0));
  return static_cast<double>(x);
}

template <class T>
void check(bool fine, const char* what, const Case& c, int kind = 0) {
  if (fine) return;
  std::printf("FAILED %s: batch %ld, %ld -> %ld features, %zu bytes a value, %s, gap %ld, offset %ld, kind %d", what,
              static_cast<long>(c.M), static_cast<long>(c.K), static_cast<long>(c.N), sizeof(T),
              kPrecisionNames[static_cast<int>(c.precision)], static_cast<long>(c.gap), static_cast<long>(c.offset),
              kind);
  if (c.plan) std::printf(", tile %d, %d parts", static_cast<int>(c.plan->tile), c.plan->parts);
  std::printf("\n");
  ++failures;
}

// Of float32, or of the accumulation in it: operands are of size 1, and rounded before the reference multiplies them.
template <class T>
double tolerance(Index terms) {
  return (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * (8 + 2 * static_cast<double>(terms));
}

inline std::vector<unsigned char>& scratch() {
  static std::vector<unsigned char> memory(affine_scratch_bytes());
  return memory;
}

template <class T>
class Affine {
 public:
  explicit Affine(const Case& c)
      : c_(c),
        x_(c.M, c.K, c.gap, c.offset),
        w_(c.K, c.N, 0, c.offset),
        b_(1, c.N, 0, c.offset),
        dz_(c.M, c.N, c.gap, c.offset) {
    x_.fill(1);
    w_.fill(2);
    b_.fill(3);
    dz_.fill(4);
    context_.precision = c.precision;
    context_.scratch = scratch().data();
  }

  // ---- against the reference
  void forward() {
    Matrix<T> y = result(c_.M, c_.N), z = y;
    const auto run = [&] { launch_forward({ActivationKind::Tanh, 0, 0}, y, &z); };
    // Few rows are multiplied in float32.
    const Precision precision = !c_.plan && c_.M <= kFewRows ? Precision::Float32 : c_.precision;
    const auto x = numbers(x_, precision), w = numbers(w_, precision);
    run();
    bool fine = z.marks_left() && y.marks_left();
    std::vector<double> sums(at(c_.N));
    for (Index m = 0; m < c_.M; ++m) {
      for (Index n = 0; n < c_.N; ++n) sums[at(n)] = static_cast<double>(b_(0, n));
      for (Index k = 0; k < c_.K; ++k)
        for (Index n = 0; n < c_.N; ++n) sums[at(n)] += x[at(m * c_.K + k)] * w[at(k * c_.N + n)];
      for (Index n = 0; n < c_.N; ++n) {
        fine &= near(z(m, n), sums[at(n)], c_.K);
        fine &= y(m, n) == std::tanh(z(m, n));
      }
    }
    check<T>(fine, "forward", c_);
    const Matrix<T> first = y, first_z = z;
    run();
    check<T>(same_bits(y, first) && same_bits(z, first_z), "the same forward pass again", c_);
  }

  void input() {
    Matrix<T> dx = result(c_.M, c_.K);
    launch_input({}, nullptr, dx);
    const auto dz = numbers(dz_, c_.precision), w = numbers(w_, c_.precision);
    bool fine = dx.marks_left();
    for (Index m = 0; m < c_.M; ++m)
      for (Index k = 0; k < c_.K; ++k) {
        double sum = 0;
        for (Index n = 0; n < c_.N; ++n) sum += dz[at(m * c_.N + n)] * w[at(k * c_.N + n)];
        fine &= near(dx(m, k), sum, c_.N);
      }
    check<T>(fine, "backward to the input", c_);
    const Matrix<T> first = dx;
    launch_input({}, nullptr, dx);
    check<T>(same_bits(dx, first), "the same backward pass again", c_);
  }

  void weight() {
    Matrix<T> dw = matrix(c_.K, c_.N), db = matrix(1, c_.N);
    const auto run = [&] { launch_weight({dw.data(), false, nullptr, {}}, {db.data(), false, nullptr, {}}); };
    run();
    const auto x = numbers(x_, c_.precision), dz = numbers(dz_, c_.precision);
    std::vector<double> sums(at(c_.K * c_.N)), columns(at(c_.N));
    for (Index m = 0; m < c_.M; ++m) {
      for (Index n = 0; n < c_.N; ++n) columns[at(n)] += static_cast<double>(dz_(m, n));
      for (Index k = 0; k < c_.K; ++k)
        for (Index n = 0; n < c_.N; ++n) sums[at(k * c_.N + n)] += x[at(m * c_.K + k)] * dz[at(m * c_.N + n)];
    }
    bool fine = dw.marks_left(), fine_bias = db.marks_left();
    for (Index k = 0; k < c_.K; ++k)
      for (Index n = 0; n < c_.N; ++n) fine &= near(dw(k, n), sums[at(k * c_.N + n)], c_.M);
    for (Index n = 0; n < c_.N; ++n) fine_bias &= near(db(0, n), columns[at(n)], c_.M);
    check<T>(fine, "backward to the weight", c_);
    check<T>(fine_bias, "backward to the bias", c_);
    const Matrix<T> first = dw, first_bias = db;
    run();
    check<T>(same_bits(dw, first) && same_bits(db, first_bias), "the same gradients again", c_);
  }

  // x's rows by number, in all the ways that a step takes them, against the same rows gathered.
  void chosen(bool forward, bool weight) {
    Matrix<T> data(4 * c_.M + 2, c_.K, c_.gap, c_.offset);
    data.fill(5);
    std::vector<Index> ids;
    for (Index i = 0; i < data.rows; ++i) ids.push_back((7 * i + 3) % data.rows);
    const Index first[] = {1, 2};
    Replay replay{};
    replay.first = first;
    replay.offset = 1;
    Matrix<T> y = result(c_.M, c_.N), dw = matrix(c_.K, c_.N), db = matrix(1, c_.N);
    const auto passes = [&] {
      if (forward) launch_forward({}, y, nullptr);
      if (weight) launch_weight({dw.data(), false, nullptr, {}}, {db.data(), false, nullptr, {}});
    };
    enum Way { kNumbers, kReplayedNumbers, kReplayedRows, kReplayedSameRows };
    for (const Way way : {kNumbers, kReplayedNumbers, kReplayedRows, kReplayedSameRows}) {
      for (Index m = 0; m < c_.M; ++m) {
        const Index i = way == kNumbers ? m : way == kReplayedSameRows ? 2 + m : 2 + 2 * c_.M + m;
        const Index row = way <= kReplayedNumbers ? ids[at(i)] : i;
        for (Index k = 0; k < c_.K; ++k) x_(m, k) = data(row, k);
      }
      passes();
      const Matrix<T> gathered = y, gathered_dw = dw, gathered_db = db;
      replay.ids = way == kReplayedNumbers ? ids.data() : nullptr;
      replay.same_rows = way == kReplayedSameRows;
      data_ = &data;
      ids_ = way == kNumbers ? ids.data() : nullptr;
      context_.replay = way == kNumbers ? nullptr : &replay;
      y = result(c_.M, c_.N);
      dw = matrix(c_.K, c_.N);
      db = matrix(1, c_.N);
      passes();
      data_ = nullptr;
      context_.replay = nullptr;
      check<T>(same_bits(y, gathered), "forward of chosen rows", c_, way);
      check<T>(same_bits(dw, gathered_dw) && same_bits(db, gathered_db), "backward of chosen rows", c_, way);
    }
    x_.fill(1);
  }

  void all() {
    forward();
    input();
    weight();
  }

  // ---- against what was found to be right above
  void activations() {
    Matrix<T> sums = result(c_.M, c_.K);
    launch_input({}, nullptr, sums);
    for (const Activation& activation : fastmlp::testing::all_activations()) {
      const int kind = static_cast<int>(activation.kind);
      const auto constants = activation_params<T>(activation);
      Matrix<T> y = result(c_.M, c_.N), z = y, y_only = y;
      launch_forward(activation, y, &z);
      launch_forward(activation, y_only, nullptr);
      bool fine = same_bits(y, y_only) && y.marks_left();
      for (Index m = 0; m < c_.M; ++m)
        for (Index n = 0; n < c_.N; ++n)
          fine &= y(m, n) == apply_activation<T>(activation.kind, z(m, n), constants).value;
      check<T>(fine, "activation", c_, kind);

      Matrix<T> saved = result(c_.M, c_.K), dx = saved;
      saved.fill(9);
      launch_input(activation, &saved, dx);
      fine = dx.marks_left();
      for (Index m = 0; m < c_.M; ++m)
        for (Index k = 0; k < c_.K; ++k)
          fine &= dx(m, k) == activation_gradient<T>(activation.kind, sums(m, k), saved(m, k), constants).value;
      check<T>(fine, "activation gradient", c_, kind);
    }
  }

  void sinks() {
    Matrix<T> dw = matrix(c_.K, c_.N), db = matrix(1, c_.N);
    launch_weight({dw.data(), false, nullptr, {}}, {db.data(), false, nullptr, {}});

    Matrix<T> added = dw, added_bias = db;
    launch_weight({added.data(), true, nullptr, {}}, {added_bias.data(), true, nullptr, {}});
    bool fine = added.marks_left() && added_bias.marks_left();
    for (Index i = 0; i < c_.K * c_.N; ++i) fine &= added.data()[i] == dw.data()[i] + dw.data()[i];
    for (Index i = 0; i < c_.N; ++i) fine &= added_bias.data()[i] == db.data()[i] + db.data()[i];
    check<T>(fine, "accumulated", c_);

    Matrix<T> alone = matrix(c_.K, c_.N), alone_bias = matrix(1, c_.N);
    launch_weight({alone.data(), false, nullptr, {}}, {});
    launch_weight({}, {alone_bias.data(), false, nullptr, {}});
    launch_weight({}, {});
    check<T>(same_bits(alone, dw), "the weight's gradient alone", c_);
    fine = true;  // the bias's has a kernel of its own
    for (Index n = 0; n < c_.N; ++n) fine &= near(alone_bias(0, n), static_cast<double>(db(0, n)), c_.M);
    check<T>(fine, "the bias's gradient alone", c_);

    ops::UpdateConstants constants;
    constants.lr = 0.125;
    constants.l2 = 0.0625;
    constants.keep = 0.875;
    constants.gradient_share = 0.75;
    constants.beta1 = 0.75;
    constants.beta2 = 0.5;
    constants.root_scale = 1.25;
    constants.eps = 0.25;
    for (int rule = 0; rule < kUpdateKinds; ++rule)
      for (const bool option : {false, true}) {
        const auto kind = static_cast<UpdateKind>(rule);
        constants.momentum = 0.5;
        constants.sign = option ? -1 : 1;
        constants.nesterov = constants.amsgrad = constants.centered = option;
        update({kind, constants}, option ? 3 : 2, nullptr, dw, db);
        // A replay's constants take the place of the update's own.
        const Index first[] = {2, 0};
        std::vector<Update> updates(5);
        Replay replay{};
        replay.first = first;
        replay.offset = 1;
        replay.updates = updates.data();
        replay.one_update = option;
        updates[option ? 0 : 3] = {kind, constants};
        update({kind, {}}, 3, &replay, dw, db, &constants);
      }
    for (const unsigned char byte : std::vector<unsigned char>(scratch().end() - kCounterBytes, scratch().end()))
      fine &= byte == 0;
    check<T>(fine, "counters are zero again", c_);
  }

 private:
  Matrix<T> result(Index rows, Index columns) const { return {rows, columns, c_.gap, c_.offset}; }
  // A parameter's, without gaps.
  Matrix<T> matrix(Index rows, Index columns) const { return {rows, columns, 0, c_.offset}; }

  static std::vector<double> numbers(const Matrix<T>& matrix, Precision precision) {
    std::vector<double> result;
    for (Index row = 0; row < matrix.rows; ++row)
      for (Index column = 0; column < matrix.columns; ++column)
        result.push_back(rounded(matrix(row, column), precision));
    return result;
  }
  static bool near(T got, double want, Index terms) {
    return std::abs(static_cast<double>(got) - want) <= tolerance<T>(terms);
  }

  void launch_forward(const Activation& activation, Matrix<T>& y, Matrix<T>* z) {
    AffineForward<T> a{
        c_.M, c_.N, c_.K, x_.data(), x_.ld, w_.data(), b_.data(), activation, y.data(), y.ld, z ? z->data() : nullptr};
    choose(a);
    if (c_.plan)
      multiply(product_of(a, context_), *c_.plan, context_);
    else
      affine_forward(a, context_);
  }
  void launch_input(const Activation& activation, Matrix<T>* saved, Matrix<T>& dx) {
    const AffineBackwardInput<T> a{
        c_.M, c_.N, c_.K, dz_.data(), dz_.ld, w_.data(), activation, saved ? saved->data() : nullptr, dx.data(), dx.ld};
    if (c_.plan)
      multiply(product_of(a, context_), *c_.plan, context_);
    else
      affine_backward_input(a, context_);
  }
  void launch_weight(const GradientSink<T>& weight, const GradientSink<T>& bias) {
    AffineBackwardWeight<T> a{c_.M, c_.N, c_.K, x_.data(), x_.ld, dz_.data(), dz_.ld, weight, bias};
    choose(a);
    if (c_.plan)
      multiply_weight(a);
    else
      affine_backward_weight(a, context_);
  }

  template <class Arguments>
  void choose(Arguments& a) {
    if (!data_) return;
    a.x = data_->data();
    a.x_chosen = true;
    a.x_ids = ids_;
  }

  void multiply_weight(const AffineBackwardWeight<T>& a) {
    if (a.weight.wanted())
      multiply(product_of(a, context_), *c_.plan, context_);
    else if (a.bias.wanted())
      sum_columns(a, context_);
  }

  // The rule on weight and bias, with the first `states` states, against the same one by one.
  void update(const Update& rule, int states, const Replay* replay, const Matrix<T>& dw, const Matrix<T>& db,
              const ops::UpdateConstants* replayed = nullptr) {
    const ops::UpdateValues<Real<T>> values(replayed ? *replayed : rule.constants);
    std::vector<Matrix<T>> got, want;
    UpdateTarget<T> targets[2], wanted[2];
    for (int parameter = 0; parameter < 2; ++parameter)
      for (int i = 0; i < 4; ++i) {
        got.push_back((parameter == 0 ? w_ : b_));
        if (i > 0) got.back().fill(static_cast<std::uint32_t>(i));
        for (T& v : got.back().all) v = i > 0 ? std::abs(v) : v;  // squares are positive
      }
    want = got;
    for (int parameter = 0; parameter < 2; ++parameter) {
      const auto point = [&](UpdateTarget<T>& target, std::vector<Matrix<T>>& memory) {
        target.value = memory[at(parameter * 4)].data();
        for (int s = 0; s < states; ++s) target.state[s] = memory[at(parameter * 4 + 1 + s)].data();
      };
      point(targets[parameter], got);
      point(wanted[parameter], want);
    }
    context_.replay = replay;
    launch_weight({nullptr, false, &rule, targets[0]}, {nullptr, false, &rule, targets[1]});
    context_.replay = nullptr;
    for (Index i = 0; i < c_.K * c_.N; ++i) update_value<T>(rule.kind, wanted[0], i, dw.all[at(i + c_.offset)], values);
    for (Index i = 0; i < c_.N; ++i) update_value<T>(rule.kind, wanted[1], i, db.all[at(i + c_.offset)], values);
    bool fine = true;
    for (std::size_t i = 0; i < got.size(); ++i) fine &= same_bits(got[i], want[i]);
    check<T>(fine, replay ? "replayed update" : "update", c_, static_cast<int>(rule.kind));
  }

  const Case c_;
  Matrix<T> x_, w_, b_, dz_;
  Matrix<T>* data_ = nullptr;  // whose rows are chosen
  const Index* ids_ = nullptr;
  Context context_{};
};

}  // namespace fastmlp::testing
