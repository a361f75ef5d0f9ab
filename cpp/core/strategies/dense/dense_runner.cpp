#include "core/strategies/dense/dense_runner.h"

#include <algorithm>

#include "core/thread_pool.h"

namespace fastmlp {

namespace {

// Values of a gradient up to which those of the weights wait for one another: larger products keep a device busy alone, and
// what they are formed from would take much memory.
constexpr Index kMostGrouped = Index{1} << 20;

}  // namespace

template <class T>
DenseRunner<T>::DenseRunner(const Program<T>& program)
    : Runner<T>(program),
      scratch_(program.device()),
      batch_x_(program.device()),
      batch_targets_(program.device()),
      batch_weights_(program.device()),
      batch_classes_(program.device()),
      forward_buffers_(forward_buffers(program)),
      backward_buffers_{backward_buffers(program, false), backward_buffers(program, true),
                        backward_buffers(program, false, true)},
      memory_(program.device()),
      outputs_(program.operations().size()),
      z_(program.operations().size()),
      kept_(program.operations().size()),
      values_(program.operations().size() + 1) {}

// Memory -----------------------------------------------------------------------------------------------------------

template <class T>
void DenseRunner<T>::lay_out() {
  Index end = 0, widest = 0;
  const auto take = [&end](Index n) {
    const Index at = end;
    end += (n + 15) / 16 * 16;
    return at;
  };
  for (int value = 0; value <= program_.size(); ++value) widest = std::max(widest, width(value));
  for (int i = 0; i < program_.size(); ++i)
    kept_[static_cast<std::size_t>(i)] = take(pointwise_rule<T>(operation(i).kind).kept.size(rows_, width(i + 1)));
  if (this->training_) {
    for (int i = 0; i < program_.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      outputs_[at] = take(rows_ * width(i + 1));
      if (operation(i).kind == OperationKind::Affine && operation(i).saves_input()) z_[at] = take(rows_ * width(i + 1));
    }
    groups_ = kernels().affine_backward_weights && program_.precision() != Precision::BF16 &&
              !program_.shares_parameters() && rows_ * widest <= kMostGrouped;
    const int of_passes = std::max(backward_buffers_[0].count, backward_buffers_[1].count);
    gradient_.resize(static_cast<std::size_t>(groups_ ? std::max(of_passes, backward_buffers_[2].count) : of_passes));
    for (Index& buffer : gradient_) buffer = take(rows_ * widest);
  } else {
    std::vector<Index> buffers(static_cast<std::size_t>(forward_buffers_.count));
    for (Index& buffer : buffers) buffer = take(rows_ * widest);
    for (std::size_t i = 0; i < outputs_.size(); ++i)
      outputs_[i] = buffers[static_cast<std::size_t>(forward_buffers_.of_operation[i])];
  }
  const Index out = width(program_.size());
  result_ = take(rows_ * (this->training_ && kernels().head_forward ? head_columns(out) : out));
  memory_.reserve(static_cast<std::size_t>(end));
}

template <class T>
std::size_t DenseRunner<T>::bytes() const {
  return (memory_.size() + batch_x_.size() + batch_targets_.size() + batch_weights_.size()) * sizeof(T) +
         scratch_.size() + batch_classes_.size() * sizeof(Index);
}

template <class T>
Context DenseRunner<T>::context() {
  Executor executor = thread_pool_executor();
  if (alone_) executor.workers = 1;
  scratch_.reserve(static_cast<std::size_t>(device().host ? executor.workers : 1) * kernels().scratch_bytes);
  const Stream stream = device().host ? nullptr : StreamScope::current();
  return {executor, scratch_.data(), stream, program_.precision(), replay_};
}

// Forward ----------------------------------------------------------------------------------------------------------

template <class T>
PointwiseArgs<T> DenseRunner<T>::pointwise_args(int i, const Context& context) {
  return {operation(i),
          i,
          rows_,
          width(i + 1),
          drops_ ? &dropout_ : nullptr,
          device(),
          kernels(),
          context,
          memory_.data() + kept_[static_cast<std::size_t>(i)]};
}

template <class T>
void DenseRunner<T>::affine_forward(int i, T* y, const Context& context) {
  const Operation<T>& op = operation(i);
  const int in = op.inputs[0];
  AffineForward<T> args{rows_,   width(i + 1),  width(in), value(in),    width(in), op.weight->value.data(),
                        nullptr, op.activation, y,         width(i + 1), nullptr};
  if (op.bias) args.bias = op.bias->value.data();
  if (this->training_ && op.saves_input()) args.z = memory_.data() + z_[static_cast<std::size_t>(i)];
  if (!this->training_ && !device().host) args.weight_state = op.weight->state();
  args.x_chosen = in == 0 && x_chosen_;
  args.x_ids = x_ids_;
  if (this->packed_) args.weight_slivers = this->packed_->of(i);
  kernels().affine_forward(args, context);
}

template <class T>
void DenseRunner<T>::run_forward(const Batch<T>& batch, const DropoutState* dropout, int operations, T* y) {
  logits_ = false;
  drops_ = dropout != nullptr;
  if (dropout) dropout_ = *dropout;
  const Context context = this->context();
  value(0) = batch.x;
  x_chosen_ = batch.x_chosen;
  x_ids_ = batch.ids;
  for (int i = 0; i < operations; ++i) {
    const Operation<T>& op = operation(i);
    // In inference the last operation writes where the result is wanted.
    T* const out =
        !this->training_ && i + 1 == program_.size() ? y : memory_.data() + outputs_[static_cast<std::size_t>(i)];
    if (op.kind == OperationKind::Affine) {
      affine_forward(i, out, context);
    } else {
      const T* second = op.inputs[1] < 0 ? nullptr : value(op.inputs[1]);
      pointwise_rule<T>(op.kind).forward(pointwise_args(i, context), value(op.inputs[0]), second, out);
    }
    value(i + 1) = out;
  }
  if (dropout && !replay_) program_.add_batches(1);
}

template <class T>
void DenseRunner<T>::forward(const Batch<T>& batch, const DropoutState* dropout, T* y) {
  run_forward(batch, dropout, program_.size(), y);
  const T* const output = value(program_.size());
  if (y && y != output) copy(output, rows_ * width(program_.size()), y);
  check_launches();
}

template <class T>
void DenseRunner<T>::copy(const T* from, Index n, T* to) const {
  check(device().copy(to, from, static_cast<std::size_t>(n) * sizeof(T), StreamScope::current()));
}

// All that a backward pass reads: what further operations save belongs here, too.
template <class T>
void DenseRunner<T>::repeat_pass(DenseRunner& other, const Index* ids) {
  logits_ = drops_ = x_chosen_ = false;
  const Context context = this->context();
  const auto repeat = [&](const T* from, Index columns, T* to) {
    kernels().gather({rows_, columns, 0, from, {}, ids, to, nullptr, nullptr, nullptr}, context);
    return to;
  };
  batch_x_.reserve(static_cast<std::size_t>(rows_ * this->columns_));
  value(0) = repeat(other.value(0), this->columns_, batch_x_.data());
  for (int i = 0; i < program_.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    value(i + 1) = repeat(other.value(i + 1), width(i + 1), memory_.data() + outputs_[at]);
    if (operation(i).kind == OperationKind::Affine && operation(i).saves_input())
      repeat(other.memory_.data() + other.z_[at], width(i + 1), memory_.data() + z_[at]);
    const Kept kept = pointwise_rule<T>(operation(i).kind).kept;
    const T* from = other.memory_.data() + other.kept_[at];
    T* to = memory_.data() + kept_[at];
    for (int n = 0; n < kept.of_rows; ++n, from += other.rows_, to += rows_) repeat(from, 1, to);
    if (kept.of_columns > 0) copy(from, kept.of_columns * width(i + 1), to);
  }
}

// Loss -------------------------------------------------------------------------------------------------------------

template <class T>
void DenseRunner<T>::enqueue_loss(const LossSpec& spec, const Targets<T>& targets, bool gradient) {
  const bool logits = program_.logits_for(spec.kind);
  if (gradient) logits_ = logits;
  LossArgs<T> args = this->loss_args(spec);
  args.y = value(program_.size());
  args.targets = targets;
  args.logits = logits;
  args.dy = gradient ? memory_.data() + result_ : nullptr;
  kernels().loss(args, context());
}

template <class T>
double DenseRunner<T>::loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) {
  enqueue_loss(spec, batch.targets, gradient);
  return this->loss_value();
}

