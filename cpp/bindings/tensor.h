// THE MAIN IDEA: a tensor is a NumPy array with two more fields, which say how it came about. A native subclass of
// ndarray, so that a model or a loss makes its result in one allocation and one call.
//
//   loss tensor --source--> output tensor --source--> tracked input, or null
//   node: LossNode          node: Tape                node: Leaf (or the Tape of another model, or an Expression)
//
// Each tensor owns its node, in which its numbers lie, too, and holds its source. So the graph is a short list, which
// ends with its last tensor; unless there is arithmetic in it, whose graph Python holds (fastmlp/arithmetic/tape.py).
#pragma once

#include <memory>
#include <span>

#include "bindings/array_args.h"
#include "bindings/loss_handle.h"

namespace fastmlp::bindings {

struct Node {
  enum class Kind { Leaf, Tape, Loss, Expression };

  explicit Node(Kind kind) : kind(kind) {}
  virtual ~Node() = default;

  const Kind kind;
};

// A tracked input: collects its gradient.
struct Leaf final : Node {
  Leaf() : Node(Kind::Leaf) {}

  py::object grad = py::none();
};

// A result of arithmetic: what Python recorded of it, a fastmlp.arithmetic.tape.Step, and the array with its values.
struct Expression final : Node {
  Expression(py::object step, py::object values)
      : Node(Kind::Expression), step(std::move(step)), values(std::move(values)) {}

  py::object step, values;
};

// A loss of a model's output; the output's tape does the work, and outlives this. `gradient`: null or None, or the gradient
// of `tensor`, what this is the node of.
class LossNode : public Node {
 public:
  LossNode() : Node(Kind::Loss) {}
  // The whole backward pass; returns the gradient of the model's input, or null. `retain`: what it needs is kept.
  virtual py::object backward(py::handle tensor, py::handle gradient, bool input_gradient, bool retain) = 0;
  // The gradient of the output alone.
  virtual py::object output_gradient(py::handle tensor, py::handle gradient) = 0;
};

// What one forward pass saved for its backward pass. `backward` returns the gradient of the input, or null.
class Tape : public Node {
 public:
  Tape() : Node(Kind::Tape) {}
  // Tensors of a loss of `output`, which is this pass's: of ours, or of one whose value and gradient are known.
  virtual py::object loss(const LossHandle& loss, py::handle target, py::handle sample_weight, py::handle output) = 0;
  virtual py::object loss(double value, py::handle gradient, py::handle output) = 0;
  virtual py::object backward(py::handle grad_output, bool input_gradient, bool retain) = 0;
  // std::runtime_error where it cannot run.
  virtual void check_open() const = 0;
};

// In every tensor; zeros say that it has no graph.
struct Origin {
  Node* node;
  PyObject* source;
  bool lost;  // NumPy computed it from recorded tensors: it should have a graph

  Tape* tape() const { return node && node->kind == Node::Kind::Tape ? static_cast<Tape*>(node) : nullptr; }
};

extern PyTypeObject* tensor_type;
extern std::ptrdiff_t origin_offset;

extern PyTypeObject* array_type;  // NumPy's own

inline bool is_tensor(py::handle object) { return Py_TYPE(object.ptr()) == tensor_type; }
inline bool is_plain_array(py::handle object) { return Py_TYPE(object.ptr()) == array_type; }
inline Origin& origin(py::handle tensor) {
  return *reinterpret_cast<Origin*>(reinterpret_cast<char*>(tensor.ptr()) + origin_offset);
}

// A tensor of the values at `data`, which belong to its node. `source` may be null.
template <class T>
py::object recorded_tensor(std::unique_ptr<Node> node, T* data, std::span<const py::ssize_t> shape, py::handle source,
                           bool writable) {
  py::object tensor = new_array<T>(shape, tensor_type, data, writable);
  origin(tensor) = {node.release(), source.inc_ref().ptr(), false};
  return tensor;
}

// The gradient that backward() starts from at a tensor: the given one, or, for a single value without one, 1.
py::object output_gradient(const py::object& tensor, py::handle given);

// Whether calls of models and losses are recorded in this thread: not under no_grad(), ours or torch's.
bool recording();

// A parameter or such, which models and losses take as the recorded tensor that its clone() is; else null.
py::object tensor_of_other(py::handle value);
inline py::object tensor_of_variable(py::handle value) {
  return is_tensor(value) || is_plain_array(value) ? py::object() : tensor_of_other(value);
}

// Whether these values come from a recorded tensor, but not its graph.
bool is_lost(py::handle values);
// Warns where they do; `name` is the argument's. Throws where warnings are errors.
void warn_if_lost(py::handle values, const char* name);

}  // namespace fastmlp::bindings
