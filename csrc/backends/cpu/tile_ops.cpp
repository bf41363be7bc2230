#include "backends/cpu/tile_ops.h"

#include <string.h>

#include "backends/cpu/table.h"
#include "kernels/scalar_ops.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {
namespace {

// `ivdep`: an output tile is an argument's tile or apart from it, never shifted against it.
template <typename Op, typename T>
void unary_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  typedef decltype(Op::apply(T(), *faults)) Result;
  Result* to = static_cast<Result*>(out);
  const T* x = static_cast<const T*>(args[0]);
  uint32_t found = 0;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = Op::apply(x[i], found);
  *faults |= found;
}

// For functions that take vectors: several at a time, because one is a long chain of operations.
template <typename Op, typename T, int64_t ABREAST>
void vector_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  constexpr int64_t width = ABREAST * kLanes<T>;
  T* to = static_cast<T*>(out);
  const T* x = static_cast<const T*>(args[0]);
  T rest[width];
  for (int64_t i = 0; i < n; i += width) {
    const int64_t count = n - i < width ? n - i : width;
    if (count < width) {
      for (T& each : rest) each = T();
      memcpy(rest, x + i, static_cast<size_t>(count) * sizeof(T));
    }
    const T* from = count < width ? rest : x + i;
    Vector<T> y[ABREAST];
#pragma GCC unroll 4
    for (int64_t j = 0; j < ABREAST; ++j) y[j] = Op::apply(load(from + j * kLanes<T>), *faults);
    T* target = count < width ? rest : to + i;
#pragma GCC unroll 4
    for (int64_t j = 0; j < ABREAST; ++j) store(target + j * kLanes<T>, y[j]);
    if (count < width) memcpy(to + i, rest, static_cast<size_t>(count) * sizeof(T));
  }
}

// For float32 functions that hold up to kLargestAngle only. Whether an element takes the slow way depends on it alone.
template <typename Op>
void angle_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  float* to = static_cast<float*>(out);
  const float* x = static_cast<const float*>(args[0]);
  uint32_t beyond = 0;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) beyond |= math::absolute(x[i]) > math::kLargestAngle ? 1u : 0u;
  if (beyond == 0) {
    unary_tile<Op, float>(out, args, n, faults);
    return;
  }
  for (int64_t i = 0; i < n; ++i)
    to[i] = math::absolute(x[i]) > math::kLargestAngle ? Op::apply_beyond(x[i]) : Op::apply(x[i], *faults);
}

// float32 by way of float64: half as many lanes, several vectors at a time.
constexpr int64_t kWideAbreast = 4, kWideCount = kWideAbreast * kLanes<double>;
typedef float Narrow __attribute__((vector_size(sizeof(Vector<double>) / 2)));

Vector<double> load_wide(const float* from) {
  Narrow x;
  memcpy(&x, from, sizeof(x));
  return __builtin_convertvector(x, Vector<double>);
}

void store_narrow(float* to, Vector<double> y) {
  const Narrow x = __builtin_convertvector(y, Narrow);
  memcpy(to, &x, sizeof(x));
}

template <typename Op>
void wide_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  float* to = static_cast<float*>(out);
  const float* x = static_cast<const float*>(args[0]);
  int64_t i = 0;
  for (; i + kWideCount <= n; i += kWideCount) {
    Vector<double> y[kWideAbreast];
#pragma GCC unroll 4
    for (int64_t j = 0; j < kWideAbreast; ++j) y[j] = Op::wide(load_wide(x + i + j * kLanes<double>));
#pragma GCC unroll 4
    for (int64_t j = 0; j < kWideAbreast; ++j) store_narrow(to + i + j * kLanes<double>, y[j]);
  }
  for (; i < n; ++i) to[i] = Op::apply(x[i], *faults);
}