template <class T>
double DenseRunner<T>::evaluate(const LossSpec& spec, const Batch<T>& batch) {
  T* const y = memory_.data() + result_;
  this->forward(batch, nullptr, y);
  LossArgs<T> args = this->loss_args(spec);
  args.y = y;
  args.targets = batch.targets;
  kernels().loss(args, context());
  return this->loss_value();
}

// Backward ---------------------------------------------------------------------------------------------------------

template <class T>
struct DenseRunner<T>::Gradients {
  T* memory;
  const std::vector<Index>& offsets;
  const T* output;  // the gradient of the program's output
  T* input;         // the caller's buffer for that of its input
  bool to_parameters;
  int head;  // of this operation `output` is dz, as head_forward leaves it; the program's size: of none
  const WeightColumns<T>* columns = nullptr;  // unless null, the parameters' of each row go to `rows`
  T* rows = nullptr;
  bool grouped = false;  // the parameters' of affine operations, at the end

  T* writable(int buffer) const {
    return buffer == BackwardStep::kInput ? input : memory + offsets[static_cast<std::size_t>(buffer)];
  }
  const T* at(int buffer) const { return buffer == BackwardStep::kOutput ? output : writable(buffer); }
};

template <class T>
const T* DenseRunner<T>::saved_by(int i) {
  return operation(i).saves_input() ? memory_.data() + z_[static_cast<std::size_t>(i)] : value(i + 1);
}

