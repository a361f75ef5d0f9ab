#include "core/strategies/dense/sliced_runner.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "core/strategies/choice.h"
#include "core/tasks.h"

namespace fastmlp {

namespace {

Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

// Bytes that a row takes in a pass: all values, two gradients, and a target.
template <class T>
Index bytes_of_row(const Program<T>& program) {
  Index values = program.out_features(), widest = 0;
  for (int value = 0; value <= program.size(); ++value) {
    values += program.width(value);
    widest = std::max(widest, program.width(value));
  }
  for (int i = 0; i < program.size(); ++i)
    if (program.operations()[static_cast<std::size_t>(i)].saves_input()) values += program.width(i + 1);
  return (values + 2 * widest) * Index{sizeof(T)};
}

template <class T>
Index bytes_of_parameters(const Program<T>& program) {
  Index values = 0;
  for (const auto& parameter : program.parameters()) values += parameter->size();
  return values * Index{sizeof(T)};
}

// Of a part: beside the work on so many rows its sums, and packing the weights once more, cost little. And the most parts,
// and slices of one, which are added in T (see cpu/sums.h).
constexpr Index kFewestRows = 128, kMostParts = 16, kMostSlices = 32;

// Parts are a power of two, of equally many slices, so that they go evenly into threads: up to half of the most as soon as
// each has the fewest rows, all with twice as many. A slice fills the second cache.
template <class T>
SlicePlan plan_slices(const Program<T>& program, Index rows, Index fewest) {
  const ProductBlocks blocks = active_isa().product_blocks();
  const Index most = std::max(fewest, blocks.l2 / bytes_of_row(program));
  SlicePlan plan;
  plan.parts = 1;
  while (plan.parts < kMostParts && 2 * plan.parts * (plan.parts < kMostParts / 2 ? 1 : 2) * fewest <= rows)
    plan.parts *= 2;
  plan.slices_per_part = std::min(kMostSlices, ceil_div(rows, plan.parts * most));
  // Whole tiles, and whole blocks of random numbers for dropout.
  const Index multiple = std::lcm(blocks.MR, Index{4});
  plan.rows = ceil_div(ceil_div(rows, plan.parts * plan.slices_per_part), multiple) * multiple;
  plan.slices = ceil_div(rows, plan.rows);
  plan.parts = ceil_div(plan.slices, plan.slices_per_part);
  return plan;
}

// By which a mean divides.
template <class T>
double share_of(const LossSpec& spec, const Batch<T>& batch) {
  if (spec.whole > 0 || !spec.is_mean()) return spec.whole;
  if (!batch.targets.has_shares()) return static_cast<double>(batch.rows);
  double share = 0;
  for (Index row = 0; row < batch.rows; ++row) share += batch.targets.share(batch.ids ? batch.ids[row] : row);
  return share;
}

}  // namespace

template <class T>
bool SlicedRunner<T>::can_run(const Program<T>& program) {
  return program.device().host && program.size() > 0 && program.out_features() > 0 && !program.mixes_rows(true) &&
         !program.shares_parameters();
}

// Threads gain where products are small, if slices fit the second cache beside the weights and their gradients; and one
// gains where the batch leaves the caches between two products.
template <class T>
bool SlicedRunner<T>::is_preferred(const Program<T>& program, Index rows) {
  if (rows < 2 * kFewestRows || !can_run(program)) return false;
  const Index row = bytes_of_row(program), weights = bytes_of_parameters(program);
  const Index l2 = active_isa().product_blocks().l2;
  return (weights <= l2 / 4 && kFewestRows * row <= l2) || (weights <= l2 && rows * row >= 8 * l2);
}

template <class T>
void SlicedRunner<T>::lay_out() {
  // Where it is forced, for tests, small batches have several slices, too.
  const bool forced = forced_strategy() == Strategy::Sliced;
  plan_ = plan_slices(program_, rows_, forced ? active_isa().product_blocks().MR : kFewestRows);
  sums_size_ = 0;
  for (const auto& parameter : program_.parameters()) sums_size_ += spaced(*parameter);
  sums_.reserve(static_cast<std::size_t>(plan_.parts * sums_size_));
  losses_.resize(static_cast<std::size_t>(plan_.parts));
}

template <class T>
Index SlicedRunner<T>::rows_of(Index slice) const {
  return std::min(plan_.rows, rows_ - slice * plan_.rows);
}

template <class T>
Batch<T> SlicedRunner<T>::slice_of(const Batch<T>& batch, Index slice) const {
  Batch<T> rows = batch;
  rows.advance(slice * plan_.rows, this->columns_, this->out_columns());
  rows.rows = rows_of(slice);
  return rows;
}

template <class T>
std::optional<DropoutState> SlicedRunner<T>::dropout_of(const DropoutState* whole, Index slice) const {
  if (!whole) return std::nullopt;
  DropoutState own = *whole;
  own.row += slice * plan_.rows;
  return own;
}

template <class T>
DenseRunner<T>& SlicedRunner<T>::runner_for(Runners& runners, Index i, Index rows) {
  while (static_cast<Index>(runners.size()) <= i) {
    runners.push_back(std::make_unique<DenseRunner<T>>(program_));
    runners.back()->run_alone();
  }
  DenseRunner<T>& runner = *runners[static_cast<std::size_t>(i)];
  runner.prepare(rows, this->columns_, this->training_);
  return runner;
}

template <class T>
DenseRunner<T>& SlicedRunner<T>::with_sums(DenseRunner<T>& runner, Index slice) {
  const Index part = slice / plan_.slices_per_part;
  runner.send_gradients(sums_.data() + part * sums_size_, slice % plan_.slices_per_part > 0);
  return runner;
}

template <class T>
template <class Body>
double SlicedRunner<T>::for_slices(int threads, const Body& body) {
  for_tasks(plan_.parts, threads, [&](Index part, int worker) {
    double& sum = losses_[static_cast<std::size_t>(part)];
    sum = 0;
    const Index first = part * plan_.slices_per_part, end = std::min(plan_.slices, first + plan_.slices_per_part);
    for (Index slice = first; slice < end; ++slice) sum += body(slice, worker);
  });
  double sum = 0;
  for (const double own : losses_) sum += own;
  return sum;
}

// To those of the first part.
template <class T>
void SlicedRunner<T>::add_sums() {
  constexpr Index kPiece = 4096;  // values
  for_tasks(ceil_div(sums_size_, kPiece), [&](Index piece) {
    T* const sum = sums_.data() + piece * kPiece;
    const Index n = std::min(kPiece, sums_size_ - piece * kPiece);
    for (Index part = 1; part < plan_.parts; ++part)
      kernels().add(n, sum, sum + part * sums_size_, sum, Context{{}, nullptr});
  });
}

template <class T>
void SlicedRunner<T>::finish(Optimizer<T>* fused) {
  add_sums();
  if (fused) this->begin_updates(*fused);
  const Context context{thread_pool_executor(), nullptr};
  const T* gradient = sums_.data();
  for (const auto& parameter : program_.parameters()) {
    const GradientSink<T> sink = this->sink(parameter, rows_, fused);
    const Index n = parameter->size();
    if (sink.update)
      kernels().update(*sink.update, n, sink.target, gradient, context);
    else if (sink.grad && sink.accumulate)
      kernels().add(n, sink.grad, gradient, sink.grad, context);
    else if (sink.grad)
      this->copy(gradient, n, sink.grad);
    gradient += spaced(*parameter);
  }
  if (fused) this->count_changes();
}

template <class T>
double SlicedRunner<T>::step(const LossSpec& spec, const Batch<T>& batch, const DropoutState* dropout,
                             Optimizer<T>* fused) {
  const Batch<T> rows = batch.advanced(this->columns_, this->out_columns());
  const LossSpec part = spec.part_of(share_of(spec, rows));
  const Index last = plan_.slices - 1;
  // Somebody may set another number of threads meanwhile.
  const int threads = static_cast<int>(std::min<Index>(plan_.parts, thread_pool_executor().workers));
  runner_for(of_steps_, 0, rows_of(last));
  for (int thread = 0; thread < threads; ++thread) runner_for(of_steps_, 1 + thread, plan_.rows);
  const double loss = for_slices(threads, [&](Index slice, int worker) {
    DenseRunner<T>& runner = *of_steps_[slice == last ? 0 : static_cast<std::size_t>(1 + worker)];
    const auto own = dropout_of(dropout, slice);
    return with_sums(runner, slice).step(part, slice_of(rows, slice), own ? &*own : nullptr, nullptr);
  });
  finish(fused);
  return loss;
}

template <class T>
void SlicedRunner<T>::forward(const Batch<T>& batch, const DropoutState* dropout, T* y) {
  for (Index slice = 0; slice < plan_.slices; ++slice) runner_for(of_passes_, slice, rows_of(slice));
  for_slices(kMostThreads, [&](Index slice, int) {
    const auto own = dropout_of(dropout, slice);
    T* const to = y ? y + slice * plan_.rows * this->out_columns() : nullptr;
    of_passes_[static_cast<std::size_t>(slice)]->forward(slice_of(batch, slice), own ? &*own : nullptr, to);
    return 0;
  });
}

template <class T>
double SlicedRunner<T>::loss(const LossSpec& spec, const Batch<T>& batch, bool gradient) {
  const LossSpec part = spec.part_of(share_of(spec, batch));
  return for_slices(kMostThreads, [&](Index slice, int) {
    return of_passes_[static_cast<std::size_t>(slice)]->loss(part, slice_of(batch, slice), gradient);
  });
}

template <class T>
void SlicedRunner<T>::backward(const T* dy, T* dx, Optimizer<T>* fused) {
  for_slices(kMostThreads, [&](Index slice, int) {
    const Index row = slice * plan_.rows;
    with_sums(*of_passes_[static_cast<std::size_t>(slice)], slice)
        .backward(dy ? dy + row * this->out_columns() : nullptr, dx ? dx + row * this->columns_ : nullptr, nullptr);
    return 0;
  });
  finish(fused);
  if (!this->listener_) return;
  for (auto operation = program_.operations().rbegin(); operation != program_.operations().rend(); ++operation)
    if (operation->has_parameters()) this->listener_->after(*operation);
}

template <class T>
double SlicedRunner<T>::evaluate(const LossSpec& spec, const Batch<T>& batch) {
  forward(batch, nullptr, nullptr);
  return loss(spec, batch, false);
}

template <class T>
std::size_t SlicedRunner<T>::bytes() const {
  std::size_t sum = DenseRunner<T>::bytes() + sums_.size() * sizeof(T);
  for (const Runners* runners : {&of_steps_, &of_passes_})
    for (const auto& runner : *runners) sum += runner->bytes();
  return sum;
}

template class SlicedRunner<float>;
template class SlicedRunner<double>;

}  // namespace fastmlp
