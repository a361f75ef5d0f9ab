// Checks every operation of Vec<T> and Mask<T> against a plain loop, with every kind of special value, at every partial
// length, and next to memory that must not be touched.
#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "simd_testing.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace isa = fastmlp::FASTMLP_ISA_NS;
using isa::Mask;
using isa::Vec;
using namespace simd_testing;

namespace {

template <class T>
void expect_same(const char* operation, int n, int lane, T got, T want) {
  if (same(got, want)) return;
  std::printf("FAILED %s %s %s, n = %d, lane %d: %a instead of %a\n", kTypeName<T>, operation, FASTMLP_ISA_NAME, n,
              lane, static_cast<double>(got), static_cast<double>(want));
  ++failures;
}

// Memory in pages, the last of which must not be touched.
#if defined(_WIN32)
std::size_t page_size() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}
char* guarded_pages(std::size_t bytes, std::size_t page) {
  auto* const base = static_cast<char*>(VirtualAlloc(nullptr, bytes + page, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  DWORD before = 0;
  VirtualProtect(base + bytes, page, PAGE_NOACCESS, &before);
  return base;
}
void free_pages(char* base, std::size_t) { VirtualFree(base, 0, MEM_RELEASE); }
#else
std::size_t page_size() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
char* guarded_pages(std::size_t bytes, std::size_t page) {
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;
  auto* const base = static_cast<char*>(mmap(nullptr, bytes + page, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(base + bytes, page, PROT_NONE);
  return base;
}
void free_pages(char* base, std::size_t bytes) { munmap(base, bytes); }
#endif

// n elements that end where the accessible memory ends.
template <class T>
class GuardedArray {
 public:
  explicit GuardedArray(std::size_t n) {
    const std::size_t page = page_size();
    const std::size_t bytes = (n * sizeof(T) + page - 1) / page * page;
    size_ = bytes + page;
    base_ = guarded_pages(bytes, page);
    data_ = reinterpret_cast<T*>(base_ + bytes) - n;
  }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;
  ~GuardedArray() { free_pages(base_, size_); }
  T* data() { return data_; }
  T& operator[](std::ptrdiff_t i) { return data_[i]; }

 private:
  std::size_t size_;
  char* base_;
  T* data_;
};

// Ordinary numbers with every kind of special one among them.
template <class T>
T sample(std::uint32_t& state) {
  const T special[] = {T(0),
                       -T(0),
                       Limits<T>::infinity(),
                       -Limits<T>::infinity(),
                       Limits<T>::quiet_NaN(),
                       Limits<T>::denorm_min(),
                       Limits<T>::max(),
                       T(2.5),
                       T(-3.5),
                       T(0.5),
                       T(0x1p23) + 1,
                       T(0x1p22) + T(0.5)};
  constexpr std::uint32_t count = sizeof(special) / sizeof(T);
  state = state * 1664525U + 1013904223U;
  const std::uint32_t choice = state >> 16;
  if (choice % 4 == 0) return special[choice / 4 % count];
  return (static_cast<T>(state) - T(0x1p31)) * T(0x1.23456789p-28);
}

template <class T>
struct Inputs {
  static constexpr int lanes = Vec<T>::lanes;
  T a[lanes], b[lanes], c[lanes];

  explicit Inputs(std::uint32_t& state) {
    for (int i = 0; i < lanes; ++i) a[i] = sample<T>(state);
    for (int i = 0; i < lanes; ++i) b[i] = i % 5 == 4 ? a[i] : sample<T>(state);
    for (int i = 0; i < lanes; ++i) c[i] = sample<T>(state);
  }
};

// Compares a vector with `want(lane)`.
template <class T, class Want>
void expect_lanes(const char* operation, Vec<T> got, Want want, int n = Vec<T>::lanes) {
  T lanes[Vec<T>::lanes];
  got.store(lanes);
  for (int i = 0; i < Vec<T>::lanes; ++i) expect_same<T>(operation, n, i, lanes[i], want(i));
}

template <class T>
T plain_fma(T a, T b, T c) {
  return kIsScalar ? a * b + c : std::fma(a, b, c);
}

template <class T>
void test_arithmetic(std::uint32_t& state) {
  const Inputs<T> in(state);
  const T *a = in.a, *b = in.b, *c = in.c;
  const Vec<T> va = Vec<T>::load(a), vb = Vec<T>::load(b), vc = Vec<T>::load(c);
  expect_lanes("+", va + vb, [&](int i) { return a[i] + b[i]; });
  expect_lanes("-", va - vb, [&](int i) { return a[i] - b[i]; });
  expect_lanes("*", va * T(3), [&](int i) { return a[i] * T(3); });
  expect_lanes("/", T(3) / vb, [&](int i) { return T(3) / b[i]; });
  expect_lanes("unary -", -va, [&](int i) { return -a[i]; });
  Vec<T> sum = va, difference = va, product = va;
  expect_lanes("+=", sum += vb, [&](int i) { return a[i] + b[i]; });
  expect_lanes("-=", difference -= vb, [&](int i) { return a[i] - b[i]; });
  expect_lanes("*=", product *= vb, [&](int i) { return a[i] * b[i]; });
  expect_lanes("fma", fma(va, vb, vc), [&](int i) { return plain_fma(a[i], b[i], c[i]); });
  expect_lanes("fnma", fnma(va, vb, vc), [&](int i) { return plain_fma(-a[i], b[i], c[i]); });
  expect_lanes("min", min(va, vb), [&](int i) { return a[i] < b[i] ? a[i] : b[i]; });
  expect_lanes("max", max(va, vb), [&](int i) { return a[i] > b[i] ? a[i] : b[i]; });
  expect_lanes("abs", abs(va), [&](int i) { return std::abs(a[i]); });
  expect_lanes("sqrt", sqrt(va), [&](int i) { return std::sqrt(a[i]); });
  expect_lanes("round_nearest", round_nearest(va), [&](int i) { return std::nearbyint(a[i]); });
  expect_lanes("copysign", copysign(va, vb), [&](int i) { return std::copysign(a[i], b[i]); });
  expect_lanes("or_sign", or_sign(abs(va), vb), [&](int i) { return std::copysign(a[i], b[i]); });
  expect_lanes("select_negative", select_negative(va, vb, vc), [&](int i) { return std::signbit(a[i]) ? b[i] : c[i]; });
}

template <class T>
void test_masks(std::uint32_t& state) {
  const Inputs<T> in(state);
  const T *a = in.a, *b = in.b, *c = in.c;
  const Vec<T> va = Vec<T>::load(a), vb = Vec<T>::load(b), vc = Vec<T>::load(c);
  const auto expect_mask = [&](const char* operation, Mask<T> mask, auto want, int n = Vec<T>::lanes) {
    bool anywhere = false;
    for (int i = 0; i < Vec<T>::lanes; ++i) anywhere |= want(i);
    expect_lanes(operation, select(mask, T(1), T(0)), [&](int i) { return want(i) ? T(1) : T(0); }, n);
    expect_same<T>("any", n, 0, any(mask), anywhere);
  };
  expect_mask("<", va < vb, [&](int i) { return a[i] < b[i]; });
  expect_mask("<=", va <= vb, [&](int i) { return a[i] <= b[i]; });
  expect_mask(">", va > vb, [&](int i) { return a[i] > b[i]; });
  expect_mask(">=", va >= vb, [&](int i) { return a[i] >= b[i]; });
  expect_mask("==", va == vb, [&](int i) { return a[i] == b[i]; });
  expect_mask("&", (va < vb) & (vb < vc), [&](int i) { return a[i] < b[i] && b[i] < c[i]; });
  expect_mask("|", (va < vb) | (vb < vc), [&](int i) { return a[i] < b[i] || b[i] < c[i]; });
  expect_mask("~", ~(va < vb), [&](int i) { return !(a[i] < b[i]); });
  expect_lanes("select", select(va < vb, vb, vc), [&](int i) { return a[i] < b[i] ? b[i] : c[i]; });
  for (int n = 0; n <= Vec<T>::lanes; ++n)
    expect_mask("first_n_mask", isa::first_n_mask<T>(n), [&](int i) { return i < n; }, n);
}

template <class T>
void test_memory(std::uint32_t& state) {
  constexpr int lanes = Vec<T>::lanes;
  const Inputs<T> in(state);
  const T* a = in.a;
  const Vec<T> va = Vec<T>::load(a);
  for (int n = 0; n <= lanes; ++n) {
    GuardedArray<T> array(static_cast<std::size_t>(n));
    const auto first_n = [&](int i) { return i < n ? a[i] : T(0); };
    va.store_n(array.data(), n);
    for (int i = 0; i < n; ++i) expect_same("store_n", n, i, array[i], a[i]);
    expect_lanes("load_n", Vec<T>::load_n(array.data(), n), first_n, n);
    // The elements after the first n must stay as they were.
    GuardedArray<T> whole(lanes);
    for (int i = 0; i < lanes; ++i) whole[i] = T(7);
    va.store_n(whole.data(), n);
    for (int i = 0; i < lanes; ++i) expect_same("store_n", n, i, whole[i], i < n ? a[i] : T(7));
    for (const std::ptrdiff_t stride : {1, 3, 1000}) {
      GuardedArray<T> strided(n == 0 ? 0 : static_cast<std::size_t>((n - 1) * stride + 1));
      for (int i = 0; i < n; ++i) strided[i * stride] = a[i];
      expect_lanes("load_strided", Vec<T>::load_strided(strided.data(), stride, n), first_n, n);
      if (n == 0) continue;
      T* last = strided.data() + (n - 1) * stride;
      const auto reversed = [&](int i) { return i < n ? a[n - 1 - i] : T(0); };
      expect_lanes("load_strided, negative", Vec<T>::load_strided(last, -stride, n), reversed, n);
    }
  }
  constexpr std::ptrdiff_t lds = lanes + 3, ldd = lanes + 5;
  GuardedArray<T> source((lanes - 1) * lds + lanes), target((lanes - 1) * ldd + lanes);
  for (int i = 0; i < (lanes - 1) * lds + lanes; ++i) source[i] = T(i);
  isa::transpose_square(source.data(), lds, target.data(), ldd);
  for (int j = 0; j < lanes; ++j)
    for (int i = 0; i < lanes; ++i) expect_same("transpose_square", j, i, target[j * ldd + i], source[i * lds + j]);
}

template <class T>
void test_reductions(std::uint32_t& state) {
  constexpr int lanes = Vec<T>::lanes;
  T row[lanes], sum = 0, largest = 0;
  for (T& x : row) {
    state = state * 1664525U + 1013904223U;
    x = static_cast<T>(state >> 12);  // sums of 16 are exact, in any order
    sum += x;
    largest = std::max(largest, x);
  }
  const Vec<T> a = Vec<T>::load(row);
  expect_same<T>("reduce_add", lanes, 0, reduce_add(a), sum);
  expect_same<T>("reduce_max", lanes, 0, reduce_max(a), largest);
  // Inexact ones: both must round in the same order.
  const Vec<T> four[] = {a * T(0.1), a * T(0.3), a * T(0.7), a * T(1.1)};
  T sums[4];
  reduce_add4(four[0], four[1], four[2], four[3], sums);
  for (int i = 0; i < 4; ++i) expect_same<T>("reduce_add4", lanes, i, sums[i], reduce_add(four[i]));
  T vectors[lanes * lanes];
  for (int i = 0; i < lanes; ++i) (a * T(0.1 + 0.17 * i)).store(vectors + i * lanes);
  expect_lanes("reduce_add_each", Vec<T>::reduce_add_each(vectors),
               [&](int i) { return reduce_add(Vec<T>::load(vectors + i * lanes)); });
}

template <class T>
void test_exponents() {
  constexpr int max_exponent = Limits<T>::max_exponent - 1;
  const T values[] = {T(1),
                      T(-0x1.8p0),
                      T(0x1.555554p-1),
                      T(1.9999),
                      (1 + 47 * Limits<T>::epsilon()) / 2,  // comes out differently if rounded twice
                      Limits<T>::max(),
                      Limits<T>::min(),
                      Limits<T>::denorm_min() * 3,
                      T(0),
                      -Limits<T>::infinity(),
                      Limits<T>::quiet_NaN()};
  for (int n = -2200; n <= 2200; ++n) {
    for (const T v : values) {
      expect_lanes("scale2n", scale2n(Vec<T>(v), Vec<T>(T(n))), [&](int) { return std::scalbn(v, n); }, n);
      if (std::abs(n) <= 2 * max_exponent - 2 && std::abs(v) >= T(0.5) && std::abs(v) <= T(2))
        expect_lanes("scale2n_unit", scale2n_unit(Vec<T>(v), Vec<T>(T(n))), [&](int) { return std::scalbn(v, n); }, n);
    }
    if (n >= 1 - max_exponent && n <= max_exponent)
      expect_lanes("pow2n", pow2n(Vec<T>(T(n))), [&](int) { return std::scalbn(T(1), n); }, n);
  }
  const T root = std::sqrt(T(0.5)), below = std::nextafter(root, T(0));
  for (int n = Limits<T>::min_exponent - Limits<T>::digits; n <= max_exponent; ++n) {
    for (const T fraction : {root, below, T(0.75), T(1), T(1.3)}) {
      const T v = std::scalbn(fraction, n);
      if (v == 0 || std::isinf(v)) continue;
      Vec<T> mantissa;
      const Vec<T> exponent = split_exponent(Vec<T>(v), mantissa);
      expect_lanes("split_exponent", scale2n(mantissa, exponent), [&](int) { return v; }, n);
      expect_lanes(
          "split_exponent", select((mantissa >= below) & (mantissa < 2 * root), T(1), T(0)), [](int) { return T(1); },
          n);
    }
  }
}

void test_lookup() {
  const float table[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  std::uint32_t state = 1;
  for (int repeat = 0; repeat < 200; ++repeat) {
    const Inputs<float> in(state);
    const auto want = [&](int i) { return static_cast<float>(std::bit_cast<std::uint32_t>(in.a[i]) >> 22 & 7); };
    expect_lanes("lookup8", isa::lookup8(table, Vec<float>::load(in.a)), want);
  }
}

template <class T>
void test_operations() {
  std::uint32_t state = 1;
  for (int repeat = 0; repeat < 200; ++repeat) {
    test_arithmetic<T>(state);
    test_masks<T>(state);
    test_reductions<T>(state);
  }
  for (int repeat = 0; repeat < 5; ++repeat) test_memory<T>(state);
  test_exponents<T>();
}

}  // namespace

int main() {
  return run([] {
    test_operations<float>();
    test_operations<double>();
    test_lookup();
  });
}
