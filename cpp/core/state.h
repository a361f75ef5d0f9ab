// What a stateful class remembers, as named numbers and arrays: pickle, state dicts and files carry nothing else.
#pragma once

#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/types.h"

namespace fastmlp {

class State {
 public:
  using Value = std::variant<Index, double, std::vector<Index>, std::vector<float>, std::vector<double>>;

  // `owner`: whose state it is, for messages.
  explicit State(std::string owner = "state") : owner_(std::move(owner)) {}

  void add(std::string name, Value value) { entries_.emplace_back(std::move(name), std::move(value)); }
  const std::vector<std::pair<std::string, Value>>& entries() const { return entries_; }
  bool has(const std::string& name) const { return find(name) != nullptr; }

  // The value of this name: Index, double, or a vector of numbers. Other types of number are converted.
  // Throws std::invalid_argument where there is none, or where it is no such value.
  template <class V>
  V get(const std::string& name) const {
    const Value* value = find(name);
    if (!value) throw std::invalid_argument(owner_ + ": expected '" + name + "', got none");
    return std::visit(
        [&](const auto& from) {
          using From = std::remove_cvref_t<decltype(from)>;
          if constexpr (std::is_same_v<From, V>)
            return from;
          else if constexpr (std::is_arithmetic_v<From> && std::is_arithmetic_v<V>)
            return number<V>(from, name);
          else if constexpr (!std::is_arithmetic_v<From> && !std::is_arithmetic_v<V>)
            return array<V>(from, name);
          else
            return refuse<V>(name);
        },
        *value);
  }

 private:
  const Value* find(const std::string& name) const {
    for (const auto& [key, value] : entries_)
      if (key == name) return &value;
    return nullptr;
  }
  template <class V, class From>
  V number(From from, const std::string& name) const {
    constexpr double kWhole = 0x1p62;
    const auto wide = static_cast<double>(from);
    if constexpr (std::is_same_v<V, Index>)
      if (!(wide > -kWhole && wide < kWhole) || static_cast<double>(static_cast<Index>(from)) != wide)
        throw std::invalid_argument(owner_ + ": '" + name + "': expected a whole number, got " + std::to_string(from));
    return static_cast<V>(from);
  }
  template <class V, class From>
  V array(const From& from, const std::string& name) const {
    V to;
    to.reserve(from.size());
    for (const auto value : from) to.push_back(number<typename V::value_type>(value, name));
    return to;
  }
  template <class V>
  V refuse(const std::string& name) const {
    throw std::invalid_argument(owner_ + ": '" + name + "': expected " +
                                (std::is_arithmetic_v<V> ? "a number, got an array" : "an array, got a number"));
  }

  std::string owner_;
  std::vector<std::pair<std::string, Value>> entries_;
};

}  // namespace fastmlp
