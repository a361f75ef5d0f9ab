// L-BFGS by itself: Rosenbrock's function, its state, and what an exception leaves; and SciPy's.
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "core/second_order/lbfgs.h"
#include "core/second_order/scipy_lbfgs.h"
#include "expect.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;

// A valley that bends through so many dimensions, with its minimum of 0 at (1, 1, ...).
template <class T>
struct Rosenbrock {
  std::vector<T> start;
  int calls = 0, most = -1;

  double operator()(const std::vector<T>* there, std::vector<T>& gradient) {
    if (calls++ == most) throw std::runtime_error("enough");
    const std::vector<T>& x = there ? *there : start;
    gradient.assign(x.size(), 0);
    double sum = 0;
    for (std::size_t i = 0; i + 1 < x.size(); ++i) {
      const T a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
      sum += static_cast<double>(100 * a * a + b * b);
      gradient[i] += -400 * a * x[i] - 2 * b;
      gradient[i + 1] += 200 * a;
    }
    return sum;
  }
};

template <class T>
double step(Lbfgs<T>& method, std::vector<T>& x, int most = -1) {
  Rosenbrock<T> function{x, 0, most};
  return method.step(x,
                     [&](const std::vector<T>* there, std::vector<T>& gradient) { return function(there, gradient); });
}

template <class T>
void test(double tolerance) {
  Lbfgs<T> method;
  method.set_option("line_search", 1);
  method.set_option("history_size", 8);
  std::vector<T> x(23, T(0.3));  // no multiple of the sums side by side
  double loss = step(method, x);
  expect(loss > 100, "the loss before the first step");
  for (int i = 0; i < 3; ++i) {
    const double next = step(method, x);
    expect(next < loss, "a step goes downhill");
    loss = next;
  }

  const std::vector<T> before = x;
  Lbfgs<T> other;
  other.set_option("line_search", 1);
  other.set_option("history_size", 8);
  other.set_state(method.state());
  bool thrown = false;
  try {
    step(method, x, 5);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  expect(thrown && x == before, "an exception leaves x");
  std::vector<T> y = x;
  step(method, x);
  step(other, y);
  expect(x == y, "and what is remembered, as a state has it");

  for (int i = 0; i < 30; ++i) loss = step(method, x);
  expect(loss < tolerance, "the minimum");
  for (const T value : x) expect(std::abs(value - 1) < std::sqrt(tolerance) * 100, "where it is");

  method.set_option("history_size", 2);
  step(method, x);
  bool refused = false;
  try {
    method.set_option("momentum", 1);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  expect(refused, "an unknown option");
  method.set_state(State());
  expect(method.state().entries().empty(), "a new beginning");
}

// Squares about 1, and about 0 with weights.
void test_of_scipy() {
  ScipyLbfgs<double> method;
  State state;
  state.add("decay", std::vector<double>{0, 2, 6});
  method.set_state(state);
  method.set_option("tolerance_grad", 1e-10);
  const std::vector<double> start{5, -3, 2};
  std::vector<double> x = start;
  const auto evaluate = [&](const std::vector<double>* there, std::vector<double>& gradient) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double away = (there ? *there : start)[i] - 1;
      sum += away * away;
      gradient[i] = 2 * away;
    }
    return sum;
  };
  expect(method.step(x, evaluate) == 16 + 16 + 1, "the loss before the step, without the squares");
  const double best[] = {1, 0.5, 0.25};
  for (std::size_t i = 0; i < x.size(); ++i) expect(std::abs(x[i] - best[i]) < 1e-4, "the minimum with squares");
  expect(std::abs(method.state().get<double>("loss") - (0.5 + 0.75)) < 1e-8, "the loss there");
  expect(method.state().get<Index>("status") == 0 && method.state().get<Index>("n_iter") < 20, "it has converged");
  method.set_option("max_iter", 1);
  x = start;
  method.step(x, evaluate);
  expect(method.state().get<Index>("status") == 1 && method.state().get<Index>("n_iter") == 1, "it has been stopped");
}

}  // namespace

int main() {
  test<double>(1e-8);
  test<float>(1e-5);
  test_of_scipy();
  return testing::report();
}
