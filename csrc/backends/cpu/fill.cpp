// iota: 0, 1, 2 ...; sizes: the step's ints as a tensor; late_sizes: a tensor as the sizes that it defines;
// define_sizes: the step's ints as the sizes that it defines. check_sizes: two sizes that must be equal.
#include "backends/cpu/operands.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kIotaTaskElements = 32768;

template <class T>
static void iota(T* y, int64_t stride, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) y[i * stride] = static_cast<T>(i);
}

static pf_code iota_run(const pf_call* call, const pf_task* task, pf_error*) {
  const pf_view& y = call->outputs[0];
  const int64_t begin = task->begin * kIotaTaskElements;
  const int64_t end = minimum_of(y.dims[0], task->end * kIotaTaskElements);
  switch (y.dtype) {
    case PF_DTYPE_float32:
      iota(static_cast<float*>(y.data), y.strides[0], begin, end);
      break;
    case PF_DTYPE_float64:
      iota(static_cast<double*>(y.data), y.strides[0], begin, end);
      break;
    case PF_DTYPE_int32:
      iota(static_cast<int32_t*>(y.data), y.strides[0], begin, end);
      break;
    default:
      iota(static_cast<int64_t*>(y.data), y.strides[0], begin, end);
  }
  return PF_OK;
}

static pf_code iota_partition(const pf_call* call, pf_partition* partition, pf_error*) {
  const int64_t count = call->outputs[0].dims[0];
  return one_phase_of(partition, count, kIotaTaskElements, 10.0 + 0.3 * static_cast<double>(count));
}

static int32_t iota_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 0, 1, 0, 0, why, why_size) && dtype_in(step, step->outputs[0], kSummedDtypes, why, why_size) &&
         (step->outputs[0].ndim == 1 || refuse(why, why_size, "iota makes 1 dim; got %d", step->outputs[0].ndim));
}

static pf_code sizes_run(const pf_call* call, const pf_task*, pf_error*) {
  const pf_view& y = call->outputs[0];
  const int64_t stride = y.ndim == 0 ? 0 : y.strides[0];
  for (int32_t i = 0; i < call->step->nints; ++i) static_cast<int64_t*>(y.data)[i * stride] = call->ints[i];
  return PF_OK;
}

static pf_code sizes_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const int64_t count = count_elements(call->outputs[0]);
  if (count != call->step->nints) {
    return fail(error, PF_INVALID_ARGUMENT, "sizes has %d values for %lld elements", call->step->nints,
                static_cast<long long>(count));
  }
  return one_phase(partition, 1, 5.0);
}

static int32_t sizes_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 0, 1, step->nints, 0, why, why_size) &&
         dtype_in(step, step->outputs[0], kInt64Dtype, why, why_size) &&
         (step->outputs[0].ndim <= 1 ||
          refuse(why, why_size, "sizes makes 0 or 1 dims; got %d", step->outputs[0].ndim));
}

static int64_t integer_at(const pf_view& x, int64_t at) {
  switch (x.dtype) {
    case PF_DTYPE_int8:
      return static_cast<const int8_t*>(x.data)[at];
    case PF_DTYPE_uint8:
      return static_cast<const uint8_t*>(x.data)[at];
    case PF_DTYPE_int16:
      return static_cast<const int16_t*>(x.data)[at];
    case PF_DTYPE_uint16:
      return static_cast<const uint16_t*>(x.data)[at];
    case PF_DTYPE_int32:
      return static_cast<const int32_t*>(x.data)[at];
    case PF_DTYPE_uint32:
      return static_cast<const uint32_t*>(x.data)[at];
    default:
      return static_cast<const int64_t*>(x.data)[at];
  }
}

