// Which instruction set runs: the best that the processor has, unless FASTMLP_ISA names another.
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "core/backend.h"
#include "cpu/bf16.h"
#include "cpu/processor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastmlp {

namespace processor {

bool scalar() { return true; }
#if defined(__x86_64__)

namespace {

enum Register { kEax, kEbx, kEcx, kEdx };

// A bit of what the processor tells of itself. The compilers' own functions for this are not in all of their libraries.
bool has(unsigned leaf, unsigned subleaf, Register name, int bit) {
  unsigned found[4] = {};
  if (!__get_cpuid_count(leaf, subleaf, &found[kEax], &found[kEbx], &found[kEcx], &found[kEdx])) return false;
  return (found[name] >> bit) & 1U;
}

// Whether the system keeps these registers of each thread.
bool system_keeps(unsigned registers) {
  if (!has(1, 0, kEcx, 27)) return false;  // no way to ask
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}

// Linux gives a process the tiles' registers when it asks for them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

bool avx2() {
  static const bool usable = has(7, 0, kEbx, 5) && has(1, 0, kEcx, 12) && system_keeps(0x6);  // with FMA; XMM and YMM
  return usable;
}
bool avx512() {
  // F, DQ, BW, VL; masks, and the registers that are longer and more than those of AVX2.
  static const bool usable = avx2() && has(7, 0, kEbx, 16) && has(7, 0, kEbx, 17) && has(7, 0, kEbx, 30) &&
                             has(7, 0, kEbx, 31) && system_keeps(0xe6);
  return usable;
}
bool avx512_bf16() {
  static const bool usable = avx512() && has(7, 1, kEax, 5);
  return usable;
}
bool amx() {
  static const bool usable = avx512() && has(7, 0, kEdx, 22) && has(7, 0, kEdx, 24) && may_use_tiles();
  return usable;
}
#endif
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace processor

namespace scalar {
extern const Isa kIsa;
extern const Bf16Products kBf16Products;
}  // namespace scalar
#if defined(__x86_64__)
namespace avx2 {
extern const Isa kIsa;
extern const Bf16Products kBf16Products;
}  // namespace avx2
namespace avx512 {
extern const Isa kIsa;
extern const Bf16Products kBf16Products;
}  // namespace avx512
namespace avx512_bf16 {
extern const Bf16Instructions kBf16;
}
namespace amx {
extern const Bf16Instructions kBf16;
}
#endif

namespace {

// Best first.
#if defined(__x86_64__)
// AMX has products in bfloat16 alone.
const Isa& amx_isa() {
  static const Isa isa = [] {
    Isa of_avx512 = avx512::kIsa;
    of_avx512.name = "amx";
    of_avx512.supported = processor::amx;
    return of_avx512;
  }();
  return isa;
}
const Isa* const kIsas[] = {&amx_isa(), &avx512::kIsa, &avx2::kIsa, &scalar::kIsa};
const Bf16 kBf16[] = {{&avx512::kBf16Products, &amx::kBf16},
                      {&avx512::kBf16Products, &avx512_bf16::kBf16},
                      {&avx512::kBf16Products, &avx512::kBf16Products.rounding},
                      {&avx2::kBf16Products, &avx2::kBf16Products.rounding},
                      {&scalar::kBf16Products, &scalar::kBf16Products.rounding}};
#else
const Isa* const kIsas[] = {&scalar::kIsa};
const Bf16 kBf16[] = {{&scalar::kBf16Products, &scalar::kBf16Products.rounding}};
#endif

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

const Bf16* compiled_bf16(int& count) {
  count = static_cast<int>(sizeof(kBf16) / sizeof(kBf16[0]));
  return kBf16;
}

const Bf16Instructions& bf16_in_use() {
  static const Bf16Instructions& instructions = []() -> const Bf16Instructions& {
#if defined(__x86_64__)
    const std::string isa = active_isa().name;
    if (isa == "amx") return amx::kBf16;
    if (isa == "avx512") return processor::avx512_bf16() ? avx512_bf16::kBf16 : avx512::kBf16Products.rounding;
    if (isa == "avx2") return avx2::kBf16Products.rounding;
#endif
    return scalar::kBf16Products.rounding;
  }();
  return instructions;
}

const char* bf16_instructions() { return bf16_in_use().name; }

template <>
const Backend<float>& active_backend<float>() {
  return *active_isa().f32;
}
template <>
const Backend<double>& active_backend<double>() {
  return *active_isa().f64;
}

}  // namespace fastmlp
