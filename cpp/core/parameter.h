// One tensor of weights with its gradient: a matrix stored in x out, or a vector (in == 1), on a device.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "core/buffer.h"
#include "core/contracts/affine.h"
#include "core/types.h"

namespace fastmlp {

// NumPy views of a parameter's values can write to them unseen. While passes wait for their backward and views exist,
// bindings/recorded.h compares fingerprints of the values.
struct Watch {
  std::atomic<int> views{0};           // alive
  std::atomic<std::uint64_t> made{0};  // views, so far
  std::uint64_t viewed_in = 0;         // the era in which the first view was made; 0: none
  std::uint64_t fingerprint = 0;       // of the values before that view
};

// A flag that other threads may read while it is set; they then see what was written before it was.
class Flag {
 public:
  explicit Flag(bool on) : on_(on) {}
  operator bool() const { return on_.load(std::memory_order_acquire); }
  Flag& operator=(bool on) {
    on_.store(on, std::memory_order_release);
    return *this;
  }

 private:
  std::atomic<bool> on_;
};

template <class T>
struct Parameter {
  Parameter(Index in_, Index out_) : in(in_), out(out_), value(static_cast<std::size_t>(in_ * out_)) {}

  Index in, out;
  Buffer<T> value;
  Buffer<T> grad;        // made when first needed
  Flag has_grad{false};  // whether `grad` holds a gradient
  Flag requires_grad{true};
  std::atomic<std::uint64_t> version{0};  // counts the changes by optimizers and by assignments
  bool abandoned = false;                 // another one, of another dtype, has taken its place
  std::atomic<int> fits{0};               // trainings that are under way
  // Threads that compute with `value`, or work on `grad`, without a lock of their own: the memory must stay.
  std::atomic<int> readers{0}, users{0};
  Watch watch;  // on writes through views

  const Device& device() const { return value.device(); }
  Index size() const { return in * out; }
  // Not known while it is trained, or somebody has a view of it. A view that is gone may have changed it. Changes are
  // counted afterwards, too, for who took values meanwhile.
  ValueState state() const {
    const std::uint64_t now = version.load(std::memory_order_acquire) + watch.made.load(std::memory_order_acquire);
    const bool changing = fits.load(std::memory_order_acquire) > 0 || watch.views.load(std::memory_order_acquire) > 0;
    return changing ? ValueState{} : ValueState{number_, now};
  }
  void count_change() { version.store(version.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  // Memory for a new gradient. If a view still shows the old one, the view keeps that memory and the parameter gets other
  // memory, unless another thread works with it (the caller counts `own` times among the users). One thread at a time may
  // call this.
  T* grad_buffer(int own = 0) {
    if (viewed_grad) [[unlikely]]
      detach_viewed_grad(own);
    return grad_memory();
  }
  // The gradient's memory as it is, made where there is none.
  T* grad_memory() {
    grad.reserve(static_cast<std::size_t>(size()));
    return grad.data();
  }

  // Shared with views of the gradient: holds the memory that they show once the parameter has got other memory.
  std::shared_ptr<Buffer<T>> viewed_grad;

  // Copies of the values, and of the gradient if there is one, on another device; `take` makes them the parameter's.
  // Networks made before cannot be used afterwards; an optimizer's states follow at its next step.
  struct Moved {
    Buffer<T> value, grad;
  };
  Moved moved_to(const Device& device) const {
    const Stream stream = StreamScope::current();
    return {value.on(device, stream), has_grad ? grad.on(device, stream) : Buffer<T>(device)};
  }
  void take(Moved moved) {
    value = std::move(moved.value);
    grad = std::move(moved.grad);
  }

  // A hash of the values.
  std::uint64_t fingerprint() const {
    constexpr std::size_t kLanes = 8;
    std::uint64_t lanes[kLanes] = {};
    const unsigned char* const bytes = reinterpret_cast<const unsigned char*>(value.data());
    const std::size_t words = this->bytes() / sizeof(std::uint32_t);
    for (std::size_t i = 0; i < words; ++i) {
      std::uint32_t word;
      std::memcpy(&word, bytes + i * sizeof word, sizeof word);
      lanes[i % kLanes] = (lanes[i % kLanes] ^ word) * 0x9E3779B97F4A7C15u;
    }
    std::uint64_t all = 0;
    for (const std::uint64_t lane : lanes) all = (all ^ lane) * 0xBF58476D1CE4E5B9u + (all >> 32);
    return all;
  }

  // All values, from or to the host's memory.
  void read(T* to) const { download(value, to); }
  void write(const T* from) { upload(value, from); }
  void read_grad(T* to) const { download(grad, to); }
  void write_grad(const T* from) {
    grad_buffer();
    upload(grad, from);
    has_grad = true;
  }

 private:
  static std::uint64_t next_number() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }
  const std::uint64_t number_ = next_number();  // no other one has had it

  void detach_viewed_grad(int own) {
    if (has_grad || viewed_grad.use_count() <= 1 || users > own) return;
    *viewed_grad = std::move(grad);
    grad = Buffer<T>(device());
    viewed_grad.reset();
  }
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * sizeof(T); }
  void download(const Buffer<T>& from, T* to) const {
    check(device().download(to, from.data(), bytes(), StreamScope::current()));
  }
  void upload(Buffer<T>& to, const T* from) const {
    check(device().upload(to.data(), from, bytes(), StreamScope::current()));
  }
};

// While it lives, the calling thread counts among those who use the parameters.
template <class T, std::atomic<int> Parameter<T>::* count>
class CountedUse {
 public:
  using Parameters = std::vector<std::shared_ptr<Parameter<T>>>;
  explicit CountedUse(const Parameters& parameters) : parameters_(parameters) {
    for (const auto& parameter : parameters_) ((*parameter).*count).fetch_add(1, std::memory_order_relaxed);
  }
  ~CountedUse() {
    for (const auto& parameter : parameters_) ((*parameter).*count).fetch_sub(1, std::memory_order_release);
  }
  CountedUse(const CountedUse&) = delete;
  CountedUse& operator=(const CountedUse&) = delete;

 private:
  const Parameters& parameters_;
};
template <class T>
using ReadsValues = CountedUse<T, &Parameter<T>::readers>;
// The same for the values of any parameters: to count oneself among the users of thousands takes as long as to read them.
class ReadsMany {
 public:
  ReadsMany() { total().fetch_add(1, std::memory_order_relaxed); }
  ~ReadsMany() { total().fetch_sub(1, std::memory_order_release); }
  ReadsMany(const ReadsMany&) = delete;
  ReadsMany& operator=(const ReadsMany&) = delete;
  static int count() { return total().load(std::memory_order_acquire); }

 private:
  static std::atomic<int>& total() {
    static std::atomic<int> readers{0};
    return readers;
  }
};
template <class T>
using UsesGradients = CountedUse<T, &Parameter<T>::users>;

}  // namespace fastmlp
