// Rows that are read from a file when they are wanted. Unlike a file that is mapped into memory, one that shrinks
// meanwhile is an error and not the end of the process, and nothing of it stays in the process's memory.
#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/row_source.h"
#include "core/system.h"

namespace fastmlp {

namespace {

class File {
 public:
  File(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
  ~File() { system::close_file(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void read(Index offset, Index bytes, char* to) const {
    while (bytes > 0) {
      const std::int64_t got = system::read_file(descriptor_, offset, static_cast<std::size_t>(bytes), to);
      if (got < 0) throw std::system_error(errno, std::generic_category(), name_ + ": its file cannot be read");
      if (got == 0) throw std::runtime_error(name_ + ": its file has become shorter since the array was made");
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
  const std::string name_;  // of the array, for errors
};

template <class T>
constexpr Element kOwn = std::is_same_v<T, Index>   ? Element::I64
                         : std::is_same_v<T, float> ? Element::F32
                                                    : Element::F64;

template <class T>
class InFile final : public RowSource<T> {
 public:
  InFile(const RowLayout& layout, int file, Index offset, std::string name)
      : layout_(layout), file_(file, std::move(name)), offset_(offset) {}

  void fetch(const RowNumbers& rows, T* to) const override {
    if (rows.ids || layout_.stride != layout_.bytes()) return fetch_apart(rows, to);
    if (layout_.element == kOwn<T>)
      return file_.read(place_of(rows.first), rows.count * layout_.bytes(), reinterpret_cast<char*>(to));
    const Index most = std::max(Index{1}, kAtOnce / layout_.bytes());
    std::vector<char> raw(static_cast<std::size_t>(std::min(most, rows.count) * layout_.bytes()));
    for (Index row = 0; row < rows.count; row += most) {
      const Index n = std::min(most, rows.count - row);
      file_.read(place_of(rows.first + row), n * layout_.bytes(), raw.data());
      convert(layout_.element, raw.data(), n * layout_.columns, to + row * layout_.columns);
    }
  }
  bool waits() const override { return true; }
  bool is_finite() const override { return !is_real(layout_.element); }

 private:
  Index place_of(Index row) const { return offset_ + row * layout_.stride; }

  // Rows in any order. Those that lie near each other are read at once, with what is between them.
  void fetch_apart(const RowNumbers& rows, T* to) const {
    struct Row {
      Index place, number;
    };
    std::vector<Row> all(static_cast<std::size_t>(rows.count));
    for (Index i = 0; i < rows.count; ++i) all[static_cast<std::size_t>(i)] = {place_of(rows[i]), i};
    std::sort(all.begin(), all.end(), [](const Row& a, const Row& b) { return a.place < b.place; });
    std::vector<std::size_t> ends;  // of those that are read together
    for (std::size_t i = 1, first = 0; i <= all.size(); ++i) {
      const bool joins = i < all.size() && all[i].place - all[i - 1].place <= layout_.bytes() + kNear &&
                         all[i].place - all[first].place + layout_.bytes() <= kAtOnce;
      if (joins) continue;
      ends.push_back(first = i);
    }
    const auto for_parts = [&](const auto& body) {
      std::size_t first = 0;
      for (const std::size_t end : ends) {
        body(first, end, all[end - 1].place - all[first].place + layout_.bytes());
        first = end;
      }
    };
    for_parts([&](std::size_t first, std::size_t, Index bytes) { file_.announce(all[first].place, bytes); });
    std::vector<char> raw;
    for_parts([&](std::size_t first, std::size_t end, Index bytes) {
      raw.resize(static_cast<std::size_t>(bytes));
      file_.read(all[first].place, bytes, raw.data());
      for (std::size_t i = first; i < end; ++i)
        convert(layout_.element, raw.data() + (all[i].place - all[first].place), layout_.columns,
                to + all[i].number * layout_.columns);
    });
  }

  static constexpr Index kAtOnce = Index{1} << 18;  // bytes, which caches hold
  static constexpr Index kNear = Index{1} << 12;    // bytes between rows that are read along: a page

  const RowLayout layout_;
  const File file_;
  const Index offset_;
};

}  // namespace

template <class T>
std::unique_ptr<RowSource<T>> rows_of_file(const RowLayout& layout, int file, Index offset, std::string name) {
  return std::make_unique<InFile<T>>(layout, file, offset, std::move(name));
}

template std::unique_ptr<RowSource<float>> rows_of_file<float>(const RowLayout&, int, Index, std::string);
template std::unique_ptr<RowSource<double>> rows_of_file<double>(const RowLayout&, int, Index, std::string);
template std::unique_ptr<RowSource<Index>> rows_of_file<Index>(const RowLayout&, int, Index, std::string);

}  // namespace fastmlp