template <class T>
void DenseRunner<T>::affine_backward(const BackwardStep& step, Gradients& gradients, Optimizer<T>* fused,
                                     const Context& context) {
  const Operation<T>& op = operation(step.operation);
  const int in = op.inputs[0];
  const Index out_width = width(step.operation + 1), in_width = width(in);
  const bool is_head = step.operation == gradients.head;
  const T* dz = is_head ? gradients.output : gradients.at(step.gradient);
  const Index lddz = is_head ? head_columns(out_width) : out_width;
  const bool is_dz = is_head || (logits_ && step.operation + 1 == program_.size());
  if (step.dz != BackwardStep::kNone && !is_dz) {
    T* const to = gradients.writable(step.dz);
    kernels().activation_backward(op.activation, rows_ * out_width, dz, saved_by(step.operation), to, context);
    dz = to;
  }
  AffineBackwardInput<T> input{rows_, out_width, in_width, dz,      lddz, op.weight->value.data(),
                               {},    nullptr,   nullptr,  in_width};
  if (const int to = step.inputs[0].to; to != BackwardStep::kNone) {
    input.dx = gradients.writable(to);
    if (step.input_is_preactivation) {
      const Operation<T>& below = operation(in - 1);
      input.activation = below.activation;
      if (below.activation.kind != ActivationKind::Identity) input.saved = saved_by(in - 1);
    }
    if (!is_head) kernels().affine_backward_input(input, context);
  }
  // After the input's gradient, which needs the old weights.
  AffineBackwardWeight<T> args{rows_, out_width, in_width, value(in), in_width, dz, lddz, {}, {}};
  if (const WeightColumns<T>* const columns = gradients.columns)
    add_row_gradients(args, columns->of(op.weight.get()), op.bias ? columns->of(op.bias.get()) : -1, columns->count(),
                      gradients.rows);
  if (!gradients.to_parameters) return;
  args.weight = this->sink(op.weight, rows_, fused);
  args.bias = this->sink(op.bias, 0, fused);
  args.x_chosen = in == 0 && x_chosen_;
  args.x_ids = x_ids_;
  if (gradients.grouped && !is_head) return grouped_.push_back(args);
  if (!is_head) return kernels().affine_backward_weight(args, context);
  const LossArgs<T> loss = this->loss_args({});
  kernels().head_backward({input, args, loss.partial, loss.value}, context);
}

template <class T>
void DenseRunner<T>::backward(const T* dy, T* dx, Optimizer<T>* fused) {
  if (dy) logits_ = false;
  if (fused && !replay_) this->begin_updates(*fused);
  run_backward({memory_.data(), gradient_, dy ? dy : memory_.data() + result_, dx, true, program_.size()}, fused);
  if (fused) count_changes();
}

// Once more, now that the values are there: who took them meanwhile has others.
template <class T>
void DenseRunner<T>::count_changes() const {
  for (const auto& parameter : program_.parameters()) parameter->count_change();
}

template <class T>
void DenseRunner<T>::backward_to_input(const T* dy, T* dx) {
  if (dy) logits_ = false;
  run_backward({memory_.data(), gradient_, dy ? dy : memory_.data() + result_, dx, false, program_.size()}, nullptr);
}

template <class T>
void DenseRunner<T>::backward_to_rows(const T* dy, const WeightColumns<T>& weights, T* rows) {
  logits_ = false;
  std::fill_n(rows, rows_ * weights.count(), T(0));
  run_backward({memory_.data(), gradient_, dy, nullptr, false, program_.size(), &weights, rows}, nullptr);
}

