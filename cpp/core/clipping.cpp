#include "core/clipping.h"

#include <limits>

#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
Clipper<T>::Clipper(const Device& device) : device_(device), norm_(std::size_t{1}, device), scratch_(device) {
  if (!device.host) scratch_.reserve(kernels_of<T>(device).scratch_bytes);
}

template <class T>
void Clipper<T>::clip(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm) {
  grads_.clear();
  sizes_.clear();
  for (const auto& parameter : parameters) {
    if (!parameter->has_grad) continue;
    grads_.push_back(parameter->grad.data());
    sizes_.push_back(parameter->size());
  }
  run(max_norm);
}

template <class T>
void Clipper<T>::measure(const T* values, Index size) {
  grads_.assign(1, const_cast<T*>(values));  // an infinite limit only measures
  sizes_.assign(1, size);
  run(std::numeric_limits<double>::infinity());
}

template <class T>
void Clipper<T>::measure(const std::vector<std::shared_ptr<Parameter<T>>>& parameters) {
  grads_.clear();
  sizes_.clear();
  for (const auto& parameter : parameters) {
    grads_.push_back(parameter->value.data());
    sizes_.push_back(parameter->size());
  }
  run(std::numeric_limits<double>::infinity());
}

template <class T>
double Clipper<T>::norm() const {
  double norm = 0;
  check(device_.download(&norm, norm_.data(), sizeof norm, StreamScope::current()));
  return norm;
}

template <class T>
void Clipper<T>::run(double max_norm) {
  const Context context{thread_pool_executor(), scratch_.data(), StreamScope::current()};
  kernels_of<T>(device_).clip(static_cast<int>(grads_.size()), grads_.data(), sizes_.data(), max_norm, norm_.data(),
                              context);
}

template <class T>
double clip_grad_norm(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm) {
  if (parameters.empty()) return 0;
  Clipper<T> clipper(parameters[0]->device());
  clipper.clip(parameters, max_norm);
  return clipper.norm();
}

template <class T>
double norm(const Device& device, const T* values, Index size) {
  Clipper<T> clipper(device);
  clipper.measure(values, size);
  return clipper.norm();
}

#define FASTMLP_INSTANTIATE(T)                                                                  \
  template class Clipper<T>;                                                                    \
  template double clip_grad_norm<T>(const std::vector<std::shared_ptr<Parameter<T>>>&, double); \
  template double norm<T>(const Device&, const T*, Index);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
