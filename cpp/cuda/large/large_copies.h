// Which copies of matrices, in bfloat16, hold what their matrices hold.
//
// Within one step of one recording all kernels are this library's, and in the order of their calls. Two rules, each safe
// for itself:
//   fresh   nothing at all was enqueued since the copy was made. For y, which the next layer takes as its x, and dx,
//           which the layer below takes as its dz.
//   kept    made by the forward product of this step, from what must not change until the backward products have used
//           it: weights, and the inputs of layers. A weight's update, which writes the copy anew, keeps it for the next
//           step.
// Outside of recordings a weight's copy is good while the parameter is in the state that it was made in:
//   holds     for calls in the stream that made it, the only one that surely has. In a capture, ours or a user's, nothing
//             is made that is there now, and what is there now will have changed at a replay: there it is not asked.
// (A replay makes copies of later states than the last that was held, which nobody asks for any more.)
#pragma once

#include <cstdint>
#include <map>
#include <tuple>

#include "core/contracts/affine.h"

namespace fastmlp::cuda {

// When something is enqueued.
struct Moment {
  std::uint64_t recording = 0;  // the recording's number, 0: none
  Index step = 0;               // of the recording
  std::uint64_t enqueued = 0;   // what the thread had enqueued before
};

// What is made of a parameter's values outside of recordings.
struct Source {
  ValueState state;
  Stream stream = nullptr;

  bool operator==(const Source&) const = default;
};

class Copy {
 public:
  void* memory = nullptr;

  bool fresh(const Moment& now) const { return same_step(now) && made_.enqueued == now.enqueued; }
  bool kept(const Moment& now) const { return same_step(now) && keeps_; }

  bool holds(const Source& values) const { return values.state.known() && held_ == values; }

  // Whether the column sums beside it are those of the matrix.
  bool summed(const Moment& now) const { return fresh(now) && sums_; }

  void made(const Moment& now, bool sums = false) { set(now, false, sums); }
  void keep(const Moment& now) { set(now, true, false); }
  void hold(const Source& values) {
    if (values.state.known()) held_ = values;
  }

 private:
  bool same_step(const Moment& now) const {
    return now.recording != 0 && made_.recording == now.recording && made_.step == now.step;
  }
  void set(const Moment& now, bool keeps, bool sums) {
    made_ = now;
    keeps_ = keeps;
    sums_ = sums;
  }

  Moment made_;
  bool keeps_ = false, sums_ = false;
  Source held_;
};

struct Matrix {
  const float* values;
  Index rows, columns, ld;
  bool chosen = false;  // rows of a batch, by number

  Index size() const { return rows * columns; }

  friend bool operator<(const Matrix& a, const Matrix& b) {
    return std::tie(a.values, a.rows, a.columns, a.ld, a.chosen) <
           std::tie(b.values, b.rows, b.columns, b.ld, b.chosen);
  }
};

// The copies that there are. Copies of one address in other shapes lie elsewhere, as recordings may use them still.
class Copies {
 public:
  Copy* find(const Matrix& matrix) {
    const auto found = copies_.find(matrix);
    return found == copies_.end() ? nullptr : &found->second;
  }

  // The same, made by allocate(matrix) where there is none; null where that returns null.
  template <class Allocate>
  Copy* find_or_make(const Matrix& matrix, const Allocate& allocate) {
    if (Copy* copy = find(matrix)) return copy;
    void* memory = allocate(matrix);
    if (!memory) return nullptr;
    Copy& copy = copies_[matrix];
    copy.memory = memory;
    return &copy;
  }

  // Drops those with gone(matrix), after release(memory).
  template <class Gone, class Release>
  void tidy(const Gone& gone, const Release& release) {
    for (auto copy = copies_.begin(); copy != copies_.end();) {
      if (!gone(copy->first.values)) {
        ++copy;
        continue;
      }
      release(copy->second.memory);
      copy = copies_.erase(copy);
    }
  }

 private:
  std::map<Matrix, Copy> copies_;
};

}  // namespace fastmlp::cuda
