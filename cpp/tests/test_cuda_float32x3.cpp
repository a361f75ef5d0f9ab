// float32 products by three products of TF32, emulated with tensor cores that cut off: what a number is split into; the
// error beside that of float32's multiply-adds, both against double, for sums up to 16384 terms; infinities, NaNs and
// numbers near the ends of the range. Prints the errors.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/affine/affine_kernels.h"
#include "expect.h"
#include "marked_matrix.h"
#include "tile_plan.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::cuda;
using namespace fastmlp::testing;

void test_tensor_cores() {
  const auto sum = [](float c, double p) {
    const double products[] = {p, p};
    return cut_off_sum(c, products, 2);
  };
  expect(sum(1, 0x1p-23) == 1 + 0x1p-22f && sum(-1, -0x1p-23) == -1 - 0x1p-22f, "a sum that is exact");
  expect(sum(1, 0x1.8p-23) == 1 + 0x1p-22f, "products are cut off");
  expect(sum(1, 0x1.8p-24) == 1 && sum(1, -0x1.8p-24) == 1, "products below the last bit are lost");
  expect(sum(2 - 0x1p-23f, 0x1p-23) == 2, "a carry");
  expect(sum(2 + 0x1p-22f, 1 - 0x1p-22) == 4 - 0x1p-22f, "a sum is cut off");
  expect(sum(-3, 1.5) == 0 && sum(0, 0) == 0, "nothing is left");
  expect(sum(0x1p-149f, 0x1p-150) == 0x1p-149f && sum(0, 0x1p-148) == 0x1p-147f, "subnormal numbers");
  expect(sum(0x1.fffffep127f, 0x1p127) == HUGE_VALF && sum(0, -0x1p127) == -HUGE_VALF, "beyond the range");
  expect(sum(-HUGE_VALF, 1) == -HUGE_VALF && std::isnan(sum(HUGE_VALF, -HUGE_VAL)), "infinities");
}

float number(std::uint32_t word) { return TF32::value(word, 0); }

void test_split() {
  std::mt19937 random(1);
  bool rounded = true, exact = true, alike = true;
  for (int i = 0; i < 1'000'000; ++i) {
    const std::uint32_t word = static_cast<std::uint32_t>(random());
    const float x = number(word);
    if (!(std::abs(x) < 0x1.ffep127f)) continue;
    std::uint32_t large, small, large_any, small_any;
    SplitFloat::split(word, large, small);
    rounded &= large % 0x2000 == 0 && small % 0x2000 == 0;
    const double left =
        std::abs(static_cast<double>(x) - static_cast<double>(number(large)) - static_cast<double>(number(small)));
    exact &= left <= std::max(0x1p-23 * static_cast<double>(std::abs(x)), 0x1p-136);
    exact &= std::abs(number(small)) <= 0x1p-11f * std::abs(x) + 0x1p-136f;
    for (const bool cross : {false, true}) {
      SplitFloat::split_any(word, cross, large_any, small_any);
      alike &= large_any == large && small_any == small;
    }
  }
  expect(rounded, "both parts are TF32 numbers");
  expect(exact, "the parts make up the number");
  expect(alike, "numbers of any size are split alike");
  for (const float x : {0x1.fffffep127f, -0x1.fff002p127f, HUGE_VALF, -HUGE_VALF, std::nanf("")})
    for (const bool cross : {false, true}) {
      std::uint32_t large, small;
      SplitFloat::split_any(std::bit_cast<std::uint32_t>(x), cross, large, small);
      const double parts = static_cast<double>(number(large)) + static_cast<double>(number(small));
      const double want = std::isfinite(x) || !cross ? static_cast<double>(x) : 0;
      expect(std::isnan(want) ? std::isnan(parts) : parts == want || std::abs(parts - want) <= 0x1p-23 * std::abs(want),
             "a large number's parts");
    }
}

std::vector<unsigned char>& scratch() {
  static std::vector<unsigned char> memory(kPartBytes + kCounterBytes);
  return memory;
}

