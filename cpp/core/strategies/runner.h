// How a program runs on batches of one shape: a strategy's plan, its memory and its loops, behind one interface.
//
// A strategy is a class derived from Runner, in a folder of its own: `lanes` (a tiny network as a whole, batch rows in
// SIMD lanes), `dense` (operation by operation, each affine one a GEMM with its epilogue; sliced: the same, slice by
// slice of the rows), `device` (dense, and many steps without waiting for each). A runner serves one thread at a time; Network lends them out.
#pragma once

#include "core/batch.h"
#include "core/optimizer.h"
#include "core/packed_weights.h"
#include "core/pending_download.h"
#include "core/program.h"

namespace fastmlp {

enum class Strategy { Automatic, Lanes, Dense, Sliced, Device };
inline constexpr const char* kStrategyNames[] = {"automatic", "lanes", "dense", "sliced", "device"};

// One of several networks of a shape that are trained together, and the rows of its next step: as many as the others', and
// from the same number on.
template <class T>
struct GroupMember {
  const Program<T>* program;
  Optimizer<T>* optimizer;
  Batch<T> batch;
};

// The slots of the program's parameters that the optimizer updates.
template <class T>
void find_slots(const Program<T>& program, const Optimizer<T>& optimizer, std::vector<int>& slots);
template <class T>
std::vector<int> slots_of(const Program<T>& program, const Optimizer<T>& optimizer) {
  std::vector<int> slots;
  find_slots(program, optimizer, slots);
  return slots;
}

// Values that a parameter takes where those of all parameters lie one after the other.
template <class T>
Index spaced(const Parameter<T>& parameter) {
  return (parameter.size() + 15) / 16 * 16;
}

// Is told of gradients as a backward pass goes on.
template <class T>
class GradientListener {
 public:
  virtual ~GradientListener() = default;
  // The operation has added to its parameters' gradients, as far as they are wanted.
  virtual void after(const Operation<T>& operation) = 0;
};

template <class T>
class Runner {
 public:
  virtual ~Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  virtual Strategy strategy() const = 0;
  Index rows() const { return rows_; }
  // Whether it is laid out for such batches; `training`: with all that a backward pass needs.
  bool is_for(Index rows, Index columns, bool training) const {
    return rows_ == rows && columns_ == columns && training_ == training;
  }
  // Lays the memory out for batches of another shape.
  void prepare(Index rows, Index columns, bool training);

  // Runs the program on batch.x. y, unless null, receives the output (rows x out). Null dropout: evaluation mode.
  virtual void forward(const Batch<T>& batch, const DropoutState* dropout, T* y) = 0;
  // The loss of the last forward pass; `gradient`: keep its gradient for backward.
  virtual double loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) = 0;
  // Sends gradients to the parameters: into their grad or, with `fused`, straight into that optimizer.
  // dy: the gradient of the output, or null for the one that the loss kept. dx, unless null, receives the input's.
  virtual void backward(const T* dy, T* dx, Optimizer<T>* fused) = 0;
  // Of the backward passes from now on, without `fused`; null: nobody.
  void tell(GradientListener<T>* listener) { listener_ = listener; }
  // Forward, loss and backward; returns the loss.
  virtual double step(const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout,
                      Optimizer<T>* fused) = 0;
  // `count` steps with fused updates, each on batch.rows rows: all on the same, or each on those after the last one's.
  // `later`, unless null, may receive the losses, which are then on their way, and `losses` has them once that is taken.
  virtual void steps(const LossSpec& spec, const Batch<T>& batch, Index count, bool same_rows, DropoutState dropout,
                     Optimizer<T>& optimizer, double* losses, PendingDownload* later = nullptr);
  // The same for a group of networks of this shape at once, without dropout; losses: `count` values of each. Returns false,
  // and has done nothing, where the strategy has no way to: then each takes its steps with a runner of its own.
  virtual bool group_steps(const LossSpec&, Index, bool, const std::vector<GroupMember<T>>&, double*,
                           PendingDownload* = nullptr) {
    return false;
  }

  // The same rows as `forward` takes them.
  virtual Batch<T> consecutive(const Batch<T>& batch) { return batch; }

  // The loss of a batch in evaluation mode.
  virtual double evaluate(const LossSpec& spec, const Batch<T>& batch) = 0;

  // Whether a forward pass leaves all that the backward pass needs of the batch's x.
  virtual bool keeps_input() const { return false; }
  // From now on gradients go there, as spaced() leaves them room, and are added to what is there if `add`.
  void send_gradients(T* to, bool add) {
    gradients_ = to;
    adds_ = add;
  }
  // Copies of the weights for the passes to come, in evaluation mode; null: none. They are the caller's.
  void use(const PackedWeights<T>* packed) { packed_ = packed; }
  // To be called when parameters may have been frozen, or options changed, since the last step.
  virtual void forget_optimizer() {}
  virtual std::size_t bytes() const = 0;  // of memory, about

 protected:
  explicit Runner(const Program<T>& program) : program_(program), partial_(program.device()) {}

  void check_extents(Index rows, Index columns) const;
  virtual void lay_out() = 0;  // for rows_, columns_ and training_
  virtual Context context() = 0;

  const Backend<T>& kernels() const { return program_.kernels(); }
  const Device& device() const { return program_.device(); }
  Index out_columns() const { return program_.out_features() < 0 ? columns_ : program_.out_features(); }

  // All but what the loss is of.
  LossArgs<T> loss_args(const LossSpec& spec);
  // What the kernel of the last loss has left.
  double loss_value();

  // Where a parameter's gradient goes in a batch of so many rows.
  GradientSink<T> sink(const std::shared_ptr<Parameter<T>>& parameter, Index rows, Optimizer<T>* fused) const;
  // Before a pass with fused updates: brings the constants that the sinks point to up to this step.
  void begin_updates(Optimizer<T>& optimizer) const;

  const Program<T>& program_;
  Index rows_ = -1, columns_ = 0;
  bool training_ = false;
  GradientListener<T>* listener_ = nullptr;
  const PackedWeights<T>* packed_ = nullptr;
  T* gradients_ = nullptr;  // of the parameters; null: where these have theirs
  bool adds_ = false;
  Buffer<double> partial_;  // of a loss: its value, then the kernel's partial sums
};

}  // namespace fastmlp
