// softmax, log_softmax along one axis. A row is worked on in adjacent memory; rows of another stride are gathered
// some at a time.
#include "backends/cpu/exponentials.h"
#include "backends/cpu/operands.h"
#include "kernels/strided.h"
#include "kernels/transpose.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kSoftmaxTaskElements = 16384;
constexpr int64_t kGatheredRows = 16;
constexpr int64_t kGatheredBytes = 128 * 1024;

struct SoftmaxWalk {
  Loops<2> rows;  // x, y
  int64_t length;
  int64_t strides[2];
  int64_t count;  // rows
  int64_t rows_per_task;
  int64_t pitch;  // elements from one gathered row to the next: never a multiple of a page
  bool adjacent;
  int64_t gathered;  // rows gathered at once when not adjacent
};

static void plan_walk(const pf_call* call, SoftmaxWalk* walk) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int32_t axis = static_cast<int32_t>(call->ints[0]);
  walk->length = x.dims[axis];
  walk->strides[0] = x.strides[axis];
  walk->strides[1] = y.strides[axis];
  for (int32_t i = 0; i < x.ndim; ++i) {
    if (i != axis) walk->rows.push(x.dims[i], {x.strides[i], y.strides[i]});
  }
  walk->count = walk->rows.count();
  walk->pitch = walk->length + 16;
  walk->adjacent = (walk->strides[0] == 1 && walk->strides[1] == 1) || walk->length == 1;
  const int64_t row_bytes = maximum_of(1, walk->length * element_size(x.dtype));
  walk->gathered = maximum_of(1, minimum_of(kGatheredRows, kGatheredBytes / row_bytes));
  walk->rows_per_task =
      ceildiv(maximum_of(1, kSoftmaxTaskElements / maximum_of(1, walk->length)), kGatheredRows) * kGatheredRows;
  if (walk->length >= kSoftmaxTaskElements) walk->rows_per_task = 1;
}

struct Softmax {
  // x and y adjacent; they may be the same. `next` is where the next row lies, which is fetched meanwhile.
  template <class T>
  static void row(const T* x, const T* next, int64_t count, T* y) {
    const T largest = largest_number(x, count);
    Cascade<T, Sum> cascade;
    for (int64_t begin = 0; begin < count; begin += kReductionChunk) {
      const int64_t part = minimum_of(kReductionChunk, count - begin);
      cascade.push(raised_exponentials(x + begin, largest, part, y + begin));
    }
    const T scale = T{1} / cascade.finish();
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), lanes = kLanes<T>;
    int64_t i = 0;
    for (; i + line <= count; i += line) {
      __builtin_prefetch(next + i);
#pragma GCC unroll 8
      for (int64_t j = i; j < i + line; j += lanes) store(y + j, load(y + j) * scale);
    }
    for (; i < count; ++i) y[i] *= scale;
  }
};

struct LogSoftmax {
  template <class T>
  static void row(const T* x, const T*, int64_t count, T* y) {
    const T largest = largest_number(x, count);
    T exponentials[kReductionChunk];
    Cascade<T, Sum> cascade;
    for (int64_t begin = 0; begin < count; begin += kReductionChunk) {
      const int64_t part = minimum_of(kReductionChunk, count - begin);
      cascade.push(raised_exponentials(x + begin, largest, part, exponentials));
    }
    const T log_sum = math::logarithm(cascade.finish() / math::kRaise<T>);
    for (int64_t i = 0; i < count; ++i) y[i] = (x[i] - largest) - log_sum;
  }
};

// to[j * to_stride + i * to_step] = from[i * from_stride + j * from_step] for i < rows, j < columns.
template <class T>
static void exchange(int64_t rows, int64_t columns, const T* from, int64_t from_stride, int64_t from_step, T* to,
                     int64_t to_stride, int64_t to_step) {
  if (from_step == 1 && to_step == 1) {
    transpose_block(rows, columns, from, from_stride, to, to_stride);
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) to[j * to_stride + i * to_step] = from[i * from_stride + j * from_step];
  }
}

template <class Op, class T>
static pf_code run_typed(const pf_call* call, const pf_task* task) {
  SoftmaxWalk walk;
  plan_walk(call, &walk);
  if (walk.length == 0 || walk.count == 0) return PF_OK;
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  T* const scratch = static_cast<T*>(task->thread_scratch);
  const int64_t end = minimum_of(walk.count, task->end * walk.rows_per_task);
  Position<2> position(walk.rows, task->begin * walk.rows_per_task);
  for (int64_t row = task->begin * walk.rows_per_task; row < end;) {
    if (walk.adjacent) {
      const T* const from = x + position.offset[0];
      T* const to = y + position.offset[1];
      position.next(walk.rows);
      Op::row(from, x + position.offset[0], walk.length, to);
      ++row;
      continue;
    }
    const int64_t rows = minimum_of(walk.gathered, minimum_of(end - row, position.run(walk.rows)));
    const int64_t row_strides[2] = {walk.rows.ndim == 0 ? 0 : walk.rows.strides[0][walk.rows.ndim - 1],
                                    walk.rows.ndim == 0 ? 0 : walk.rows.strides[1][walk.rows.ndim - 1]};
    const T* const from = x + position.offset[0];
    T* const to = y + position.offset[1];
    exchange(walk.length, rows, from, walk.strides[0], row_strides[0], scratch, walk.pitch, 1);
    for (int64_t r = 0; r < rows; ++r) {
      T* const held = scratch + r * walk.pitch;
      Op::row(held, held, walk.length, held);
    }
    exchange(rows, walk.length, scratch, walk.pitch, 1, to, walk.strides[1], row_strides[1]);
    position.advance(walk.rows, rows);
    row += rows;
  }
  return PF_OK;
}

template <class Op, int32_t ONLY = kEveryDtype>
static pf_code run(const pf_call* call, const pf_task* task, pf_error*) {
  if (is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32)) return run_typed<Op, float>(call, task);
  return run_typed<Op, double>(call, task);
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int64_t axis = call->ints[0];
  if (axis < 0 || axis >= x.ndim) {
    return fail(error, PF_INVALID_ARGUMENT, "axis %lld is out of range for %d dims", static_cast<long long>(axis),
                x.ndim);
  }
  if (!same_dims(x, y, error)) return PF_INVALID_ARGUMENT;
  SoftmaxWalk walk;
  plan_walk(call, &walk);
  partition->thread_scratch =
      walk.adjacent ? 0 : static_cast<size_t>(walk.gathered * walk.pitch * element_size(x.dtype));
  return one_phase_of(partition, walk.count, walk.rows_per_task,
                      20.0 + 30.0 * static_cast<double>(walk.count) + static_cast<double>(count_elements(x)));
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 1, 1, 0, why, why_size) && dtype_in(step, step->inputs[0], kFloatDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size) &&
         axis_in(step, 0, step->inputs[0].ndim, why, why_size);
}

static const pf_kernel kSoftmaxKernels[] = {
    {"softmax", supports, nullptr, nullptr, partition, run<Softmax>},
    {"log_softmax", supports, nullptr, nullptr, partition, run<LogSoftmax>},
};

PF_FLOAT32(softmax, nullptr, nullptr, partition, run<Softmax, PF_DTYPE_float32>)
PF_FLOAT32(log_softmax, nullptr, nullptr, partition, run<LogSoftmax, PF_DTYPE_float32>)

const pf_kernel* softmax_kernels(int32_t* count) {
  *count = sizeof(kSoftmaxKernels) / sizeof(kSoftmaxKernels[0]);
  return kSoftmaxKernels;
}

}  // namespace PF_ISA
}  // namespace pf
