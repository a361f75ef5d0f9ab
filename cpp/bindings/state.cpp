#include "bindings/state.h"

#include "bindings/array_args.h"

namespace fastmlp::bindings {

py::dict dict_of(const State& state) {
  py::dict values;
  for (const auto& [name, value] : state.entries())
    values[name.c_str()] = std::visit(
        []<class V>(const V& v) -> py::object {
          if constexpr (std::is_arithmetic_v<V>)
            return py::cast(v);
          else
            return py::array(static_cast<py::ssize_t>(v.size()), v.data());
        },
        value);
  return values;
}

State state_of(const py::dict& values, const char* owner) {
  State state(owner);
  for (const auto& [key, value] : values) {
    const auto name = key.cast<std::string>();
    const py::array array = real_array(value, (std::string(owner) + ": " + name).c_str());
    const bool whole = array.dtype().kind() != 'f';
    const auto copy = [&]<class V>(V) {
      const auto numbers = contiguous<V>(array);
      if (array.ndim() == 0) {
        using Number = std::conditional_t<std::is_same_v<V, Index>, Index, double>;
        return state.add(name, static_cast<Number>(*numbers.data()));
      }
      state.add(name, std::vector<V>(numbers.data(), numbers.data() + numbers.size()));
    };
    if (whole)
      copy(Index{});
    else if (array.itemsize() == sizeof(float))
      copy(float{});
    else
      copy(double{});
  }
  return state;
}

}  // namespace fastmlp::bindings
