// The machine, the element types, and the arithmetic of sizes.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aot/state.h"

namespace pf {
namespace aot {

int32_t best_isa(const Model& model) {
  for (int32_t isa = machine_isa(); isa >= 0; --isa) {
    bool whole = true;
    for (int32_t index = 0; index < model.nkernels; ++index) {
      const Kernel& kernel = model.kernels[index];
      whole &= kernel.rows[isa] != nullptr || kernel.families[isa] != nullptr;
    }
    if (whole) return isa;
  }
  return -1;
}

const char* isa_name(int32_t isa) {
  constexpr const char* kNames[kIsas] = {"portable", "avx2", "avx512"};
  return isa >= 0 && isa < kIsas ? kNames[isa] : "unknown";
}

const pf_kernel* find_kernel(const Kernel& kernel, int32_t isa) {
  if (kernel.families[isa] == nullptr) return kernel.rows[isa];
  int32_t count = 0;
  const pf_kernel* rows = kernel.families[isa](&count);
  for (int32_t index = 0; index < count; ++index)
    if (strcmp(rows[index].name, kernel.name) == 0) return rows + index;
  return nullptr;
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
