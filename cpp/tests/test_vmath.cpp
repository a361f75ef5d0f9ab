// Checks the functions of vmath.h against the C library, float against double and double against long double.
//
//   test_vmath [--all] [function]
//
// Arguments: special values; for float every 4099th of the 2^32 bit patterns, or with --all every one; for double two
// million values over the whole range and the interesting part of it (16 times as many with --all).
// Prints the largest error of each function, in units in the last place of the exact result.
#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "simd_testing.h"

namespace isa = fastmlp::FASTMLP_ISA_NS;
using isa::Vec;
using namespace simd_testing;

namespace {

// |got - want| in units in the last place of `want`, where infinity stands for the power of two after the largest
// finite number; 0 where `got` is `want` rounded. NaN must be NaN, and zeros have the right sign.
template <class T, class Wide>
double error_in_ulps(T got, Wide want) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : HUGE_VAL;
  if (got == static_cast<T>(want)) return std::signbit(got) == std::signbit(want) ? 0 : HUGE_VAL;
  const Wide overflow = std::scalbn(Wide(1), Limits<T>::max_exponent);
  const Wide a = std::fmax(std::fmin(static_cast<Wide>(got), overflow), -overflow);
  const Wide b = std::fmax(std::fmin(want, overflow), -overflow);
  int exponent = b == 0 ? Limits<T>::min_exponent : std::ilogb(b);
  exponent = std::min(std::max(exponent, Limits<T>::min_exponent - 1), Limits<T>::max_exponent - 1);
  return static_cast<double>(std::scalbn(std::fabs(a - b), Limits<T>::digits - 1 - exponent));
}

// Arguments are collected into blocks and the largest error is kept.
template <class T, class Function, class Reference>
class Sweep {
 public:
  Sweep(Function function, Reference reference) : function_(function), reference_(reference) {}

  void add(T x) {
    arguments_[count_++] = x;
    if (count_ == kBlock) flush();
  }

  void flush() {
    constexpr int lanes = Vec<T>::lanes;
    T results[kBlock];
    for (int i = 0; i < count_; i += lanes) function_(Vec<T>::load(arguments_ + i)).store(results + i);
    for (int i = 0; i < count_; ++i) {
      const auto want = reference_(static_cast<Wide>(arguments_[i]));
      const double error = error_in_ulps(results[i], want);
      if (error <= worst_) continue;
      worst_ = error;
      worst_argument_ = arguments_[i];
      worst_got_ = results[i];
    }
    count_ = 0;
  }

  void report(const char* name, double limit) const {
    std::printf("%s %s %s: max %.2f ulp at %a\n", kTypeName<T>, name, FASTMLP_ISA_NAME, worst_,
                static_cast<double>(worst_argument_));
    if (worst_ <= limit) return;
    std::printf("FAILED %s %s %s: more than %g ulp at %a: %a instead of %a\n", kTypeName<T>, name, FASTMLP_ISA_NAME,
                limit, static_cast<double>(worst_argument_), static_cast<double>(worst_got_),
                static_cast<double>(reference_(static_cast<Wide>(worst_argument_))));
    ++failures;
  }

 private:
  using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;
  static constexpr int kBlock = 1024;
  Function function_;
  Reference reference_;
  T arguments_[kBlock] = {};
  int count_ = 0;
  double worst_ = 0;
  T worst_argument_ = 0, worst_got_ = 0;
};

template <class T, class Sweep>
void add_special_values(Sweep& sweep) {
  for (const T x : {T(0), Limits<T>::denorm_min(), Limits<T>::min(), T(0.5), T(1), T(2), Limits<T>::max(),
                    Limits<T>::infinity(), Limits<T>::quiet_NaN()}) {
    sweep.add(x);
    sweep.add(-x);
  }
}

// `count` values equally spaced in their bit patterns, which is to say about logarithmically; both signs.
template <class Sweep>
void add_log_spaced(Sweep& sweep, double low, double high, std::uint64_t count) {
  const auto first = std::bit_cast<std::uint64_t>(low), last = std::bit_cast<std::uint64_t>(high);
  const std::uint64_t step = (last - first) / count;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto x = std::bit_cast<double>(first + i * step);
    sweep.add(x);
    sweep.add(-x);
  }
}

struct Options {
  bool all = false;
  const char* only = nullptr;
};

template <class Function, class Reference>
void test_function(const Options& options, const char* name, Function function, Reference reference) {
  if (options.only != nullptr && std::strcmp(options.only, name) != 0) return;

  Sweep<float, Function, Reference> floats(function, reference);
  add_special_values<float>(floats);
  const std::uint64_t step = options.all ? 1 : 4099;
  for (std::uint64_t bits = 0; bits >> 32 == 0; bits += step)
    floats.add(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  floats.flush();
  floats.report(name, 2);

  Sweep<double, Function, Reference> doubles(function, reference);
  add_special_values<double>(doubles);
  const std::uint64_t count = (options.all ? 16 : 1) << 19;
  add_log_spaced(doubles, 0, Limits<double>::max(), count);
  add_log_spaced(doubles, 0x1p-30, 0x1p10, count);
  doubles.flush();
  doubles.report(name, 4);
}

template <class W>
W log_sigmoid_reference(W x) {
  return (x < 0 ? x : W(-0.0)) - std::log1p(std::exp(-std::fabs(x)));
}

// erfc(-x / sqrt(2)) / 2, with a first-order correction for the rounding of x / sqrt(2), which matters in the tail.
template <class W>
W normal_cdf_reference(W x) {
  const W root = std::sqrt(W(0.5)), root_low = std::fma(-root, root, W(0.5)) / (2 * root);
  const W y = x * root, y_low = std::fma(x, root, -y) + x * root_low;
  const W slope = std::exp(-y * y) * W(0.564189583547756286948L);  // 1 / sqrt(pi)
  return std::isfinite(x) ? std::erfc(-y) / 2 + slope * y_low : std::erfc(-x) / 2;
}

void test_all(const Options& options) {
  const auto test = [&](const char* name, auto function, auto reference) {
    test_function(options, name, function, reference);
  };
  test("exp", [](auto x) { return exp(x); }, [](auto x) { return std::exp(x); });
  test("expm1", [](auto x) { return expm1(x); }, [](auto x) { return std::expm1(x); });
  test("log", [](auto x) { return log(x); }, [](auto x) { return std::log(x); });
  test("log1p", [](auto x) { return log1p(x); }, [](auto x) { return std::log1p(x); });
  test("tanh", [](auto x) { return tanh(x); }, [](auto x) { return std::tanh(x); });
  test("sigmoid", [](auto x) { return sigmoid(x); }, [](auto x) { return 1 / (1 + std::exp(-x)); });
  test("log_sigmoid", [](auto x) { return log_sigmoid(x); }, [](auto x) { return log_sigmoid_reference(x); });
  test("normal_cdf", [](auto x) { return normal_cdf(x); }, [](auto x) { return normal_cdf_reference(x); });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--all") == 0)
      options.all = true;
    else
      options.only = argv[i];
  }
  return run([&] { test_all(options); });
}
