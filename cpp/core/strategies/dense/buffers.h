// Which buffer each value of an inference pass, and each gradient of a backward pass, lies in. Found once for a program,
// whatever the batch; buffers serve again as soon as nobody needs what lies in them.
#pragma once

#include "core/program.h"

namespace fastmlp {

struct ForwardBuffers {
  std::vector<int> of_operation;  // where each operation's output lies; the last one's is the caller's
  int count = 0;                  // buffers
};

template <class T>
ForwardBuffers forward_buffers(const Program<T>& program);

// What happens with the gradient that reaches an operation's output, in the order of execution.
struct BackwardStep {
  static constexpr int kNone = -1;    // nothing to do
  static constexpr int kOutput = -2;  // the gradient of the program's output
  static constexpr int kInput = -3;   // the caller's buffer for that of its input

  // The gradient of an input goes into the buffer `to`, added to that in `plus` if the value has received one
  // from a later operation. A sum hands its own gradient on; nothing is to be done where that lies in place already.
  struct InputGradient {
    int to = kNone, plus = kNone;
  };

  int operation;
  int gradient;                         // the buffer where it lies
  bool is_preactivation;                // it is already that of the input of the affine operation's activation
  int dz = kNone;                       // where that goes otherwise
  bool input_is_preactivation = false;  // the input's gradient is to be that of the input's own activation's input
  InputGradient inputs[2] = {};
};

struct BackwardBuffers {
  std::vector<BackwardStep> steps;
  int count = 0;  // buffers
};

// `to_input`: the gradient of the program's input is wanted. `keep`: what gradients of affine operations' weights are formed
// from stays to the end of the pass.
template <class T>
BackwardBuffers backward_buffers(const Program<T>& program, bool to_input, bool keep = false);

}  // namespace fastmlp
