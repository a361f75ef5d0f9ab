// THE MAIN IDEA: a tensor is a NumPy array with two more fields, which say how it came about. A native subclass of
// ndarray, so that a model or a loss makes its result in one allocation and one call.
//
//   loss tensor --source--> output tensor --source--> tracked input, or null
//   node: LossNode          node: Tape                node: Leaf (or the Tape of another model)
//
// Each tensor owns its node, in which its numbers lie, too, and holds its source. So the graph is a short list, which
// ends with its last tensor.
#pragma once

#include <memory>
#include <span>

#include "bindings/array_args.h"
#include "bindings/loss_handle.h"

namespace fastmlp::bindings {

struct Node {
  enum class Kind { Leaf, Tape, Loss };

  explicit Node(Kind kind) : kind(kind) {}
  virtual ~Node() = default;

  const Kind kind;
};

// A tracked input: collects its gradient.
struct Leaf final : Node {
  Leaf() : Node(Kind::Leaf) {}

  py::object grad = py::none();
};

// A loss of a model's output; the output's tape does the work, and outlives this.
class LossNode : public Node {
 public:
  LossNode() : Node(Kind::Loss) {}
  // gradient: null or None, or the gradient of `tensor`, what this is the node of, where that has several values.
  virtual py::object backward(py::handle tensor, py::handle gradient, bool input_gradient) = 0;
};

// What one forward pass saved for its backward pass. `backward` returns the gradient of the input, or null.
class Tape : public Node {
 public:
  Tape() : Node(Kind::Tape) {}
  // Tensors of a loss of `output`, which is this pass's: of ours, or of one whose value and gradient are known.
  virtual py::object loss(const LossHandle& loss, py::handle target, py::handle sample_weight, py::handle output) = 0;
  virtual py::object loss(double value, py::handle gradient, py::handle output) = 0;
  virtual py::object backward(py::handle grad_output, bool input_gradient) = 0;
};

// In every tensor; zeros say that it has no graph.
struct Origin {
  Node* node;
  PyObject* source;

  Tape* tape() const { return node && node->kind == Node::Kind::Tape ? static_cast<Tape*>(node) : nullptr; }
};

extern PyTypeObject* tensor_type;
extern std::ptrdiff_t origin_offset;

inline bool is_tensor(py::handle object) { return Py_TYPE(object.ptr()) == tensor_type; }
inline Origin& origin(py::handle tensor) {
  return *reinterpret_cast<Origin*>(reinterpret_cast<char*>(tensor.ptr()) + origin_offset);
}

// A tensor of the values at `data`, which belong to its node. `source` may be null.
template <class T>
py::object recorded_tensor(std::unique_ptr<Node> node, T* data, std::span<const py::ssize_t> shape, py::handle source,
                           bool writable) {
  py::object tensor = new_array<T>(shape, tensor_type, data, writable);
  origin(tensor) = {node.release(), source.inc_ref().ptr()};
  return tensor;
}

// The gradient that backward() starts from at a tensor: the given one, or, for a single value without one, 1.
py::object output_gradient(const py::object& tensor, py::handle given);

// Whether calls of models and losses are recorded in this thread: not under no_grad().
bool recording();

}  // namespace fastmlp::bindings
