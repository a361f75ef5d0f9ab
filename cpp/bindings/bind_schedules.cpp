// Rates of schedules as arrays.
#include <pybind11/numpy.h>

#include "bindings/gil.h"
#include "bindings/handles.h"
#include "core/schedules.h"

namespace fastmlp::bindings {

namespace {

// A function of Python for one that fills a span: its last argument says how many rates there shall be.
template <class... Args>
auto as_array(void (*fill)(schedules::Rates, Args...)) {
  return [fill](Args... args, Index count) {
    py::array_t<double> rates(count);
    const schedules::Rates out(rates.mutable_data(), static_cast<std::size_t>(count));
    const WithoutGil release;
    fill(out, args...);
    return rates;
  };
}

}  // namespace

void bind_schedules(py::module_& m) {
  using namespace schedules;
  m.def("exponential_rates", as_array(exponential), py::arg("lr"), py::arg("gamma"), py::arg("count"));
  m.def("stepwise_rates", as_array(stepwise), py::arg("lr"), py::arg("gamma"), py::arg("size"), py::arg("first"),
        py::arg("count"));
  m.def("linear_rates", as_array(linear), py::arg("lr"), py::arg("start"), py::arg("end"), py::arg("total"),
        py::arg("first"), py::arg("count"));
  m.def("cosine_rates", as_array(cosine), py::arg("lr"), py::arg("base"), py::arg("least"), py::arg("period"),
        py::arg("first"), py::arg("count"));
  m.def("restart_rates", as_array(restarts), py::arg("base"), py::arg("least"), py::arg("first"), py::arg("period"),
        py::arg("factor"), py::arg("count"));
  m.def("annealing_heights", as_array(annealing_heights), py::arg("start"), py::arg("length"), py::arg("first"),
        py::arg("count"));
}

}  // namespace fastmlp::bindings
