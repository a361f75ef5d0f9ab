"""ONNX Runtime, for prediction: called with arrays, or with input and output bound beforehand."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from problems import Problem

ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def _model(problem: Problem) -> bytes:
    """Gemm and activation nodes of the network."""
    w = problem.workload
    nodes, initializers, last = [], [], "x"
    for i, (weight, bias) in enumerate(problem.weights):
        initializers += [numpy_helper.from_array(weight, f"w{i}")]
        initializers += [numpy_helper.from_array(bias, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"z{i}"]))
        last = f"z{i}"
        if i < len(problem.weights) - 1:
            nodes.append(helper.make_node(ACTIVATIONS[w.activation], [last], [f"a{i}"]))
            last = f"a{i}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [w.rows, width])
        for name, width in (("x", w.sizes[0]), (last, w.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], initializers)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Prediction:
    modes = ("arrays", "bound")

    def __init__(self, problem: Problem, threads: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            _model(problem), options, providers=["CPUExecutionProvider"]
        )
        output = self.session.get_outputs()[0].name
        self.names, self.feed = [output], {"x": problem.x}
        self.out = np.empty((problem.workload.rows, problem.workload.sizes[-1]), np.float32)
        self.bound_out = ort.OrtValue.ortvalue_from_numpy(self.out)
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(problem.x))
        self.binding.bind_ortvalue_output(output, self.bound_out)

    def reset(self, mode):
        self.bound = mode == "bound"

    def run(self, n):
        session = self.session
        if self.bound:
            for _ in range(n):
                session.run_with_iobinding(self.binding)
        else:
            for _ in range(n):
                session.run(self.names, self.feed)

    def result(self):
        if not self.bound:
            return self.session.run(self.names, self.feed)[0]
        self.session.run_with_iobinding(self.binding)
        return self.bound_out.numpy()


def build(problem: Problem, threads: int, name: str):
    return Prediction(problem, threads)
