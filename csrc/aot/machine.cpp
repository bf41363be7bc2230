// The machine, the element types, and the arithmetic of sizes.
#include <cpuid.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aot/state.h"

namespace pf {
namespace aot {

namespace {

struct Cpu {
  uint32_t a, b, c, d;
};

Cpu cpuid(uint32_t leaf, uint32_t sub) {
  Cpu cpu{0, 0, 0, 0};
  __cpuid_count(leaf, sub, cpu.a, cpu.b, cpu.c, cpu.d);
  return cpu;
}

// What the operating system saves of the vector registers.
uint32_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

constexpr uint32_t kBaseline = bit_SSE3 | bit_SSSE3 | bit_CMPXCHG16B | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT;
constexpr uint32_t kAvx2 = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C;
constexpr uint32_t kAvx2Leaf7 = bit_BMI | bit_AVX2 | bit_BMI2;
constexpr uint32_t kAvx512Leaf7 = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
constexpr uint32_t kYmm = 0x6, kZmm = 0xe6;

bool has(uint32_t word, uint32_t bits) {
  return (word & bits) == bits;
}

}  // namespace

int32_t best_isa() {
  const uint32_t last = cpuid(0, 0).a, last_extended = cpuid(0x80000000u, 0).a;
  if (last < 1 || last_extended < 0x80000001u) return -1;
  const Cpu one = cpuid(1, 0), extended = cpuid(0x80000001u, 0);
  if (!has(one.c, kBaseline) || !has(extended.c, bit_LAHF_LM)) return -1;
  if (last < 7 || !has(one.c, kAvx2) || !has(extended.c, bit_ABM)) return 0;
  const uint32_t leaf7 = cpuid(7, 0).b, saved = saved_registers();
  if (!has(leaf7, kAvx2Leaf7) || !has(saved, kYmm)) return 0;
  return has(leaf7, kAvx512Leaf7) && has(saved, kZmm) ? 2 : 1;
}

const char* isa_name(int32_t isa) {
  constexpr const char* kNames[kIsas] = {"portable", "avx2", "avx512"};
  return isa >= 0 && isa < kIsas ? kNames[isa] : "unknown";
}

const pf_kernel* find_kernel(const Kernel& kernel, int32_t isa) {
  if (kernel.families[isa] == nullptr) return nullptr;
  int32_t count = 0;
  const pf_kernel* rows = kernel.families[isa](&count);
  for (int32_t index = 0; index < count; ++index)
    if (strcmp(rows[index].name, kernel.name) == 0) return rows + index;
  return nullptr;
}

int64_t dtype_bytes(int32_t dtype) {
  switch (dtype) {
#define PF_ROW(name, code, bits) \
  case code:                     \
    return (bits) < 8 ? 1 : (bits) / 8;
    PF_DTYPES(PF_ROW)
#undef PF_ROW
    default:
      return 1;
  }
}

const char* dtype_name(int32_t dtype) {
  switch (dtype) {
#define PF_ROW(name, code, bits) \
  case code:                     \
    return #name;
    PF_DTYPES(PF_ROW)
#undef PF_ROW
    default:
      return "unknown";
  }
}

pf_code fail(const Report& report, pf_code code, const char* format, ...) {
  if (report.code != nullptr) *report.code = code;
  if (report.message != nullptr) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report.message, report.size, format, arguments);
    va_end(arguments);
  }
  return code;
}

int64_t add(int64_t a, int64_t b) {
  int64_t result;
  return a == kNoSize || b == kNoSize || __builtin_add_overflow(a, b, &result) ? kNoSize : result;
}

int64_t mul(int64_t a, int64_t b) {
  int64_t result;
  return a == kNoSize || b == kNoSize || __builtin_mul_overflow(a, b, &result) ? kNoSize : result;
}

int64_t floordiv(int64_t a, int64_t b) {
  if (a == kNoSize || b == kNoSize || b == 0) return kNoSize;
  if (b == -1) return -a;
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
}

int64_t mod(int64_t a, int64_t b) {
  if (a == kNoSize || b == kNoSize || b == 0) return kNoSize;
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

int64_t max(int64_t a, int64_t b) {
  if (a == kNoSize || b == kNoSize) return kNoSize;
  return a > b ? a : b;
}

int64_t min(int64_t a, int64_t b) {
  return a < b ? a : b;
}

int64_t broadcast(int64_t a, int64_t b) {
  if (a == kNoSize || b == kNoSize) return kNoSize;
  if (a == 1) return b;
  return a == b || b == 1 ? a : kNoSize;
}

int64_t unless_one(int64_t a, int64_t b) {
  if (a == kNoSize || b == kNoSize) return kNoSize;
  return a == 1 ? 0 : b;
}

}  // namespace aot
}  // namespace pf
