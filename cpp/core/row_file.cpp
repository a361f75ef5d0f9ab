// Rows that are read from a file when they are wanted. Unlike a file that is mapped into memory, one that shrinks
// meanwhile is an error and not the end of the process, and nothing of it stays in the process's memory.
#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "core/row_source.h"
#include "core/system.h"

namespace fastmlp {

namespace {

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() { system::close_file(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void read(Index offset, Index bytes, char* to) const {
    while (bytes > 0) {
      const std::int64_t got = system::read_file(descriptor_, offset, static_cast<std::size_t>(bytes), to);
      if (got < 0) throw std::system_error(errno, std::generic_category(), "x: its file cannot be read");
      if (got == 0) throw std::runtime_error("x: its file has become shorter since the array was made");
      offset += got;
      bytes -= got;
      to += got;
    }
  }

  // That this part will be read soon.
  void announce(Index offset, Index bytes) const {
    system::announce_read(descriptor_, offset, static_cast<std::size_t>(bytes));
  }

 private:
  const int descriptor_;
};

template <class T>
constexpr Element kOwn = sizeof(T) == sizeof(float) ? Element::F32 : Element::F64;

template <class T>
class InFile final : public RowSource<T> {
 public:
  InFile(const RowLayout& layout, int file, Index offset) : layout_(layout), file_(file), offset_(offset) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    const bool apart = rows.ids || layout_.stride != layout_.bytes();
    if (apart)
      for (Index i = 0; i < rows.count; ++i) file_.announce(place_of(rows[i]), layout_.bytes());
    if (layout_.element == kOwn<T>) return read(rows, reinterpret_cast<char*>(to));
    constexpr Index kAtOnce = Index{1} << 18;  // bytes, which caches hold
    const Index most = std::max(Index{1}, kAtOnce / layout_.bytes());
    std::vector<char> raw(static_cast<std::size_t>(std::min(most, rows.count) * layout_.bytes()));
    for (Index row = 0; row < rows.count; row += most) {
      const Index end = std::min(rows.count, row + most);
      read(rows.part(row, end), raw.data());
      convert(layout_.element, raw.data(), (end - row) * layout_.columns, to + row * layout_.columns);
    }
  }
  bool waits() const override { return true; }
  bool is_finite() const override { return !is_real(layout_.element); }

 private:
  Index place_of(Index row) const { return offset_ + row * layout_.stride; }

  // In their own form. Rows that follow each other in the file are read at once.
  void read(const RowNumbers& rows, char* to) const {
    for (Index i = 0, end; i < rows.count; i = end) {
      end = i + 1;
      if (layout_.stride == layout_.bytes())
        while (end < rows.count && rows[end] == rows[end - 1] + 1) ++end;
      file_.read(place_of(rows[i]), (end - i) * layout_.bytes(), to + i * layout_.bytes());
    }
  }

  const RowLayout layout_;
  const File file_;
  const Index offset_;
};

}  // namespace

template <class T>
std::unique_ptr<RowSource<T>> rows_of_file(const RowLayout& layout, int file, Index offset) {
  return std::make_unique<InFile<T>>(layout, file, offset);
}

template std::unique_ptr<RowSource<float>> rows_of_file<float>(const RowLayout&, int, Index);
template std::unique_ptr<RowSource<double>> rows_of_file<double>(const RowLayout&, int, Index);

}  // namespace fastmlp
