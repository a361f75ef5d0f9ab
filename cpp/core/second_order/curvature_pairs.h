// What L-BFGS methods know of the Hessian: the last steps, and how they have changed the gradient.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/second_order/vectors.h"
#include "core/types.h"

namespace fastmlp {

// A vector that all copies share: nobody changes it.
template <class T>
using SharedVector = std::shared_ptr<const std::vector<T>>;

template <class T>
SharedVector<T> shared_vector(std::vector<T> values) {
  return std::make_shared<const std::vector<T>>(std::move(values));
}

template <class T>
struct CurvaturePairs {
  struct Pair {
    SharedVector<T> change, step;
    double inverse;  // 1 / their product
  };
  std::vector<Pair> pairs;  // the last is the newest
  double scale = 1;         // of the first approximation of the inverse Hessian

  // `curvature`: the product of the two; `most`: as many are kept.
  void add(std::vector<T> change, std::vector<T> step, double curvature, Index most) {
    scale = curvature / dot(change, change);
    while (static_cast<Index>(pairs.size()) >= most) pairs.erase(pairs.begin());
    pairs.push_back({shared_vector(std::move(change)), shared_vector(std::move(step)), 1 / curvature});
  }

  // Minus the approximate inverse Hessian times the gradient, by the two-loop recursion: Nocedal and Wright, Numerical
  // Optimization, 2nd edition, algorithm 7.4.
  std::vector<T> downhill(const std::vector<T>& gradient) const {
    std::vector<T> result = scaled(gradient, -1);
    std::vector<double> shares(pairs.size());
    for (std::size_t i = pairs.size(); i-- > 0;) {
      shares[i] = pairs[i].inverse * dot(*pairs[i].step, result);
      add_scaled(result, -shares[i], *pairs[i].change);
    }
    result = scaled(std::move(result), scale);
    for (std::size_t i = 0; i < pairs.size(); ++i)
      add_scaled(result, shares[i] - pairs[i].inverse * dot(*pairs[i].change, result), *pairs[i].step);
    return result;
  }
};

}  // namespace fastmlp
