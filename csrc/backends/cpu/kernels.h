// How a kernel family shows its kernels. Every family file is compiled once per ISA with -DPF_ISA=portable, avx2 or
// avx512, lives in namespace pf::PF_ISA and defines `const pf_kernel* <family>_kernels(int32_t* count)`; a line in
// families.def names it. Files of this folder are freestanding: no allocation, exceptions, RTTI, std containers,
// function-local statics or constructors before main; what is not in the ISA's namespace is static. What needs no
// vectors and knows an ISA by numbers alone is in pf::plain: its files (setup.py) are compiled once, for the least ISA.
#ifndef PYFLOW_BACKENDS_CPU_KERNELS_H
#define PYFLOW_BACKENDS_CPU_KERNELS_H

#include <stdarg.h>
#include <stdio.h>

#include "pyflow/backend.h"

#ifndef PF_ISA
#error "compile with -DPF_ISA=portable, avx2 or avx512"
#endif

namespace pf {
namespace PF_ISA {

#define FAMILY(name) const pf_kernel* name##_kernels(int32_t* count);
#include "backends/cpu/families.def"
#undef FAMILY

// Fills `error` and returns `code`.
__attribute__((format(printf, 3, 4))) static inline pf_code fail(pf_error* error, pf_code code, const char* format,
                                                                 ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof(error->message), format, arguments);
  va_end(arguments);
  return code;
}

// For `supports`: writes the reason and returns 0.
__attribute__((format(printf, 3, 4))) static inline int32_t refuse(char* why, size_t why_size, const char* format,
                                                                   ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, why_size, format, arguments);
  va_end(arguments);
  return 0;
}

// A kernel's run function has one form for every dtype and one for float32 ONLY, in which all else is dropped when it
// is compiled: `is_dtype<ONLY>(dtype, PF_DTYPE_int64)` is then false without looking. PF_FLOAT32(name, ...) defines the
// row of the second form, which stands outside of the family's table: a generated library that computes in float32
// names it (pyflow/aot/kernels.py) and holds no code for other dtypes. It has no `supports`: its steps are those of a
// plan that was asked for.
constexpr int32_t kEveryDtype = -1;

template <int32_t ONLY>
constexpr bool is_dtype(int32_t dtype, int32_t wanted) {
  return ONLY == kEveryDtype ? dtype == wanted : ONLY == wanted;
}

#define PF_FLOAT32(name, ...) PF_FLOAT32_AS(name, name, __VA_ARGS__)
#define PF_FLOAT32_AS(row, name, ...)   \
  extern const pf_kernel row##_float32; \
  const pf_kernel row##_float32 = {#name, nullptr, __VA_ARGS__};

// Makes `partition` one phase of `tasks` tasks.
static inline pf_code one_phase(pf_partition* partition, int64_t tasks, double cost) {
  partition->phases = 1;
  partition->tasks[0] = tasks;
  partition->cost = cost;
  return PF_OK;
}

}  // namespace PF_ISA
}  // namespace pf

#endif