void power_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  float* to = static_cast<float*>(out);
  const float* a = static_cast<const float*>(args[0]);
  const float* b = static_cast<const float*>(args[1]);
  for (int64_t i = 0, count; i < n; i += count) {
    count = n - i < kWideCount ? n - i : kWideCount;
    uint32_t ordinary = 1;
    for (int64_t j = i; j < i + count; ++j) ordinary &= static_cast<uint32_t>(math::has_ordinary_power(a[j], b[j]));
    if (ordinary == 0 || count < kWideCount) {
      for (int64_t j = i; j < i + count; ++j) to[j] = ops::pow::apply(a[j], b[j], *faults);
      continue;
    }
    Vector<double> y[kWideAbreast];
#pragma GCC unroll 4
    for (int64_t j = 0; j < kWideAbreast; ++j) {
      const int64_t at = i + j * kLanes<double>;
      y[j] = math::ordinary_power(load_wide(a + at), load_wide(b + at));
    }
#pragma GCC unroll 4
    for (int64_t j = 0; j < kWideAbreast; ++j) store_narrow(to + i + j * kLanes<double>, y[j]);
  }
}

template <typename Op, typename T>
void binary_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  typedef decltype(Op::apply(T(), T(), *faults)) Result;
  Result* to = static_cast<Result*>(out);
  const T* a = static_cast<const T*>(args[0]);
  const T* b = static_cast<const T*>(args[1]);
  uint32_t found = 0;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = Op::apply(a[i], b[i], found);
  *faults |= found;
}

template <typename Op, typename T>
void ternary_tile(void* out, const void* const* args, int64_t n, uint32_t* faults) {
  T* to = static_cast<T*>(out);
  const T* a = static_cast<const T*>(args[0]);
  const T* b = static_cast<const T*>(args[1]);
  const T* c = static_cast<const T*>(args[2]);
  uint32_t found = 0;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = Op::apply(a[i], b[i], c[i], found);
  *faults |= found;
}

template <typename T>
void where_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  T* to = static_cast<T*>(out);
  const uint8_t* condition = static_cast<const uint8_t*>(args[0]);
  const T* a = static_cast<const T*>(args[1]);
  const T* b = static_cast<const T*>(args[2]);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const T x = a[i], y = b[i];
    to[i] = condition[i] != 0 ? x : y;
  }
}

template <typename Op, typename T, int kArgs>
constexpr TileOp loop_of() {
  if constexpr (kArgs == 1) {
    return unary_tile<Op, T>;
  } else if constexpr (kArgs == 2) {
    return binary_tile<Op, T>;
  } else {
    return ternary_tile<Op, T>;
  }
}

#define PF_INTEGER_LOOPS(op, nargs) \
  loop_of<op, int32_t, nargs>(), loop_of<op, int64_t, nargs>(), loop_of<op, uint64_t, nargs>()
#define PF_FLOAT_LOOPS(op, nargs) loop_of<op, float, nargs>(), loop_of<op, double, nargs>()
#define PF_LOOPS_FLOATS(op, nargs) nullptr, nullptr, nullptr, nullptr, PF_FLOAT_LOOPS(op, nargs)
#define PF_LOOPS_NUMS(op, nargs) nullptr, PF_INTEGER_LOOPS(op, nargs), PF_FLOAT_LOOPS(op, nargs)
#define PF_LOOPS_ANY(op, nargs) loop_of<op, uint8_t, nargs>(), PF_INTEGER_LOOPS(op, nargs), PF_FLOAT_LOOPS(op, nargs)
#define PF_LOOPS_INTS(op, nargs) nullptr, PF_INTEGER_LOOPS(op, nargs), nullptr, nullptr
#define PF_LOOPS_BITS(op, nargs) loop_of<op, uint8_t, nargs>(), PF_INTEGER_LOOPS(op, nargs), nullptr, nullptr
#define PF_RETURNS_SAME 0
#define PF_RETURNS_BOOL 1
// Nanoseconds per element; most functions of floats alone are transcendental.
#define PF_COST_FLOATS 1.0
#define PF_COST_NUMS 0.15
#define PF_COST_ANY 0.15
#define PF_COST_INTS 0.15
#define PF_COST_BITS 0.15

// Specialised: sin and cos of float32.
template <>
constexpr TileOp loop_of<ops::sin, float, 1>() {
  return angle_tile<ops::sin>;
}
template <>
constexpr TileOp loop_of<ops::cos, float, 1>() {
  return angle_tile<ops::cos>;
}

template <>
constexpr TileOp loop_of<ops::pow, float, 2>() {
  return power_tile;
}

#define PF_WIDE_LOOP(op)                          \
  template <>                                     \
  constexpr TileOp loop_of<ops::op, float, 1>() { \
    return wide_tile<ops::op>;                    \
  }
