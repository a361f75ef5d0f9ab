#include "core/row_source.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "core/thread_pool.h"

namespace fastmlp {

namespace {

struct Half {
  std::uint16_t bits;
};

// IEEE 754's binary16, whose numbers are all ones of binary32, too. Without branches, for SIMD.
float number(Half half) {
  const auto exponent = static_cast<std::int32_t>(half.bits & 0x7C00), mantissa = half.bits & 0x3FF;
  // All bits where it is the least exponent, of numbers that have no leading one, or the highest, of infinity and NaN.
  const auto least = static_cast<std::uint32_t>((exponent - 1) >> 31);
  const auto highest = static_cast<std::uint32_t>((0x7BFF - exponent) >> 31);
  // The exponent is biased by 15 there, by 127 here; the highest ones are 31 and 255.
  constexpr std::uint32_t kBias = (127 - 15) << 23;
  const std::uint32_t normal = (static_cast<std::uint32_t>(half.bits & 0x7FFF) << 13) + kBias + (kBias & highest);
  const auto small = std::bit_cast<std::uint32_t>(static_cast<float>(mantissa) * 0x1p-24f);
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000) << 16;
  return std::bit_cast<float>((small & least) | (normal & ~least) | sign);
}

struct Truth {
  unsigned char byte;
};
int number(Truth truth) { return truth.byte != 0; }

template <class Number>
Number number(Number value) {
  return value;
}

// What body.operator()<Type>() says for the type that stands for an element.
template <class Body>
auto with_type(Element element, const Body& body) {
  switch (element) {
    case Element::Bool:
      return body.template operator()<Truth>();
    case Element::U8:
      return body.template operator()<std::uint8_t>();
    case Element::I8:
      return body.template operator()<std::int8_t>();
    case Element::U16:
      return body.template operator()<std::uint16_t>();
    case Element::I16:
      return body.template operator()<std::int16_t>();
    case Element::U32:
      return body.template operator()<std::uint32_t>();
    case Element::I32:
      return body.template operator()<std::int32_t>();
    case Element::U64:
      return body.template operator()<std::uint64_t>();
    case Element::I64:
      return body.template operator()<std::int64_t>();
    case Element::F16:
      return body.template operator()<Half>();
    case Element::F32:
      return body.template operator()<float>();
    default:
      return body.template operator()<double>();
  }
}

// body(begin, end) over rows in parts, on several threads where that is worth it.
template <class Body>
void for_parts(Index rows, Index columns, const Body& body) {
  constexpr Index kWorthAThread = 32 * 1024;  // values
  const Executor executor = thread_pool_executor();
  const Index parts = std::min({rows, Index{executor.workers}, rows * columns / kWorthAThread});
  if (parts < 2) return body(0, rows);
  const auto run = [&](int part) { body(part * rows / parts, (part + 1) * rows / parts); };
  executor.run(
      executor.pool, executor.workers, static_cast<int>(parts),
      [](void* context, int part, int) { (*static_cast<decltype(run)*>(context))(part); },
      const_cast<void*>(static_cast<const void*>(&run)));
}

template <class T>
class InMemory final : public RowSource<T> {
 public:
  InMemory(const RowLayout& layout, const void* data) : layout_(layout), data_(static_cast<const char*>(data)) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    for_parts(rows.count, layout_.columns, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i)
        convert(layout_.element, data_ + rows[i] * layout_.stride, layout_.columns, to + i * layout_.columns);
    });
  }
  bool is_finite() const override { return !is_real(layout_.element); }

 private:
  const RowLayout layout_;
  const char* const data_;
};

template <class T, class Integer>
class Sparse final : public RowSource<T> {
 public:
  explicit Sparse(const SparseLayout<Integer>& layout) : layout_(layout) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    std::atomic<bool> fits = true;
    for_parts(rows.count, layout_.columns, [&](Index begin, Index end) {
      std::vector<T> values;
      for (Index i = begin; i < end; ++i)
        if (!fetch_row(rows[i], to + i * layout_.columns, values)) fits = false;
    });
    if (!fits) throw std::runtime_error("x: its sparse rows have been changed while they were read");
  }

  bool is_finite() const override {
    if (!is_real(layout_.element)) return true;
    std::vector<T> values(std::min(layout_.size, kAtOnce));
    for (Index at = 0; at < layout_.size; at += kAtOnce) {
      const Index n = std::min(kAtOnce, layout_.size - at);
      convert(layout_.element, values_from(at), n, values.data());
      if (!std::all_of(values.data(), values.data() + n, [](T value) { return std::isfinite(value); })) return false;
    }
    return true;
  }

 private:
  static constexpr Index kAtOnce = 4096;

  const char* values_from(Index at) const {
    return static_cast<const char*>(layout_.values) + at * size_of(layout_.element);
  }

  // Somebody may change the arrays meanwhile: nothing is taken for granted.
  bool fetch_row(Index row, T* to, std::vector<T>& values) const {
    std::fill_n(to, layout_.columns, T(0));
    const Index begin = layout_.starts[row], end = layout_.starts[row + 1];
    if (begin < 0 || begin > end || end > layout_.size) return false;
    values.resize(static_cast<std::size_t>(end - begin));
    convert(layout_.element, values_from(begin), end - begin, values.data());
    for (Index i = begin; i < end; ++i) {
      const Index column = layout_.indices[i];
      if (column < 0 || column >= layout_.columns) return false;
      to[column] = values[static_cast<std::size_t>(i - begin)];
    }
    return true;
  }

  const SparseLayout<Integer> layout_;
};

}  // namespace

Index size_of(Element element) {
  return with_type(element, []<class Number>() { return static_cast<Index>(sizeof(Number)); });
}

bool is_real(Element element) { return element >= Element::F16; }

template <class T>
void convert(Element element, const void* from, Index n, T* to) {
  with_type(element, [&]<class Number>() {
    const char* bytes = static_cast<const char*>(from);
    for (Index i = 0; i < n; ++i) {
      Number value;  // which need not be aligned there
      std::memcpy(&value, bytes + i * static_cast<Index>(sizeof(Number)), sizeof(Number));
      to[i] = static_cast<T>(number(value));
    }
  });
}

template <class T>
std::unique_ptr<RowSource<T>> rows_in_memory(const RowLayout& layout, const void* data) {
  return std::make_unique<InMemory<T>>(layout, data);
}

template <class T, class Integer>
std::unique_ptr<RowSource<T>> sparse_rows(const SparseLayout<Integer>& layout) {
  return std::make_unique<Sparse<T, Integer>>(layout);
}

#define FASTMLP_INSTANTIATE(T)                                                                            \
  template void convert<T>(Element, const void*, Index, T*);                                              \
  template std::unique_ptr<RowSource<T>> rows_in_memory<T>(const RowLayout&, const void*);                \
  template std::unique_ptr<RowSource<T>> sparse_rows<T, std::int32_t>(const SparseLayout<std::int32_t>&); \
  template std::unique_ptr<RowSource<T>> sparse_rows<T, std::int64_t>(const SparseLayout<std::int64_t>&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE
template void convert<Index>(Element, const void*, Index, Index*);

}  // namespace fastmlp