// By the rule's own sums over rows, of one row at a time.
template <class T>
void DenseRunner<T>::pointwise_to_rows(const BackwardStep& step, const Gradients& gradients, const Context& context) {
  const Operation<T>& op = operation(step.operation);
  const Index weight = gradients.columns->of(op.weight.get()), bias = gradients.columns->of(op.bias.get());
  if (weight < 0 && bias < 0) return;
  const PointwiseRule<T>& rule = pointwise_rule<T>(op.kind);
  PointwiseArgs<T> args = pointwise_args(step.operation, context);
  const T* const of_rows = args.kept;
  std::vector<T> kept(static_cast<std::size_t>(rule.kept.size(1, args.columns)));
  std::copy_n(of_rows + rule.kept.of_rows * rows_, rule.kept.of_columns * args.columns,
              kept.begin() + rule.kept.of_rows);
  args.rows = 1;
  args.kept = kept.data();
  T* to = gradients.rows;
  for (Index row = 0, at = 0; row < rows_; ++row, at += args.columns, to += gradients.columns->count()) {
    for (int n = 0; n < rule.kept.of_rows; ++n) kept[static_cast<std::size_t>(n)] = of_rows[n * rows_ + row];
    if (weight >= 0) args.weight_sink = {to + weight, true, nullptr, {}};
    if (bias >= 0) args.bias_sink = {to + bias, true, nullptr, {}};
    rule.backward(args, gradients.at(step.gradient) + at, value(op.inputs[0]) + at, value(step.operation + 1) + at,
                  nullptr);
  }
}

template <class T>
void DenseRunner<T>::run_backward(Gradients gradients, Optimizer<T>* fused) {
  const Context context = this->context();
  T* const dx = gradients.input;
  gradients.grouped = groups_ && gradients.to_parameters && !dx && !this->listener_;
  grouped_.clear();
  for (const BackwardStep& step : backward_buffers_[gradients.grouped ? 2 : dx != nullptr].steps) {
    if (step.operation > gradients.head) continue;
    const Operation<T>& op = operation(step.operation);
    const T* const gradient = gradients.at(step.gradient);
    bool is_sum = false;
    if (op.kind == OperationKind::Affine) {
      affine_backward(step, gradients, fused, context);
    } else if (const auto rule = pointwise_rule<T>(op.kind).backward) {
      const bool wanted = step.inputs[0].to != BackwardStep::kNone;
      const bool to_parameters = gradients.to_parameters && op.has_parameters();
      if (gradients.columns && op.has_parameters()) pointwise_to_rows(step, gradients, context);
      if (!wanted && !to_parameters) continue;
      PointwiseArgs<T> args = pointwise_args(step.operation, context);
      if (to_parameters) {
        args.weight_sink = this->sink(op.weight, 0, fused);
        args.bias_sink = this->sink(op.bias, 0, fused);
      }
      T* const to = wanted ? gradients.writable(step.inputs[0].to) : nullptr;
      if (logits_ && step.operation + 1 == program_.size())
        args.copy(gradient, to);
      else
        rule(args, gradient, value(op.inputs[0]), value(step.operation + 1), to);
    } else {
      is_sum = true;
    }
    for (int n = 0; n < 2; ++n) {
      const BackwardStep::InputGradient& input = step.inputs[n];
      if (input.to == BackwardStep::kNone || (!is_sum && input.plus == BackwardStep::kNone)) continue;
      T* const to = gradients.writable(input.to);
      const T* const own = is_sum ? gradient : to;
      const Index size = rows_ * width(op.inputs[n]);
      if (input.plus != BackwardStep::kNone)
        kernels().add(size, own, gradients.at(input.plus), to, context);
      else
        copy(own, size, to);
    }
    if (this->listener_ && gradients.to_parameters && op.has_parameters()) this->listener_->after(op);
  }
  if (!grouped_.empty()) kernels().affine_backward_weights(grouped_.data(), static_cast<int>(grouped_.size()), context);
  if (program_.size() == 0 && dx) copy(gradients.output, rows_ * this->columns_, dx);
  check_launches();
}

template <class T>
void DenseRunner<T>::enqueue_step(const LossSpec& spec, const Batch<T>& rows, const DropoutState* dropout,
                                  Optimizer<T>* fused) {
  const int head = head_of(spec.kind);
  run_forward(rows, dropout, head, nullptr);
  if (head < program_.size())
    head_forward(head, spec, rows, context());
  else
    enqueue_loss(spec, rows.targets, true);
  if (fused && !replay_) this->begin_updates(*fused);
  run_backward({memory_.data(), gradient_, memory_.data() + result_, nullptr, true, head}, fused);
}

template <class T>
double DenseRunner<T>::step(const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout,
                            Optimizer<T>* fused) {
  enqueue_step(spec, gather_for_step(batch.advanced(this->columns_, this->out_columns()), spec.kind), dropout, fused);
  if (fused && device().host) count_changes();
  return this->loss_value();
}

template class DenseRunner<float>;
template class DenseRunner<double>;

}  // namespace fastmlp
