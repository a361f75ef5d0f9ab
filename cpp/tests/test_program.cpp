// Programs: what is fused, which widths follow, which buffers serve again, and what is refused.
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>

#include "core/strategies/dense/dense_runner.h"
#include "expect.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using Op = Operation<float>;

Op affine(int input, Index in, Index out) {
  Op op;
  op.inputs[0] = input;
  op.weight = std::make_shared<Parameter<float>>(in, out);
  return op;
}
Op activation(int input, ActivationKind kind = ActivationKind::ReLU) {
  Op op;
  op.kind = OperationKind::Activation;
  op.inputs[0] = input;
  op.activation.kind = kind;
  return op;
}
Op sum(int left, int right) {
  Op op;
  op.kind = OperationKind::Add;
  op.inputs[0] = left;
  op.inputs[1] = right;
  return op;
}
Program<float> chain(int depth) {
  std::vector<Op> operations;
  for (int i = 0; i < depth; ++i) operations.push_back(affine(i, 5, 5));
  return Program<float>(operations);
}

void fusion() {
  const Program<float> once({affine(0, 2, 3), activation(1), activation(2, ActivationKind::Tanh)});
  expect(once.size() == 2 && once.operations()[0].activation.kind == ActivationKind::ReLU &&
             once.operations()[1].kind == OperationKind::Activation,
         "an affine operation takes one activation");
  const Program<float> shared({affine(0, 2, 2), activation(1), sum(1, 2)});
  expect(shared.size() == 3, "not where its output is taken twice");
  const Program<float> later({affine(0, 2, 3), affine(0, 2, 3), activation(1), sum(2, 3)});
  expect(later.size() == 3 && later.operations()[2].inputs[0] == 2 && later.operations()[2].inputs[1] == 1,
         "values are numbered anew");
  expect(once.is_chain() && !shared.is_chain() && !later.is_chain(), "chains are known");
}

void widths() {
  const Program<float> program({activation(0), affine(1, 4, 7), affine(2, 7, 4), sum(0, 3)});
  expect(program.in_features() == 4 && program.out_features() == 4 && program.width(1) == 4, "widths follow backwards");
  expect(Program<float>({sum(0, 0)}).out_features() == -1, "without an affine operation any width will do");
  const auto refused = [](const std::vector<Op>& operations) {
    try {
      Program<float> program(operations);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  expect(refused({affine(0, 2, 3), affine(1, 2, 3)}), "a chain of other widths");
  expect(refused({affine(0, 2, 3), affine(0, 3, 3), sum(1, 2)}), "an input of two widths");
  expect(refused({affine(0, 2, 3), sum(0, 1)}), "a sum of two widths");
  expect(refused({affine(1, 2, 3)}), "a value that is not there yet");
  expect(refused({sum(0, Op::kNone)}), "a sum of one value");
}

void buffers() {
  for (const int depth : {1, 2, 3, 20}) {
    const Program<float> program = chain(depth);
    expect(forward_buffers(program).count <= 2 && backward_buffers(program, true).count <= 2,
           "a chain takes two buffers, however long");
  }
  const Program<float> block({affine(0, 5, 5), affine(1, 5, 5), affine(2, 5, 5), sum(1, 3)});
  expect(forward_buffers(block).count == 3, "a residual block keeps one value more");
  const BackwardBuffers way = backward_buffers(block, false);
  const BackwardStep& end = way.steps.back();
  expect(way.steps.size() == 4 && end.operation == 0 && end.inputs[0].to == BackwardStep::kNone,
         "the input's gradient is left out where nobody wants it");
  expect(way.steps[0].inputs[0].to == BackwardStep::kNone && way.steps[0].inputs[1].to == BackwardStep::kNone,
         "a sum hands its gradient on where it lies");
  expect(way.steps[2].inputs[0].plus == BackwardStep::kOutput, "the second gradient of a value is added to the first");
  const Program<float> unused({affine(0, 2, 2), affine(0, 2, 3)});
  expect(backward_buffers(unused, true).steps.size() == 1, "what nobody needs has no gradient");
}

// A runner's batches, brought together and step by step.
void weights_come_along() {
  struct Probe : DenseRunner<float> {
    using DenseRunner::DenseRunner;
    using DenseRunner::gather;
  };
  const Program<float> program({affine(0, 1, 1)});
  Probe runner(program);
  runner.prepare(2, 1, true);
  const float x[] = {0, 1, 2, 3}, t[] = {10, 11, 12, 13}, weights[] = {0.5f, 1.5f, 2.5f, 3.5f};
  const Index ids[] = {3, 1, 0, 2};
  Batch<float> batch{x, {t, nullptr, weights}, ids, 2};
  batch.advance(2, 1, 1);
  const Batch<float> rows = runner.gather(batch);
  expect(!rows.ids && rows.x[0] == 0 && rows.targets.dense[1] == 12 && rows.targets.weights[0] == 0.5f &&
             rows.targets.weights[1] == 2.5f,
         "row weights come along by row number");
  batch.ids = nullptr;
  batch.advance(2, 1, 1);
  const Batch<float> next = runner.gather(batch);
  expect(next.x == x + 2 && next.targets.weights == weights + 2, "and with consecutive rows");
}

}  // namespace

int main() {
  weights_come_along();
  fusion();
  widths();
  buffers();
  return testing::report();
}
