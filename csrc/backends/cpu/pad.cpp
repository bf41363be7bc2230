// pad: x moved by `leading` elements along each axis (negative crops), with `value` around it.
#include "backends/cpu/operands.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kPadTaskElements = 16384;

// Rows of y along its last axis; a 0-d y is one row of one element.
struct PadWalk {
  int32_t row_axes;
  int64_t rows;
  int64_t columns;
  int64_t first, last;  // columns [first, last) come from x
  int64_t column_strides[2];
  int64_t rows_per_task;
};

static void plan_walk(const pf_call* call, PadWalk* walk) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  walk->row_axes = y.ndim == 0 ? 0 : y.ndim - 1;
  walk->rows = count_elements(y.dims, walk->row_axes);
  walk->columns = y.ndim == 0 ? 1 : y.dims[walk->row_axes];
  const int64_t leading = y.ndim == 0 ? 0 : call->ints[walk->row_axes];
  const int64_t present = y.ndim == 0 ? 1 : x.dims[walk->row_axes];
  walk->first = minimum_of(maximum_of(0, leading), walk->columns);
  walk->last = maximum_of(walk->first, minimum_of(walk->columns, leading + present));
  walk->column_strides[0] = y.ndim == 0 ? 0 : x.strides[walk->row_axes];
  walk->column_strides[1] = y.ndim == 0 ? 0 : y.strides[walk->row_axes];
  walk->rows_per_task = maximum_of(1, kPadTaskElements / maximum_of(1, walk->columns));
}

template <class T>
static void fill(T* y, int64_t stride, int64_t begin, int64_t end, T value) {
  if (stride == 1) {
    for (int64_t i = begin; i < end; ++i) y[i] = value;
  } else {
    for (int64_t i = begin; i < end; ++i) y[i * stride] = value;
  }
}

template <class T>
static pf_code run_typed(const pf_call* call, const pf_task* task) {
  PadWalk walk;
  plan_walk(call, &walk);
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const T value = *static_cast<const T*>(call->inputs[1].data);
  const int64_t leading = y.ndim == 0 ? 0 : call->ints[walk.row_axes];
  const int64_t end = minimum_of(walk.rows, task->end * walk.rows_per_task);
  for (int64_t row = task->begin * walk.rows_per_task; row < end; ++row) {
    int64_t left = row;
    int64_t x_offset = 0;
    int64_t y_offset = 0;
    bool inside = walk.first < walk.last;
    for (int32_t axis = walk.row_axes - 1; axis >= 0; --axis) {
      const int64_t at = left % y.dims[axis];
      const int64_t from = at - call->ints[axis];
      left /= y.dims[axis];
      inside = inside && from >= 0 && from < x.dims[axis];
      x_offset += from * x.strides[axis];
      y_offset += at * y.strides[axis];
    }
    T* const to = static_cast<T*>(y.data) + y_offset;
    if (!inside) {
      fill(to, walk.column_strides[1], 0, walk.columns, value);
      continue;
    }
    const T* const from = static_cast<const T*>(x.data) + x_offset + (walk.first - leading) * walk.column_strides[0];
    fill(to, walk.column_strides[1], 0, walk.first, value);
    const int64_t count = walk.last - walk.first;
    if (walk.column_strides[0] == 1 && walk.column_strides[1] == 1) {
      __builtin_memcpy(to + walk.first, from, static_cast<size_t>(count) * sizeof(T));
    } else {
      for (int64_t i = 0; i < count; ++i) {
        to[(walk.first + i) * walk.column_strides[1]] = from[i * walk.column_strides[0]];
      }
    }
    fill(to, walk.column_strides[1], walk.last, walk.columns, value);
  }
  return PF_OK;
}

static pf_code run(const pf_call* call, const pf_task* task, pf_error*) {
  switch (element_size(call->inputs[0].dtype)) {
    case 1:
      return run_typed<uint8_t>(call, task);
    case 2:
      return run_typed<uint16_t>(call, task);
    case 4:
      return run_typed<uint32_t>(call, task);
    case 16:
      return run_typed<Bytes16>(call, task);
    default:
      return run_typed<uint64_t>(call, task);
  }
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error*) {
  PadWalk walk;
  plan_walk(call, &walk);
  return one_phase_of(
      partition, walk.rows, walk.rows_per_task,
      20.0 + 5.0 * static_cast<double>(walk.rows) + 0.3 * static_cast<double>(count_elements(call->outputs[0])));
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs == 0) return refuse(why, why_size, "pad takes 2 inputs; got 0");
  return takes(step, 2, 1, step->inputs[0].ndim, 0, why, why_size) &&
         dtype_in(step, step->inputs[0], kAllDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->inputs[1], why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size) &&
         (step->inputs[1].ndim == 0 ||
          refuse(why, why_size, "pad takes a value without dims; got %d dims", step->inputs[1].ndim));
}

static const pf_kernel kPadKernels[] = {
    {"pad", supports, nullptr, nullptr, partition, run},
};

const pf_kernel* pad_kernels(int32_t* count) {
  *count = sizeof(kPadKernels) / sizeof(kPadKernels[0]);
  return kPadKernels;
}

}  // namespace PF_ISA
}  // namespace pf
