#include "core/strategies/dense/input_derivatives.h"

namespace fastmlp {

template <class T>
InputDerivatives<T>::InputDerivatives(const Program<T>& program)
    : program_(program),
      rows_(program),
      repeated_(program),
      units_(program.device()),
      ones_(program.device()),
      ids_(program.device()) {}

template <class T>
void InputDerivatives<T>::jacobian(const T* x, Index rows, Index columns, T* jacobian) {
  repeat(x, rows, columns);
  repeated_.backward_to_input(units_.data(), jacobian);
}

template <class T>
void InputDerivatives<T>::of_weights(const T* x, Index rows, Index columns, const WeightColumns<T>& weights,
                                     T* jacobian) {
  repeat(x, rows, columns);
  repeated_.backward_to_rows(units_.data(), weights, jacobian);
}

template <class T>
void InputDerivatives<T>::repeat(const T* x, Index rows, Index columns) {
  const Index out = out_columns(columns);
  rows_.prepare(rows, columns, true);
  repeated_.prepare(rows * out, columns, true);
  set_units(rows, out);
  rows_.forward({x, {}, nullptr, rows}, nullptr, nullptr);
  repeated_.repeat_pass(rows_, ids_.data());
}

template <class T>
void InputDerivatives<T>::of_loss(const LossSpec& loss, const Batch<T>& batch, Index columns, T* dx) {
  rows_.prepare(batch.rows, columns, true);
  rows_.forward(batch, nullptr, nullptr);
  rows_.loss(loss, batch, true);
  rows_.backward_to_input(nullptr, dx);
}

template <class T>
void InputDerivatives<T>::of_output(const T* dy, const T* x, Index rows, Index columns, T* dx) {
  rows_.prepare(rows, columns, true);
  rows_.forward({x, {}, nullptr, rows}, nullptr, nullptr);
  rows_.backward_to_input(dy ? dy : ones(rows * out_columns(columns)), dx);
}

namespace {

template <class V>
void fill(Buffer<V>& buffer, const std::vector<V>& values) {
  buffer.reserve(values.size());
  check(buffer.device().upload(buffer.data(), values.data(), values.size() * sizeof(V), StreamScope::current()));
}

}  // namespace

// For rows that each stand `out` times; those of fewer rows are a beginning of it.
template <class T>
void InputDerivatives<T>::set_units(Index rows, Index out) {
  if (unit_out_ == out && unit_rows_ >= rows) return;
  std::vector<T> units(static_cast<std::size_t>(rows * out * out));
  std::vector<Index> ids(static_cast<std::size_t>(rows * out));
  for (Index i = 0; i < rows * out; ++i) {
    units[static_cast<std::size_t>(i * out + i % out)] = 1;
    ids[static_cast<std::size_t>(i)] = i / out;
  }
  unit_rows_ = 0;  // should an allocation fail
  fill(units_, units);
  fill(ids_, ids);
  unit_rows_ = rows;
  unit_out_ = out;
}

template <class T>
const T* InputDerivatives<T>::ones(Index size) {
  if (static_cast<Index>(ones_.size()) < size) fill(ones_, std::vector<T>(static_cast<std::size_t>(size), T(1)));
  return ones_.data();
}

template <class T>
std::size_t InputDerivatives<T>::bytes() const {
  return rows_.bytes() + repeated_.bytes() + (units_.size() + ones_.size()) * sizeof(T) + ids_.size() * sizeof(Index);
}

template class InputDerivatives<float>;
template class InputDerivatives<double>;

}  // namespace fastmlp