// x w, as a forward pass has it.
Matrix<float> product(const Matrix<float>& x, const Matrix<float>& w, Precision precision, const TilePlan& plan) {
  Matrix<float> y(x.rows, w.columns, 0, 0), inputs = x, weights = w;
  Context context{};
  context.precision = precision;
  context.scratch = scratch().data();
  const AffineForward<float> a{x.rows,  w.columns, x.columns, inputs.data(), x.ld,   weights.data(),
                               nullptr, {},        y.data(),  y.ld,          nullptr};
  multiply(product_of(a, context), plan, context);
  return y;
}

struct Error {
  double most = 0, squares = 0;  // in units of the sum of the terms' absolute values
  void add(double got, double want, double size) {
    const double error = std::abs(got - want) / size;
    most = std::max(most, error);
    squares += error * error;
  }
};

template <class Draw>
void test_error(const char* what, Index most_terms, const Draw& draw) {
  constexpr Index kSide = 33;
  for (const Index depth : {64, 1024, 4096, 16384}) {
    if (depth > most_terms) break;
    std::mt19937 random(7);
    Matrix<float> x(kSide, depth, 0, 0), w(depth, kSide, 0, 0);
    for (float& v : x.all) v = draw(random);
    for (float& v : w.all) v = draw(random);
    // A sum on the tile's one accumulator, as in FFMA's large tile.
    const TilePlan plan = tile_plan_of(TileKind::Large, kSide, kSide, depth, 1);
    const Matrix<float> split = product(x, w, Precision::Float32x3, plan), tf32 = product(x, w, Precision::TF32, plan);
    Error of_split, of_tf32, of_float;
    for (Index r = 0; r < kSide; ++r)
      for (Index c = 0; c < kSide; ++c) {
        double exact = 0, size = 0;
        float sum = 0;
        for (Index k = 0; k < depth; ++k) {
          const double term = static_cast<double>(x(r, k)) * static_cast<double>(w(k, c));
          exact += term;
          size += std::abs(term);
          sum = std::fma(x(r, k), w(k, c), sum);
        }
        of_split.add(static_cast<double>(split(r, c)), exact, size);
        of_tf32.add(static_cast<double>(tf32(r, c)), exact, size);
        of_float.add(static_cast<double>(sum), exact, size);
      }
    const auto root = [](const Error& e) { return std::sqrt(e.squares / (kSide * kSide)); };
    std::printf("%-22s %6ld terms: float32x3 %.2e (at most %.2e), float32 %.2e (%.2e), tf32 %.2e (%.2e)\n", what,
                static_cast<long>(depth), root(of_split), of_split.most, root(of_float), of_float.most, root(of_tf32),
                of_tf32.most);
    expect(of_split.most <= 2 * of_float.most && root(of_split) <= 1.75 * root(of_float), what);
    expect(root(of_tf32) > 8 * root(of_split), "TF32 alone is less exact");
  }
}

void test_errors() {
  test_error("normal", 4096, [](std::mt19937& random) { return std::normal_distribution<float>()(random); });
  test_error("positive", 16384,
             [](std::mt19937& random) { return std::uniform_real_distribution<float>(0.5F, 1)(random); });
  test_error("of many sizes", 1024, [](std::mt19937& random) {
    const float size = std::ldexp(1.0F, std::uniform_int_distribution<int>(-20, 20)(random));
    return std::normal_distribution<float>()(random) * size;
  });
}

