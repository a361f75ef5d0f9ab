// Checks 1 + cos(x) of many x against the C library, and how many of them are not its numbers.
#include <algorithm>
#include <numbers>
#include <random>
#include <vector>

#include "cpu/cosines.h"
#include "simd_testing.h"

using namespace simd_testing;

namespace {

struct Found {
  double worst = 0;  // relative difference
  int other = 0;     // numbers
};

Found compare(const std::vector<double>& x) {
  std::vector<double> got(x.size() + 1, -1.0);
  fastmlp::FASTMLP_ISA_NS::cosine_heights(static_cast<fastmlp::Index>(x.size()), x.data(), got.data());
  Found found;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = 1 + std::cos(x[i]);
    if (same(got[i], want)) continue;
    ++found.other;
    // Below 1/4 they are the library's numbers, if its errors are as small as glibc's.
#if defined(__GLIBC__)
    if (want < 0.2499) found.worst = HUGE_VAL;
#endif
    found.worst = std::max(found.worst, std::fabs(got[i] / want - 1));
  }
  if (got.back() != -1.0) found.worst = HUGE_VAL;  // written behind the end
  return found;
}

void expect(const char* what, const std::vector<double>& x, double largest, double share) {
  const Found found = compare(x);
  const double others = found.other / std::max(1.0, static_cast<double>(x.size()));
  const bool good = found.worst <= largest && others <= share;
  std::printf("%-24s %-6s largest relative difference %.3g, %.5f of other numbers%s\n", what, FASTMLP_ISA_NAME,
              found.worst, others, good ? "" : "  FAILED");
  if (!good) ++failures;
}

void test() {
  using std::numbers::pi;
#if defined(__GLIBC__)
  constexpr double share = 0.004;
#else
  constexpr double share = 0.5;  // a library with errors of almost a unit
#endif
  constexpr double unit = 4.5e-16;
  std::mt19937_64 random(1);
  for (const double top : {0.8, 4.0, 1000.0, 1048575.0}) {
    std::uniform_real_distribution<double> within(-top, top);
    std::vector<double> x(400001);
    for (double& value : x) value = within(random);
    expect("random arguments", x, unit, share);
  }
  for (const int period : {1, 2, 7, 300, 20000}) {
    std::vector<double> x;
    for (int step = 0; step < 50000; ++step) x.push_back(pi * step / period);
    expect("steps of a schedule", x, unit, share);
  }
  std::vector<double> near;
  for (int n = -2000; n <= 2000; ++n)
    for (int k = -3; k <= 3; ++k) near.push_back(n * pi / 2 * (1 + k * 0x1p-52));
  expect("near zeros and extrema", near, unit, share);
  expect("special arguments", {0.0, -0.0, 1e-300, -1e-9, 1048576.0, 1e10, -1e22, 1e300, HUGE_VAL, NAN}, 0, 0);
  for (int count = 0; count < 20; ++count) expect("few arguments", std::vector<double>(count, 3.0), 0, 0);
}

}  // namespace

int main() { return run(test); }
