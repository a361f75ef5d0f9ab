// Rows of inputs, targets or weights that lie elsewhere, in another form than the network's: narrower numbers, sparse rows, a
// file. They are brought into its form some at a time, so that all of them are never there at once.
#pragma once

#include <memory>
#include <string>

#include "core/buffer.h"
#include "core/types.h"

namespace fastmlp {

// Which rows of a data set: those numbered `ids`, or, where that is null, those from number `first` on.
struct RowNumbers {
  const Index* ids;
  Index first, count;

  Index operator[](Index i) const { return ids ? ids[i] : first + i; }
  RowNumbers part(Index begin, Index end) const { return {ids ? ids + begin : nullptr, first + begin, end - begin}; }
};

template <class T>
class RowSource {
 public:
  virtual ~RowSource() = default;
  // Writes these rows, one after the other, to the host's memory. It may throw.
  virtual void fetch(const RowNumbers& rows, T* to) const = 0;
  // Whether that waits for something other than the processor.
  virtual bool waits() const { return false; }
  // Whether all values are known to be finite, once they are of type T.
  virtual bool is_finite() const { return false; }
};

// The types of numbers that a source may hold, in the machine's own byte order.
enum class Element : int { Bool, U8, I8, U16, I16, U32, I32, U64, I64, F16, F32, F64 };
Index size_of(Element element);
bool is_real(Element element);  // and so may be NaN or infinite

// `n` values that lie one after the other, each rounded to the nearest T: float, double, or Index for classes.
template <class T>
void convert(Element element, const void* from, Index n, T* to);

// Rows of so many numbers, `stride` bytes from each one's beginning to the next.
struct RowLayout {
  Element element;
  Index columns, stride;

  Index bytes() const { return columns * size_of(element); }  // of a row
};

// In memory.
template <class T>
std::unique_ptr<RowSource<T>> rows_in_memory(const RowLayout& layout, const void* data);

// Compressed sparse rows: row r has the values number starts[r] to starts[r + 1] - 1, in the columns that `indices` says,
// and zeros elsewhere. An Integer is std::int32_t or std::int64_t. Numbers that lead nowhere, as they may when
// somebody changes them meanwhile, make fetch throw std::runtime_error.
template <class Integer>
struct SparseLayout {
  Element element;
  const void* values;
  const Integer *indices, *starts;
  Index rows, columns, size;  // `size`: of values and indices
};
template <class T, class Integer>
std::unique_ptr<RowSource<T>> sparse_rows(const SparseLayout<Integer>& layout);

// In a file that is open for reading and is closed in the end; `offset`: of the first row. A file that ends too early
// makes fetch throw std::runtime_error, with this name of the array. T may be Index, too.
template <class T>
std::unique_ptr<RowSource<T>> rows_of_file(const RowLayout& layout, int file, Index offset, std::string name);

}  // namespace fastmlp