static pf_code late_sizes_run(const pf_call* call, const pf_task*, pf_error* error) {
  const pf_view &x = call->inputs[0], &y = call->outputs[0];
  for (int64_t i = 0; i < call->step->ndefines; ++i) {
    const int64_t size = integer_at(x, x.ndim == 0 ? 0 : i * x.strides[0]);
    if (x.dtype == PF_DTYPE_uint64 && size < 0) {
      return fail(error, PF_INVALID_ARGUMENT, "entry %lld is beyond 63 bits", static_cast<long long>(i));
    }
    static_cast<int64_t*>(y.data)[y.ndim == 0 ? 0 : i * y.strides[0]] = size;
    call->defines[i] = size;
  }
  return PF_OK;
}

static pf_code late_sizes_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const int64_t entries = count_elements(call->inputs[0]), results = count_elements(call->outputs[0]);
  if (entries != call->step->ndefines || results != entries) {
    return fail(error, PF_INVALID_ARGUMENT, "%d sizes are defined from %lld entries into %lld", call->step->ndefines,
                static_cast<long long>(entries), static_cast<long long>(results));
  }
  return one_phase(partition, 1, 5.0);
}

static int32_t late_sizes_supports(const pf_step* step, char* why, size_t why_size) {
  constexpr uint32_t kIntegers = dtype_bit(PF_DTYPE_int8) | dtype_bit(PF_DTYPE_uint8) | dtype_bit(PF_DTYPE_int16) |
                                 dtype_bit(PF_DTYPE_uint16) | dtype_bit(PF_DTYPE_int32) | dtype_bit(PF_DTYPE_uint32) |
                                 dtype_bit(PF_DTYPE_int64) | dtype_bit(PF_DTYPE_uint64);
  return takes(step, 1, 1, 0, 0, why, why_size) && dtype_in(step, step->inputs[0], kIntegers, why, why_size) &&
         dtype_in(step, step->outputs[0], kInt64Dtype, why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size) &&
         (step->inputs[0].ndim <= 1 ||
          refuse(why, why_size, "late_sizes reads 0 or 1 dims; got %d", step->inputs[0].ndim));
}

static pf_code define_sizes_run(const pf_call* call, const pf_task*, pf_error*) {
  for (int32_t i = 0; i < call->step->nints; ++i) call->defines[i] = call->ints[i];
  return PF_OK;
}

static pf_code define_sizes_partition(const pf_call*, pf_partition* partition, pf_error*) {
  return one_phase(partition, 1, 5.0);
}

static int32_t define_sizes_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 0, 0, step->ndefines, 0, why, why_size);
}

// The step's text, each "{}" in it the next of the ints.
static pf_code check_sizes_run(const pf_call* call, const pf_task*, pf_error* error) {
  if (call->ints[0] == call->ints[1]) return PF_OK;
  char shown[512];
  size_t size = 0;
  int32_t next = 0;
  for (const char* text = call->step->text; *text && size + 24 < sizeof(shown); ++text) {
    if (text[0] == '{' && text[1] == '}' && next < 2) {
      size += static_cast<size_t>(
          snprintf(shown + size, sizeof(shown) - size, "%lld", static_cast<long long>(call->ints[next++])));
      ++text;
    } else {
      shown[size++] = *text;
    }
  }
  shown[size] = 0;
  return fail(error, PF_INVALID_ARGUMENT, "%s", shown);
}

static int32_t check_sizes_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 0, 0, 2, 0, why, why_size);
}

static const pf_kernel kFillKernels[] = {
    {"iota", iota_supports, nullptr, nullptr, iota_partition, iota_run},
    {"sizes", sizes_supports, nullptr, nullptr, sizes_partition, sizes_run},
    {"late_sizes", late_sizes_supports, nullptr, nullptr, late_sizes_partition, late_sizes_run},
    {"define_sizes", define_sizes_supports, nullptr, nullptr, define_sizes_partition, define_sizes_run},
    {"check_sizes", check_sizes_supports, nullptr, nullptr, define_sizes_partition, check_sizes_run},
};

const pf_kernel* fill_kernels(int32_t* count) {
  *count = sizeof(kFillKernels) / sizeof(kFillKernels[0]);
  return kFillKernels;
}

}  // namespace PF_ISA
}  // namespace pf
