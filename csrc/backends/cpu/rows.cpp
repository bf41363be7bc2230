// put_row: rows with one of them replaced; in place where the result is written over the rows.
#include "backends/cpu/operands.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kRowTaskBytes = 64 * 1024;

static bool is_dense(const pf_view& view, int32_t first) {
  int64_t expected = 1;
  for (int32_t axis = view.ndim - 1; axis >= first; --axis) {
    if (view.dims[axis] != 1 && view.strides[axis] != expected) return false;
    expected *= view.dims[axis];
  }
  return true;
}

// Copies one row of `count` elements: x from its axis `x_first` on, y from its axis 1 on.
static void copy_row(const pf_view& x, int32_t x_first, const char* from, const pf_view& y, char* to, int64_t count,
                     bool dense) {
  const int64_t bytes = element_size(y.dtype);
  if (dense) {
    __builtin_memcpy(to, from, static_cast<size_t>(count * bytes));
    return;
  }
  for (int64_t element = 0; element < count; ++element) {
    int64_t left = element, x_offset = 0, y_offset = 0;
    for (int32_t axis = y.ndim - 1; axis >= 1; --axis) {
      const int64_t at = left % y.dims[axis];
      left /= y.dims[axis];
      x_offset += at * x.strides[axis - 1 + x_first];
      y_offset += at * y.strides[axis];
    }
    __builtin_memcpy(to + y_offset * bytes, from + x_offset * bytes, static_cast<size_t>(bytes));
  }
}

static int64_t rows_per_task(const pf_view& y) {
  const int64_t row = count_elements(y.dims + 1, y.ndim - 1) * element_size(y.dtype);
  return maximum_of(1, kRowTaskBytes / maximum_of(1, row));
}

static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  const pf_view &x = call->inputs[0], &row = call->inputs[2], &y = call->outputs[0];
  const int64_t index = *static_cast<const int64_t*>(call->inputs[1].data);
  const int64_t rows = y.dims[0], bytes = element_size(y.dtype);
  if (index < 0 || index >= rows) {
    return fail(error, PF_OUT_OF_RANGE, "row %lld is out of range for %lld rows", static_cast<long long>(index),
                static_cast<long long>(rows));
  }
  const int64_t count = count_elements(y.dims + 1, y.ndim - 1);
  const int64_t per_task = rows_per_task(y);
  const int64_t begin = task->begin * per_task, end = minimum_of(rows, task->end * per_task);
  const bool dense = is_dense(y, 1);
  char* const to = static_cast<char*>(y.data);
  if (x.data != y.data) {
    const bool both = dense && is_dense(x, 1);
    const char* const from = static_cast<const char*>(x.data);
    for (int64_t each = begin; each < end; ++each) {
      if (each == index) continue;
      copy_row(x, 1, from + each * x.strides[0] * bytes, y, to + each * y.strides[0] * bytes, count, both);
    }
  }
  if (index >= begin && index < end) {
    copy_row(row, 0, static_cast<const char*>(row.data), y, to + index * y.strides[0] * bytes, count,
             dense && is_dense(row, 0));
  }
  return PF_OK;
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view &x = call->inputs[0], &row = call->inputs[2], &y = call->outputs[0];
  if (!same_dims(x, y, error)) return PF_INVALID_ARGUMENT;
  for (int32_t axis = 0; axis < row.ndim; ++axis) {
    if (row.dims[axis] != y.dims[axis + 1]) {
      return fail(error, PF_INVALID_ARGUMENT, "dim %d of the row is %lld; expected %lld", axis,
                  static_cast<long long>(row.dims[axis]), static_cast<long long>(y.dims[axis + 1]));
    }
  }
  return one_phase_of(partition, y.dims[0], rows_per_task(y),
                      20.0 + 0.06 * static_cast<double>(count_elements(row) * element_size(y.dtype)));
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 3, 1, 0, 0, why, why_size) && dtype_in(step, step->inputs[0], kAllDtypes, why, why_size) &&
         dtype_in(step, step->inputs[1], kInt64Dtype, why, why_size) &&
         same_dtype(step, step->inputs[0], step->inputs[2], why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size) &&
         ((step->inputs[1].ndim == 0 && step->inputs[0].ndim > 0 && step->inputs[2].ndim == step->inputs[0].ndim - 1) ||
          refuse(why, why_size, "put_row takes rows, a 0-d index and a row"));
}

static const pf_kernel kRowKernels[] = {
    {"put_row", supports, nullptr, nullptr, partition, run},
};

const pf_kernel* rows_kernels(int32_t* count) {
  *count = sizeof(kRowKernels) / sizeof(kRowKernels[0]);
  return kRowKernels;
}

}  // namespace PF_ISA
}  // namespace pf
