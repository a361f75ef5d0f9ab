// THE MAIN IDEA: a network is a program: a short list of operations on numbered values, in the order of execution.
//
//   value 0        the network's input
//   value i + 1    what operation i makes of the values that it takes, all of them earlier ones
//
// The last value is the output. So a residual block is an `Add` of a value and of one that was computed from it, and a
// value may serve any number of operations. A program says what is computed; strategies/ says how.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/backend.h"
#include "core/parameter.h"

namespace fastmlp {

enum class OperationKind { Affine, Activation, RowActivation, Dropout, Add, LayerNorm, BatchNorm, PReLU };

// Which statistics a BatchNorm takes.
enum class StatisticsOf : int {
  Batch,    // always the batch's
  Running,  // always the running ones
  Mode      // the batch's in training mode, else the running ones
};
inline constexpr const char* kStatisticsNames[] = {"batch", "running", "mode"};

template <class T>
struct BatchNormOptions {
  StatisticsOf statistics = StatisticsOf::Batch;
  bool deviations = false;                       // `variance` holds standard deviations
  std::optional<double> momentum;                // without: the running ones are means over all batches so far
  std::shared_ptr<Parameter<T>> mean, variance;  // the running ones, or null
  std::shared_ptr<std::int64_t> batches;         // of the host; how many went into them
};

template <class T>
struct Operation {
  static constexpr int kPrevious = -1;  // the value that the operation before it makes
  static constexpr int kNone = -2;

  OperationKind kind = OperationKind::Affine;
  int inputs[2] = {kPrevious, kNone};  // the numbers of the values that it takes
  // Affine: bias may be null. LayerNorm and BatchNorm: both may. PReLU: the slopes, one or as many as columns.
  std::shared_ptr<Parameter<T>> weight, bias;
  Activation activation;  // Activation; Affine: applied to its output
  RowActivationKind row_activation{};
  double p = 0;         // Dropout: the probability of a zero
  double eps = 0;       // LayerNorm, BatchNorm
  Index features = -1;  // of the value that it takes and of its own; -1: any, or, Affine, what the weight says
  BatchNormOptions<T> batch;

  bool has_parameters() const { return weight || bias; }
  // Whether a BatchNorm takes its statistics from the batch.
  bool from_batch(bool training) const {
    return batch.statistics == StatisticsOf::Batch || (batch.statistics == StatisticsOf::Mode && training);
  }
  bool saves_input() const { return fastmlp::saves_input(activation.kind); }
};

template <class T>
class Program {
 public:
  // Fuses what can be fused (see fusion.h). Throws std::invalid_argument where widths or the parameters' devices do not
  // fit together.
  explicit Program(std::vector<Operation<T>> operations, Precision precision = Precision::Float32);

  const std::vector<Operation<T>>& operations() const { return operations_; }
  int size() const { return static_cast<int>(operations_.size()); }
  // Each once.
  const std::vector<std::shared_ptr<Parameter<T>>>& parameters() const { return parameters_; }
  // What operations read or write beside them, running statistics.
  const std::vector<std::shared_ptr<Parameter<T>>>& buffers() const { return buffers_; }
  // Whether a parameter serves twice: the optimizer must then wait for the sum of its gradients.
  bool shares_parameters() const { return shares_parameters_; }

  // Whether what a row gives depends on the other rows of its batch.
  bool mixes_rows(bool training) const;
  // Whether steps differ by how many batches there have been before.
  bool counts_batches() const;
  // `count` batches have gone into the running statistics.
  void add_batches(Index count) const;

  // The width of a value; -1: as many features as come in (no affine operation says how many).
  Index width(int value) const { return widths_[static_cast<std::size_t>(value)]; }
  Index in_features() const { return width(0); }
  Index out_features() const { return width(size()); }
  // How many operations take a value.
  int uses(int value) const { return uses_[static_cast<std::size_t>(value)]; }
  // Whether every operation takes the value before its own alone.
  bool is_chain() const { return chain_; }

  // Where the parameters lay when it was made: all pointers of a pass are to this device's memory.
  const Device& device() const { return *device_; }
  const Backend<T>& kernels() const { return *kernels_; }
  Precision precision() const { return precision_; }

  // Whether this loss's gradient is formed with respect to the input of the last activation: sigmoid with BCE and
  // log-softmax with NLL have a product that is simple, exact and cheap.
  bool logits_for(LossKind kind) const;

 private:
  void collect_parameters();
  void find_widths();

  std::vector<Operation<T>> operations_;
  std::vector<std::shared_ptr<Parameter<T>>> parameters_, buffers_;
  std::vector<Index> widths_;
  std::vector<int> uses_;
  bool shares_parameters_ = false, chain_ = true;
  const Device* device_ = &host_device();
  const Backend<T>* kernels_;
  Precision precision_;
};

}  // namespace fastmlp
