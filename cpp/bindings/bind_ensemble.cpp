// Predictions of many networks at once.
#include "bindings/cpython.h"
#include "bindings/network_of.h"
#include "core/ensemble.h"

namespace fastmlp::bindings {

namespace {

class EnsembleHandle {
 public:
  virtual ~EnsembleHandle() = default;
  virtual py::tuple moments(py::handle x, bool deviation) const = 0;
  virtual py::object outputs(py::handle x) const = 0;
};

template <class T>
class EnsembleOf final : public EnsembleHandle {
 public:
  explicit EnsembleOf(typename Ensemble<T>::Members members) : ensemble_(std::move(members)) {}

  py::tuple moments(py::handle object, bool deviation) const override {
    const Matrix<T> x = input(object);
    const BatchShape shape = x.shape(ensemble_.out_columns(x.columns));
    py::object mean = new_array<T>(shape), spread = deviation ? new_array<T>(shape) : py::object(py::none());
    compute([&] {
      ensemble_.moments(x.data(), x.rows, x.columns, data_of<T>(mean), deviation ? data_of<T>(spread) : nullptr);
    });
    return py::make_tuple(mean, spread);
  }

  py::object outputs(py::handle object) const override {
    const Matrix<T> x = input(object);
    const Index out = ensemble_.out_columns(x.columns), count = static_cast<Index>(ensemble_.members().size());
    const py::ssize_t shape[3] = {count, x.one_row ? out : x.rows, out};
    py::object y = new_array<T>({shape, x.one_row ? 2u : 3u});
    compute([&] { ensemble_.outputs(x.data(), x.rows, x.columns, data_of<T>(y)); });
    return y;
  }

 private:
  Matrix<T> input(py::handle x) const { return matrix_arg<T>(x, "x", ensemble_.in_features(), "each of the models"); }
  // Meanwhile the parameters stay where they are.
  template <class Body>
  void compute(const Body& body) const {
    const ReadsMany reads;
    const WithoutGil released;
    body();
  }

  const Ensemble<T> ensemble_;
};

// The networks, if they are of this dtype.
template <class T>
std::unique_ptr<EnsembleHandle> make(const std::vector<py::object>& networks) {
  typename Ensemble<T>::Members members;
  for (const py::object& object : networks) {
    auto* network = dynamic_cast<NetworkOf<T>*>(&held_by<NetworkHandle>(object, "networks"));
    if (!network) return nullptr;
    members.push_back(network->network());
  }
  return std::make_unique<EnsembleOf<T>>(std::move(members));
}

std::unique_ptr<EnsembleHandle> make_ensemble(const std::vector<py::object>& networks) {
  if (networks.empty()) throw py::value_error("networks: expected at least one, got none");
  if (auto made = make<float>(networks)) return made;
  if (auto made = make<double>(networks)) return made;
  throw py::type_error("networks: expected all of one dtype, got float32 and float64");
}

}  // namespace

void bind_ensemble(py::module_& m) {
  py::class_<EnsembleHandle>(m, "Ensemble", py::is_final())
      .def("__reduce__", [](py::handle self) { refuse_pickle(self); })
      .def(py::init(&make_ensemble), py::arg("networks"))
      .def(
          "moments",
          [](py::handle self, py::handle x, bool deviation) {
            return held_by<EnsembleHandle>(self, "self").moments(x, deviation);
          },
          py::arg("x"), py::arg("deviation"))
      .def(
          "outputs", [](py::handle self, py::handle x) { return held_by<EnsembleHandle>(self, "self").outputs(x); },
          py::arg("x"));
}

}  // namespace fastmlp::bindings
