#include "core/strategies/dense/buffers.h"

#include <algorithm>

namespace fastmlp {

namespace {

// Numbered buffers, each with a count of the values that it holds.
class Pool {
 public:
  int take() {
    const auto free = std::find(users_.begin(), users_.end(), 0);
    if (free == users_.end()) return users_.push_back(1), static_cast<int>(users_.size()) - 1;
    *free = 1;
    return static_cast<int>(free - users_.begin());
  }
  void share(int buffer) {
    if (buffer >= 0) ++users_[static_cast<std::size_t>(buffer)];
  }
  void release(int buffer) {
    if (buffer >= 0) --users_[static_cast<std::size_t>(buffer)];
  }
  int size() const { return static_cast<int>(users_.size()); }

 private:
  std::vector<int> users_;
};

}  // namespace

template <class T>
ForwardBuffers forward_buffers(const Program<T>& program) {
  Pool pool;
  ForwardBuffers result;
  std::vector<int> left;  // operations that still want a value
  for (int value = 0; value <= program.size(); ++value) left.push_back(program.uses(value));
  for (const Operation<T>& operation : program.operations()) {
    result.of_operation.push_back(pool.take());
    if (left[result.of_operation.size()] == 0) pool.release(result.of_operation.back());
    for (const int input : operation.inputs)
      if (input > 0 && --left[static_cast<std::size_t>(input)] == 0)
        pool.release(result.of_operation[static_cast<std::size_t>(input - 1)]);
  }
  result.count = pool.size();
  return result;
}

namespace {

template <class T>
class BackwardPlan {
 public:
  BackwardPlan(const Program<T>& program, bool to_input, bool keep)
      : program_(program), keep_(keep), gradient_(static_cast<std::size_t>(program.size() + 1), BackwardStep::kNone) {
    find_needed(to_input);
    is_preactivation_.resize(gradient_.size());
    for (int value = 0; value <= program.size(); ++value) left_.push_back(uses_with_gradient(value));
  }

  BackwardBuffers run() {
    BackwardBuffers result;
    gradient_.back() = BackwardStep::kOutput;
    for (int i = program_.size(); i-- > 0;)
      if (gradient_[at(i + 1)] != BackwardStep::kNone && needed_[at(i + 1)]) result.steps.push_back(step(i));
    result.count = pool_.size();
    return result;
  }

 private:
  using Op = Operation<T>;
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  const Op& operation(int i) const { return program_.operations()[at(i)]; }

  // Values whose gradient somebody wants: parameters before them, or the caller.
  void find_needed(bool to_input) {
    needed_ = {to_input};
    for (const Op& operation : program_.operations()) {
      bool needed = operation.has_parameters();
      for (const int input : operation.inputs) needed = needed || (input != Op::kNone && needed_[at(input)]);
      needed_.push_back(needed);
    }
  }
  // Operations that will send a value a gradient.
  int uses_with_gradient(int value) const {
    std::vector<bool> reached(gradient_.size());
    reached.back() = true;
    int uses = 0;
    for (int i = program_.size(); i-- > 0;)
      if (reached[at(i + 1)])
        for (const int input : operation(i).inputs)
          if (input != Op::kNone) {
            reached[at(input)] = true;
            uses += input == value;
          }
    return uses;
  }

  BackwardStep step(int i) {
    const Op& op = operation(i);
    BackwardStep step{i, gradient_[at(i + 1)], is_preactivation_[at(i + 1)]};
    if (op.kind == OperationKind::Add) {
      // Both inputs first: they read the same gradient.
      for (int n = 0; n < 2; ++n) step.inputs[n] = gradient_of_sum(op.inputs[n], step.gradient);
      pool_.release(step.gradient);
      return step;
    }
    int now = step.gradient;
    if (op.kind == OperationKind::Affine && !step.is_preactivation && op.activation.kind != ActivationKind::Identity) {
      step.dz = pool_.take();
      pool_.release(now);
      now = step.dz;
    }
    const int input = op.inputs[0];
    if (needed_[at(input)]) {
      if (op.kind == OperationKind::Affine && input > 0 && operation(input - 1).kind == OperationKind::Affine &&
          program_.uses(input) == 1)
        step.input_is_preactivation = is_preactivation_[at(input)] = true;
      step.inputs[0] = new_gradient(input);
    }
    if (!keep_ || op.kind != OperationKind::Affine) pool_.release(now);
    return step;
  }

  // An input whose gradient is computed into memory of its own.
  BackwardStep::InputGradient new_gradient(int value) {
    int& gradient = gradient_[at(value)];
    const bool last = --left_[at(value)] == 0;
    BackwardStep::InputGradient input;
    input.plus = gradient;
    // A sum with an earlier one is formed where the new one lies.
    input.to = value == 0 && last ? BackwardStep::kInput : pool_.take();
    pool_.release(input.plus);
    gradient = input.to;
    return input;
  }
  // An input of a sum, whose gradient is the sum's own.
  BackwardStep::InputGradient gradient_of_sum(int value, int own) {
    if (!needed_[at(value)]) return {};
    int& gradient = gradient_[at(value)];
    const bool last = --left_[at(value)] == 0;
    BackwardStep::InputGradient input;
    input.plus = gradient;
    if (value == 0 && last) {
      input.to = BackwardStep::kInput;
    } else if (gradient == BackwardStep::kNone) {
      pool_.share(own);
      gradient = own;
      return {};  // it lies there already
    } else {
      input.to = pool_.take();
    }
    pool_.release(input.plus);
    gradient = input.to;
    return input;
  }

  const Program<T>& program_;
  const bool keep_;
  Pool pool_;
  std::vector<int> gradient_;  // of each value: the buffer where its gradient lies
  std::vector<bool> needed_, is_preactivation_;
  std::vector<int> left_;  // gradients that a value is still to receive
};

}  // namespace

template <class T>
BackwardBuffers backward_buffers(const Program<T>& program, bool to_input, bool keep) {
  return BackwardPlan<T>(program, to_input, keep).run();
}

#define FASTMLP_INSTANTIATE(T)                                   \
  template ForwardBuffers forward_buffers<T>(const Program<T>&); \
  template BackwardBuffers backward_buffers<T>(const Program<T>&, bool, bool);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
