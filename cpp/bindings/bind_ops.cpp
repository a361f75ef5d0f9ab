// The kernels themselves, one call each. Here a weight is in x out.
#include "bindings/array_args.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "core/buffer.h"
#include "core/thread_pool.h"

namespace fastmlp::bindings {

namespace {

// Float64 if any of the arrays is, else float32.
std::string common_dtype(std::initializer_list<py::handle> objects, const char* const* names) {
  for (const py::handle& object : objects) {
    const char* name = *names++;
    if (object.is_none()) continue;
    const py::array array = real_array(object, name);
    if (array.dtype().kind() == 'f' && array.itemsize() == sizeof(double)) return "float64";
  }
  return "float32";
}

constexpr const char* kNames[] = {"x", "weight", "bias", "grad_output"};

// Threads and scratch memory for one call.
template <class T>
struct CallContext {
  Executor executor = thread_pool_executor();
  Buffer<unsigned char> scratch{static_cast<std::size_t>(executor.workers) * active_backend<T>().scratch_bytes};
  Context context{executor, scratch.data()};
};

template <class T>
struct AffineArgs {
  Matrix<T> x;
  CArray<T> weight, bias;
  Index in, out;
  Activation activation;

  AffineArgs(const py::object& x_, const py::object& weight_, const py::object& bias_, const std::string& name,
             double alpha, double beta)
      : activation{kind_named<ActivationKind>(kActivationNames, name, "activation"), alpha, beta} {
    const py::array w = real_array(weight_, "weight");
    if (w.ndim() != 2 || w.size() == 0) throw py::value_error("weight: expected shape (in, out), got " + shape_text(w));
    in = w.shape(0);
    out = w.shape(1);
    weight = contiguous<T>(w);
    x = matrix_arg<T>(x_, "x", in, "weight");
    if (!bias_.is_none()) bias = shaped_arg<T>(bias_, "bias", BatchShape(true, 1, out));
  }

  void forward(T* y, T* z, const Context& context) const {
    active_backend<T>().affine_forward({x.rows, out, in, x.data(), in, weight.data(),
                                        bias.size() == out ? bias.data() : nullptr, activation, y, out, z},
                                       context);
  }
};

py::object affine_forward(const py::object& x, const py::object& weight, const py::object& bias,
                          const std::string& activation, double alpha, double beta) {
  return with_dtype(common_dtype({x, weight, bias}, kNames), [&](auto zero) -> py::object {
    using T = decltype(zero);
    const AffineArgs<T> args(x, weight, bias, activation, alpha, beta);
    py::object y = new_array<T>(args.x.shape(args.out));
    T* out = data_of<T>(y);
    const WithoutGil release;
    args.forward(out, nullptr, CallContext<T>().context);
    return y;
  });
}

py::tuple affine_backward(const py::object& grad_output, const py::object& x, const py::object& weight,
                          const py::object& bias, const std::string& activation, double alpha, double beta) {
  return with_dtype(common_dtype({x, weight, bias, grad_output}, kNames), [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const AffineArgs<T> args(x, weight, bias, activation, alpha, beta);
    const CArray<T> dy = shaped_arg<T>(grad_output, "grad_output", args.x.shape(args.out));
    const py::object dx = new_array<T>(args.x.shape(args.in)), db = new_array<T>(BatchShape(true, 1, args.out)),
                     dw = new_array<T>(BatchShape(false, args.in, args.out));
    T *dx_data = data_of<T>(dx), *dw_data = data_of<T>(dw), *db_data = data_of<T>(db);
    {
      const WithoutGil release;
      const Backend<T>& kernels = active_backend<T>();
      const CallContext<T> call;
      const Index rows = args.x.rows;
      Buffer<T> memory(static_cast<std::size_t>(3 * rows * args.out));
      T *y = memory.data(), *z = y + rows * args.out, *dz = z + rows * args.out;
      args.forward(y, z, call.context);
      const T* saved = saves_input(args.activation.kind) ? z : y;
      kernels.activation_backward(args.activation, rows * args.out, dy.data(), saved, dz, call.context);
      kernels.affine_backward_input(
          {rows, args.out, args.in, dz, args.out, args.weight.data(), {}, nullptr, dx_data, args.in}, call.context);
      AffineBackwardWeight<T> weight_args{rows, args.out, args.in, args.x.data(), args.in, dz, args.out, {}, {}};
      weight_args.weight.grad = dw_data;
      weight_args.bias.grad = db_data;
      kernels.affine_backward_weight(weight_args, call.context);
    }
    return py::make_tuple(dx, dw, db);
  });
}

// One optimizer step on a plain array, in place.
void update(const std::string& kind, const py::array& param, const py::object& grad,
            const std::vector<py::array>& state, Index step, const std::map<std::string, double>& values) {
  const auto optimizer = kind_named<OptimizerKind>(kOptimizerNames, kind, "kind");
  OptimizerOptions options;
  for (const auto& [name, value] : values) options.set(name, value);
  if (step < 1) throw py::value_error("step: expected a number of at least 1, got " + std::to_string(step));
  if (state.size() > 3) throw py::value_error("state: expected at most 3 arrays, got " + std::to_string(state.size()));
  with_dtype(py::isinstance<py::array_t<float>>(param) ? "float32" : "float64", [&](auto zero) {
    using T = decltype(zero);
    const auto shape = shape_of(param);
    UpdateTarget<T> target;
    target.value = output_arg<T>(param, "param", shape);
    const CArray<T> g = shaped_arg<T>(grad, "grad", shape);
    for (std::size_t s = 0; s < state.size(); ++s) target.state[s] = output_arg<T>(state[s], "state", shape);
    const Index size = param.size();
    const WithoutGil release;
    active_backend<T>().update(make_update(optimizer, options, step), size, target, g.data(),
                               {thread_pool_executor(), nullptr});
  });
}

}  // namespace

void bind_ops(py::module_& m) {
  m.def("affine_forward", affine_forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("activation"),
        py::arg("alpha"), py::arg("beta"));
  m.def("affine_backward", affine_backward, py::arg("grad_output"), py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("activation"), py::arg("alpha"), py::arg("beta"));
  m.def("update", update, py::arg("kind"), py::arg("param"), py::arg("grad"), py::arg("state"), py::arg("step"),
        py::arg("options"));
}

}  // namespace fastmlp::bindings
