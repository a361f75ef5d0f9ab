// Which instruction set runs: the best that the processor has, unless FASTMLP_ISA names another.
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "core/backend.h"
#include "cpu/processor.h"

namespace fastmlp {

namespace processor {

bool scalar() { return true; }
#if defined(__x86_64__)
bool avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool avx512() {
  return avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace processor

namespace scalar {
extern const Isa kIsa;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Isa kIsa;
}
namespace avx512 {
extern const Isa kIsa;
}
#endif

namespace {

// Best first.
const Isa* const kIsas[] = {
#if defined(__x86_64__)
    &avx512::kIsa,
    &avx2::kIsa,
#endif
    &scalar::kIsa,
};

const Isa& choose() {
  const char* wanted = std::getenv("FASTMLP_ISA");
  std::string names;
  for (const Isa* isa : kIsas) {
    if (wanted == nullptr || *wanted == '\0') {
      if (isa->supported()) return *isa;
    } else if (std::string(wanted) == isa->name) {
      if (isa->supported()) return *isa;
      throw std::invalid_argument(std::string("FASTMLP_ISA: this processor does not support '") + wanted + "'");
    }
    names += std::string(names.empty() ? "" : ", ") + isa->name;
  }
  throw std::invalid_argument(std::string("FASTMLP_ISA: expected one of ") + names + "; got '" + wanted + "'");
}

}  // namespace

const Isa& active_isa() {
  static const Isa& isa = choose();
  return isa;
}

const Isa* const* compiled_isas(int& count) {
  count = static_cast<int>(sizeof(kIsas) / sizeof(kIsas[0]));
  return kIsas;
}

template <>
const Backend<float>& active_backend<float>() {
  return *active_isa().f32;
}
template <>
const Backend<double>& active_backend<double>() {
  return *active_isa().f64;
}

}  // namespace fastmlp
