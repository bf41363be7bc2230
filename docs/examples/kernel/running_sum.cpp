// A kernel outside of pyflow's tree, for the cpu backend: docs/add_an_op.md walks through it.
//
// running_sum   x[..., n] -> y[..., n], float32 or float64, any strides; ints: reverse
//               y[..., i] is the sum of x[..., 0] to x[..., i], or of x[..., i] to x[..., n-1] if reverse is 1
#include <cstdio>

#include "pyflow/backend.h"

namespace {

int32_t supports(const pf_step* step, char* why, size_t why_size) {
  const pf_operand &x = step->inputs[0], &y = step->outputs[0];
  const bool is_float = x.dtype == PF_DTYPE_float32 || x.dtype == PF_DTYPE_float64;
  if (step->nints == 1 && is_float && x.dtype == y.dtype && x.ndim == y.ndim && x.ndim >= 1) return 1;
  std::snprintf(why, why_size, "running_sum takes one float operand with an axis, got dtype %d of rank %d", x.dtype,
                x.ndim);
  return 0;
}

// A task is a row: how a call is cut depends on sizes alone, so the result does not depend on the number of threads.
pf_code partition(const pf_call* call, pf_partition* partition, pf_error*) {
  const pf_view& x = call->inputs[0];
  int64_t rows = 1;
  for (int32_t axis = 0; axis + 1 < x.ndim; ++axis) rows *= x.dims[axis];
  partition->phases = 1;
  partition->tasks[0] = rows;
  partition->cost = static_cast<double>(rows) * static_cast<double>(x.dims[x.ndim - 1]);
  return PF_OK;
}

// The elements from the start of the view to the start of its row `row`.
int64_t start_of(const pf_view& view, int64_t row) {
  int64_t offset = 0;
  for (int32_t axis = view.ndim - 2; axis >= 0; --axis) {
    offset += row % view.dims[axis] * view.strides[axis];
    row /= view.dims[axis];
  }
  return offset;
}

template <typename T>
void sum_row(const pf_call* call, int64_t row) {
  const pf_view &x = call->inputs[0], &y = call->outputs[0];
  const int32_t last = x.ndim - 1;
  const int64_t count = x.dims[last];
  const bool reverse = call->ints[0] != 0;
  const T* from = static_cast<const T*>(x.data) + start_of(x, row);
  T* to = static_cast<T*>(y.data) + start_of(y, row);
  T sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = reverse ? count - 1 - i : i;
    sum += from[at * x.strides[last]];
    to[at * y.strides[last]] = sum;
  }
}

pf_code run(const pf_call* call, const pf_task* task, pf_error*) {
  const bool single = call->inputs[0].dtype == PF_DTYPE_float32;
  for (int64_t row = task->begin; row < task->end; ++row) {
    single ? sum_row<float>(call, row) : sum_row<double>(call, row);
  }
  return PF_OK;
}

constexpr pf_kernel kKernel = {"running_sum", supports, nullptr, nullptr, partition, run};

}  // namespace

extern "C" __attribute__((visibility("default"))) const pf_kernel* pyflow_plugin_kernel(int32_t index) {
  return index == 0 ? &kKernel : nullptr;
}
