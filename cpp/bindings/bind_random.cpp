// Numbers of the counter-based generator.
#include "bindings/array_args.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "core/rng.h"
#include "core/shuffle.h"

#include <cmath>

namespace fastmlp::bindings {

namespace {

// Fills a writable C-contiguous array of either dtype with value(n), n its flat index.
template <class Value>
void fill(const py::array& out, const Value& value) {
  const auto shape = shape_of(out);
  const auto run = [&](auto* data) {
    using T = std::remove_pointer_t<decltype(data)>;
    const Index size = out.size();
    const WithoutGil release;
    for (Index n = 0; n < size; ++n) data[n] = static_cast<T>(value(static_cast<std::uint64_t>(n)));
  };
  if (py::isinstance<py::array_t<float>>(out))
    run(output_arg<float>(out, "out", shape));
  else
    run(output_arg<double>(out, "out", shape));
}

}  // namespace

void bind_random(py::module_& m) {
  m.def(
      "shuffled_rows",
      [](Index rows, std::uint64_t seed, std::uint64_t epoch) {
        py::array_t<Index> ids(rows);
        const std::span<Index> order(ids.mutable_data(), static_cast<std::size_t>(rows));
        const WithoutGil release;
        shuffle(order, {seed, stream(StreamUse::Shuffle, epoch)});
        return ids;
      },
      py::arg("rows"), py::arg("seed"), py::arg("epoch"));
  m.def(
      "fill_uniform",
      [](const py::array& out, double low, double high, std::uint64_t seed, std::uint64_t number) {
        const Philox random(seed, stream(StreamUse::Values, number));
        // The width may be beyond the range, that of half as many is not.
        const double scale = std::isinf(high - low) ? 0.5 : 1, width = high * scale - low * scale;
        fill(out, [&](std::uint64_t n) { return (low * scale + width * random.uniform(n)) / scale; });
      },
      py::arg("out"), py::arg("low"), py::arg("high"), py::arg("seed"), py::arg("stream"));
  m.def(
      "fill_normal",
      [](const py::array& out, double mean, double std, std::uint64_t seed, std::uint64_t number) {
        const Philox random(seed, stream(StreamUse::Values, number));
        fill(out, [&](std::uint64_t n) { return mean + std * random.normal(n); });
      },
      py::arg("out"), py::arg("mean"), py::arg("std"), py::arg("seed"), py::arg("stream"));
}

}  // namespace fastmlp::bindings