PF_WIDE_LOOP(sinh)
PF_WIDE_LOOP(cosh)
PF_WIDE_LOOP(exp2)
PF_WIDE_LOOP(log2)
PF_WIDE_LOOP(log10)
PF_WIDE_LOOP(cbrt)
#undef PF_WIDE_LOOP

#define PF_VECTOR_LOOP(op, type, abreast)        \
  template <>                                    \
  constexpr TileOp loop_of<ops::op, type, 1>() { \
    return vector_tile<ops::op, type, abreast>;  \
  }
PF_VECTOR_LOOP(exp, float, 4)
PF_VECTOR_LOOP(expm1, float, 4)
PF_VECTOR_LOOP(log, float, 4)
PF_VECTOR_LOOP(log1p, float, 4)
PF_VECTOR_LOOP(tanh, float, 4)
PF_VECTOR_LOOP(erf, float, 4)
PF_VECTOR_LOOP(sigmoid, float, 4)
PF_VECTOR_LOOP(softplus, float, 4)
PF_VECTOR_LOOP(gelu, float, 2)
PF_VECTOR_LOOP(gelu_tanh, float, 4)
PF_VECTOR_LOOP(silu, float, 4)
PF_VECTOR_LOOP(exp, double, 4)
PF_VECTOR_LOOP(log, double, 4)
PF_VECTOR_LOOP(sigmoid, double, 4)
PF_VECTOR_LOOP(gelu_tanh, double, 4)
PF_VECTOR_LOOP(silu, double, 4)
#undef PF_VECTOR_LOOP

constexpr TileOpRow kRows[] = {
#define SCALAR(name, nargs, result, dtypes) \
  {#name, nargs, PF_RETURNS_##result, {PF_LOOPS_##dtypes(ops::name, nargs)}, PF_COST_##dtypes},
#include "kernels/scalar_ops.def"
#undef SCALAR
};
constexpr int32_t kRowCount = sizeof(kRows) / sizeof(kRows[0]);

constexpr ScalarOp kScalarOps[] = {
#define SCALAR(name, nargs, result, dtypes) {#name, nargs, PF_BITS_##dtypes},
#define PF_BITS_FLOATS (1u << PF_DTYPE_float32 | 1u << PF_DTYPE_float64)
#define PF_BITS_INTS (1u << PF_DTYPE_int32 | 1u << PF_DTYPE_int64 | 1u << PF_DTYPE_uint64)
#define PF_BITS_NUMS (PF_BITS_FLOATS | PF_BITS_INTS)
#define PF_BITS_ANY (PF_BITS_NUMS | 1u << PF_DTYPE_bool)
#define PF_BITS_EVERY ((1u << PF_DTYPE_COUNT) - 1u)
#define PF_BITS_REAL (PF_BITS_EVERY & ~(1u << PF_DTYPE_complex64 | 1u << PF_DTYPE_complex128))
#define PF_BITS_BITS (PF_BITS_INTS | 1u << PF_DTYPE_bool)
#include "kernels/scalar_ops.def"
#undef SCALAR
    {"where", 3, PF_BITS_EVERY},
    {"const", 0, PF_BITS_EVERY},
    {"cast", 1, PF_BITS_REAL},
    {"cast_saturated", 1, PF_BITS_REAL},
};

}  // namespace

const TileOpRow* tile_op_rows(int32_t* count) {
  *count = kRowCount;
  return kRows;
}

const TileOpRow* find_tile_op(const char* name) {
  for (const TileOpRow& row : kRows)
    if (strcmp(row.name, name) == 0) return &row;
  return nullptr;
}

TileOp find_where(int64_t bytes) {
  switch (bytes) {
    case 1:
      return where_tile<uint8_t>;
    case 2:
      return where_tile<uint16_t>;
    case 4:
      return where_tile<uint32_t>;
    case 8:
      return where_tile<uint64_t>;
    case 16:
      return where_tile<Bytes16>;
  }
  return nullptr;
}

const ScalarOp* scalar_op_rows(int32_t* count) {
  *count = sizeof(kScalarOps) / sizeof(kScalarOps[0]);
  return kScalarOps;
}

}  // namespace PF_ISA
}  // namespace pf
