// The rows of a batch that are given by number: made consecutive, or left to the kernels that can find them.
#include "core/strategies/dense/dense_runner.h"

namespace fastmlp {

template <class T>
void DenseRunner<T>::reserve_rows(const Batch<T>& batch, int head) {
  const bool x_chosen = product_chooses_rows(head);
  if (!x_chosen) batch_x_.reserve(static_cast<std::size_t>(batch.rows * this->columns_));
  if (x_chosen && head < program_.size()) return;
  if (batch.targets.dense) batch_targets_.reserve(static_cast<std::size_t>(batch.rows * this->out_columns()));
  if (batch.targets.classes) batch_classes_.reserve(static_cast<std::size_t>(batch.rows));
  if (batch.targets.weights) batch_weights_.reserve(static_cast<std::size_t>(batch.rows));
}

// Whether x goes into an affine operation below the head and nowhere else, and its kernels take rows by number.
template <class T>
bool DenseRunner<T>::product_chooses_rows(int head) {
  if (!kernels().chooses_rows) return false;
  int uses = 0, product = -1;
  for (int i = 0; i < program_.size(); ++i)
    for (const int input : operation(i).inputs)
      if (input == 0) {
        ++uses;
        if (operation(i).kind == OperationKind::Affine) product = i;
      }
  return uses == 1 && product >= 0 && product < head && kernels().chooses_rows(rows_);
}

template <class T>
Batch<T> DenseRunner<T>::gather(const Batch<T>& batch) {
  if (!batch.ids && !replay_) return batch;
  return gathered(batch, true);
}

template <class T>
Batch<T> DenseRunner<T>::gather_for_step(const Batch<T>& batch, LossKind loss) {
  if (!batch.ids && !replay_) return batch;
  const int head = head_of(loss);
  const bool x_chosen = product_chooses_rows(head);
  reserve_rows(batch, head);
  if (!x_chosen || head == program_.size()) return gathered(batch, !x_chosen);
  Batch<T> rows = batch;
  rows.x_chosen = rows.targets_chosen = true;
  return rows;
}

template <class T>
Batch<T> DenseRunner<T>::gathered(const Batch<T>& batch, bool with_x) {
  reserve_rows(batch, with_x ? 0 : program_.size());  // no product is below operation 0
  T* const x = with_x ? batch_x_.data() : nullptr;
  kernels().gather({batch.rows, this->columns_, this->out_columns(), batch.x, batch.targets, batch.ids, x,
                    batch_targets_.data(), batch_classes_.data(), batch_weights_.data()},
                   context());
  Batch<T> rows{x, batch.targets, nullptr, batch.rows, batch.unchanged};
  if (!with_x) {
    rows.x = batch.x;
    rows.ids = batch.ids;
    rows.x_chosen = true;
  }
  if (batch.targets.dense) rows.targets.dense = batch_targets_.data();
  if (batch.targets.classes) rows.targets.classes = batch_classes_.data();
  if (batch.targets.weights) rows.targets.weights = batch_weights_.data();
  return rows;
}

template <class T>
Batch<T> DenseRunner<T>::consecutive(const Batch<T>& batch) {
  return gather(batch.advanced(this->columns_, this->out_columns()));
}

#define FASTMLP_INSTANTIATE(T)                                                  \
  template void DenseRunner<T>::reserve_rows(const Batch<T>&, int);             \
  template bool DenseRunner<T>::product_chooses_rows(int);                      \
  template Batch<T> DenseRunner<T>::gather(const Batch<T>&);                    \
  template Batch<T> DenseRunner<T>::gathered(const Batch<T>&, bool);            \
  template Batch<T> DenseRunner<T>::gather_for_step(const Batch<T>&, LossKind); \
  template Batch<T> DenseRunner<T>::consecutive(const Batch<T>&);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
