// What `supports` of a kernel asks of a step's operands.
#ifndef PYFLOW_BACKENDS_CPU_OPERANDS_H
#define PYFLOW_BACKENDS_CPU_OPERANDS_H

#include "backends/cpu/kernels.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {

// Sets of dtypes, one bit per code.
constexpr uint32_t dtype_bit(int32_t dtype) {
  return uint32_t{1} << dtype;
}
constexpr uint32_t kFloatDtypes = dtype_bit(PF_DTYPE_float32) | dtype_bit(PF_DTYPE_float64);
constexpr uint32_t kIntDtypes = dtype_bit(PF_DTYPE_int32) | dtype_bit(PF_DTYPE_int64);
constexpr uint32_t kBoolDtype = dtype_bit(PF_DTYPE_bool);
constexpr uint32_t kInt64Dtype = dtype_bit(PF_DTYPE_int64);
constexpr uint32_t kNumDtypes = kFloatDtypes | kIntDtypes;
constexpr uint32_t kAnyDtypes = kNumDtypes | kBoolDtype;
constexpr uint32_t kUint64Dtype = dtype_bit(PF_DTYPE_uint64);
// What sums and products take: of integers of 64 bits they are the same bits, signed or not.
constexpr uint32_t kSummedDtypes = kNumDtypes | kUint64Dtype;
// What is ordered.
constexpr uint32_t kOrderedDtypes = kAnyDtypes | kUint64Dtype;
constexpr uint32_t kAllDtypes = (uint32_t{1} << PF_DTYPE_COUNT) - 1;

// True if the step has these counts; else `why` is filled.
static inline bool takes(const pf_step* step, int32_t inputs, int32_t outputs, int32_t ints, int32_t floats, char* why,
                         size_t why_size) {
  if (step->ninputs == inputs && step->noutputs == outputs && step->nints == ints && step->nfloats == floats) {
    return true;
  }
  refuse(why, why_size, "%s takes %d inputs, %d outputs, %d ints and %d floats; got %d, %d, %d and %d", step->kernel,
         inputs, outputs, ints, floats, step->ninputs, step->noutputs, step->nints, step->nfloats);
  return false;
}

// True if the operand's dtype is in `set`; else `why` is filled.
static inline bool dtype_in(const pf_step* step, const pf_operand& operand, uint32_t set, char* why, size_t why_size) {
  if (operand.dtype >= 0 && operand.dtype < PF_DTYPE_COUNT && (dtype_bit(operand.dtype) & set) != 0) return true;
  refuse(why, why_size, "%s does not take %s here", step->kernel, dtype_name(operand.dtype));
  return false;
}

// True if the operands have one dtype; else `why` is filled.
static inline bool same_dtype(const pf_step* step, const pf_operand& a, const pf_operand& b, char* why,
                              size_t why_size) {
  if (a.dtype == b.dtype) return true;
  refuse(why, why_size, "%s takes operands of one dtype; got %s and %s", step->kernel, dtype_name(a.dtype),
         dtype_name(b.dtype));
  return false;
}

// True if the operands have one rank; else `why` is filled.
static inline bool same_rank(const pf_step* step, const pf_operand& a, const pf_operand& b, char* why,
                             size_t why_size) {
  if (a.ndim == b.ndim) return true;
  refuse(why, why_size, "%s takes operands of one rank; got %d and %d", step->kernel, a.ndim, b.ndim);
  return false;
}

// True if int attribute `index` is unknown yet or an axis of `ndim` dims (counted from the front); else `why` is
// filled.
static inline bool axis_in(const pf_step* step, int32_t index, int32_t ndim, char* why, size_t why_size) {
  const int64_t axis = step->ints[index];
  if (axis == PF_UNKNOWN || (axis >= 0 && axis < ndim)) return true;
  refuse(why, why_size, "%s: axis %lld is out of range for %d dims", step->kernel, static_cast<long long>(axis), ndim);
  return false;
}

// True if two views have the same dims; else `error` is filled.
static inline bool same_dims(const pf_view& a, const pf_view& b, pf_error* error) {
  bool same = a.ndim == b.ndim;
  for (int32_t i = 0; same && i < a.ndim; ++i) {
    if (a.dims[i] == b.dims[i]) continue;
    same = false;
    fail(error, PF_INVALID_ARGUMENT, "dim %d of the result is %lld; expected %lld", i,
         static_cast<long long>(b.dims[i]), static_cast<long long>(a.dims[i]));
  }
  return same;
}

// One phase: `items` cut into tasks of `per_task`, at least one task.
static inline pf_code one_phase_of(pf_partition* partition, int64_t items, int64_t per_task, double cost) {
  return one_phase(partition, maximum_of(1, ceildiv(items, per_task)), cost);
}

}  // namespace PF_ISA
}  // namespace pf

#endif