// Infinities, NaNs and the largest numbers among small ones and zeros: the sums are of the kinds that float32's are, and
// those that have no part in it keep their bits.
void test_kinds() {
  constexpr Index kRows = 70, kDepth = 150, kColumns = 40;
  Matrix<float> x(kRows, kDepth, 0, 0), w(kDepth, kColumns, 0, 0);
  x.fill(1);
  w.fill(2);
  for (Index k = 0; k < kDepth; k += 3) w(k, 5) = x(50, k) = 0;
  for (Index k = 0; k < kDepth; ++k) w(k, 7) = k % 2 == 0 ? 1 : 0x1p-20f;  // without a small part
  const Matrix<float> plain_x = x, plain_w = w;
  x(3, 4) = HUGE_VALF;
  x(9, 149) = -HUGE_VALF;
  x(20, 0) = HUGE_VALF, x(20, 1) = -HUGE_VALF;
  x(33, 70) = std::nanf("");
  x(64, 11) = 0x1.fffffep127f;
  x(66, 12) = -0x1.fff002p127f, w(12, 30) = 0x1p-10f;
  w(100, 8) = -HUGE_VALF;
  w(101, 9) = 0x1.fffffep127f;
  for (const TileKind tile : {TileKind::Large, TileKind::Medium, TileKind::Small})
    for (const Index parts : {1, 3}) {
      const TilePlan plan = tile_plan_of(tile, kRows, kColumns, kDepth, parts);
      const Matrix<float> got = product(x, w, Precision::Float32x3, plan),
                          plain = product(plain_x, plain_w, Precision::Float32x3, plan);
      bool fine = true, kept = true;
      int infinite = 0, nans = 0;
      for (Index r = 0; r < kRows; ++r)
        for (Index c = 0; c < kColumns; ++c) {
          double exact = 0, size = 0;
          bool same = true;
          for (Index k = 0; k < kDepth; ++k) {
            exact += static_cast<double>(x(r, k)) * static_cast<double>(w(k, c));
            size += std::abs(static_cast<double>(x(r, k)) * static_cast<double>(w(k, c)));
            same &= x(r, k) == plain_x(r, k) && w(k, c) == plain_w(k, c);
          }
          const float y = got(r, c);
          infinite += std::isinf(exact) ? 1 : 0;
          nans += std::isnan(exact) ? 1 : 0;
          if (std::isnan(exact))
            fine &= std::isnan(y);
          else if (std::isinf(exact))
            fine &= static_cast<double>(y) == exact;
          else if (size < 0x1p127)
            fine &= std::abs(static_cast<double>(y) - exact) <= size * 0x1p-20;
          if (same) kept &= std::memcmp(&y, &plain.all[at(r * kColumns + c)], sizeof y) == 0;
        }
      expect(fine, "infinities and NaNs as in float32");
      expect(kept, "sums without them keep their bits");
      expect(infinite > 100 && nans > 40, "there are some");
    }
}

// Where the small parts are subnormal: the error that the documentation states.
void test_small() {
  constexpr Index kSide = 32;
  for (const int power : {-100, -113, -126, -140}) {
    Matrix<float> x(kSide, kSide, 0, 0), w(kSide, kSide, 0, 0);
    x.fill(3);
    w.fill(4);
    for (float& v : x.all) v = std::ldexp(v, power);
    const Matrix<float> y = product(x, w, Precision::Float32x3, tile_plan_of(TileKind::Small, kSide, kSide, kSide, 1));
    bool fine = true;
    for (Index r = 0; r < kSide; ++r)
      for (Index c = 0; c < kSide; ++c) {
        double exact = 0, size = 0, factors = 0;
        for (Index k = 0; k < kSide; ++k) {
          exact += static_cast<double>(x(r, k)) * static_cast<double>(w(k, c));
          size += std::abs(static_cast<double>(x(r, k)) * static_cast<double>(w(k, c)));
          factors += std::abs(static_cast<double>(w(k, c)));
        }
        // And four roundings to subnormal sums for each 8 terms.
        fine &= std::abs(static_cast<double>(y(r, c)) - exact) <=
                size * 0x1p-20 + factors * 0x1p-136 + 0x1p-149 * static_cast<double>(8 * kSide);
      }
    expect(fine, "numbers near the lower end");
  }
}

}  // namespace

int main() {
  test_tensor_cores();
  test_split();
  test_errors();
  test_kinds();
  test_small();
  return report();
}
