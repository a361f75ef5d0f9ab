// THE POLICY: native code computes without the GIL, unless the work takes only a few microseconds: handing the GIL over
// would cost more than other threads gain.
//
// At the interpreter's end, a daemon thread that asks for the GIL is ended by CPython (before 3.14) with a forced
// unwinding, which no destructor survives. Such a thread sleeps here until the process is gone, as it does in 3.14.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "core/pacer.h"
#include "core/types.h"

#if defined(__GLIBC__) && defined(__GLIBCXX__)
#include <cxxabi.h>
#include <unistd.h>
#endif

namespace fastmlp::bindings {

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { take(); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

  // The GIL again, for a call back into Python.
  class Pause {
   public:
    explicit Pause(WithoutGil& outer) : outer_(outer) { outer_.take(); }
    ~Pause() { outer_.state_ = PyEval_SaveThread(); }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    WithoutGil& outer_;
  };

 private:
  void take() noexcept {
#if defined(__GLIBC__) && defined(__GLIBCXX__)
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      for (;;) pause();
    }
#else
    PyEval_RestoreThread(state_);  // without unwinding
#endif
  }

  PyThreadState* state_;
};

// Ctrl-C ends what runs without the GIL; to be called after each step of it.
inline void poll_signals(Pacer& pacer, WithoutGil& released) {
  if (!pacer.due(1)) return;
  const WithoutGil::Pause acquire(released);
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

class ReleaseGilFor {
 public:
  // `values`: how many numbers the work multiplies or updates, about.
  explicit ReleaseGilFor(Index values) {
    if (is_worth(values)) released_.emplace();
  }
  static bool is_worth(Index values) { return values > kBriefly; }

 private:
  static constexpr Index kBriefly = 10'000;
  std::optional<WithoutGil> released_;
};

}  // namespace fastmlp::bindings
