// Which copies of matrices, in bfloat16, hold what their matrices hold.
//
// Only within one step of one recording is anything known about that: there all kernels are this library's, and in the
// order of their calls. Two rules, each safe for itself:
//   fresh   nothing at all was enqueued since the copy was made. For y, which the next layer takes as its x, and dx,
//           which the layer below takes as its dz.
//   kept    made by the forward product of this step, from what must not change until the backward products have used
//           it: weights, and the inputs of layers. A weight's update, which writes the copy anew, keeps it for the next
//           step.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>

#include "core/types.h"

namespace fastmlp::cuda {

// When something is enqueued.
struct Moment {
  std::uint64_t recording = 0;  // the recording's number, 0: none
  Index step = 0;               // of the recording
  std::uint64_t enqueued = 0;   // what the thread had enqueued before
};

class Copy {
 public:
  void* memory = nullptr;

  bool fresh(const Moment& now) const { return same_step(now) && made_.enqueued == now.enqueued; }
  bool kept(const Moment& now) const { return same_step(now) && keeps_; }

  void made(const Moment& now) { set(now, false); }
  void keep(const Moment& now) { set(now, true); }

 private:
  bool same_step(const Moment& now) const {
    return now.recording != 0 && made_.recording == now.recording && made_.step == now.step;
  }
  void set(const Moment& now, bool keeps) {
    made_ = now;
    keeps_ = keeps;
  }

  Moment made_;
  bool keeps_ = false;
};

struct Matrix {
  const float* values;
  Index rows, columns, ld;

  friend bool operator<(const Matrix& a, const Matrix& b) {
    return std::tie(a.values, a.rows, a.columns, a.ld) < std::tie(b.values, b.rows, b.columns, b.ld);
  }
};

// The copies that there are. Copies of one address in other shapes lie elsewhere, as recordings may use them still.
class Copies {
 public:
  Copy* find(const Matrix& matrix) {
    const auto found = copies_.find(matrix);
    return found == copies_.end() ? nullptr : &found->second;
  }

  // The same, made by allocate(elements) where there is none; null where that returns null.
  template <class Allocate>
  Copy* find_or_make(const Matrix& matrix, const Allocate& allocate) {
    if (Copy* copy = find(matrix)) return copy;
    void* memory = allocate(matrix.rows * matrix.columns);
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
