// Norms of gradients, and their limit.
#pragma once

#include <memory>
#include <vector>

#include "core/parameter.h"

namespace fastmlp {

// Clips gradients on their device, and owns the memory that this needs there.
template <class T>
class Clipper {
 public:
  explicit Clipper(const Device& device);

  // Scales all gradients by max_norm / (norm + 1e-6) where that is below 1, as torch does.
  void clip(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm);
  void measure(const T* values, Index size);
  void measure(const std::vector<std::shared_ptr<Parameter<T>>>& parameters);  // their values
  // The joint norm of what was clipped or measured last; NaN or infinite if one of the values is. Waits for it.
  double norm() const;

 private:
  void run(double max_norm);

  const Device& device_;
  Buffer<double> norm_;
  Buffer<unsigned char> scratch_;
  std::vector<T*> grads_;
  std::vector<Index> sizes_;
};

// Clips once; returns the norm before.
template <class T>
double clip_grad_norm(const std::vector<std::shared_ptr<Parameter<T>>>& parameters, double max_norm);

// The norm of values on a device.
template <class T>
double norm(const Device& device, const T* values, Index size);

}  // namespace fastmlp
