// argmax, argmin: the index of the first of the largest (smallest) elements along an axis; NaN wins.
#include "backends/cpu/operands.h"
#include "kernels/lanes.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kArgTile = 64;
constexpr int64_t kArgTaskElements = 32768;

struct ArgWalk {
  Loops<2> kept;  // x, y: around the columns
  int64_t length;
  int64_t stride;
  int64_t width;
  int64_t column_strides[2];
  int64_t tiles;
  int64_t units;
  int64_t units_per_task;
  bool columns;
};

static void plan_walk(const pf_call* call, ArgWalk* walk) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int32_t axis = static_cast<int32_t>(call->ints[0]);
  walk->length = x.dims[axis];
  walk->stride = x.strides[axis];
  for (int32_t i = 0; i < x.ndim; ++i) {
    if (i != axis) walk->kept.push(x.dims[i], {x.strides[i], y.strides[i]});
  }
  walk->kept.sort(0);
  Loops<2> around = walk->kept;
  int64_t width;
  int64_t strides[2];
  around.pop(&width, strides);
  walk->columns =
      width >= 8 && walk->length <= INT32_MAX && (magnitude(strides[0]) == 1 || walk->length <= kReductionLanes);
  walk->width = walk->columns ? width : 1;
  walk->column_strides[0] = walk->columns ? strides[0] : 0;
  walk->column_strides[1] = walk->columns ? strides[1] : 0;
  if (walk->columns) walk->kept = around;
  walk->tiles = ceildiv(walk->width, kArgTile);
  walk->units = walk->kept.count() * walk->tiles;
  walk->units_per_task =
      maximum_of(1, kArgTaskElements / maximum_of(1, walk->length * minimum_of(kArgTile, walk->width)));
}

// The integer that an index is kept in beside a value of type T.
template <size_t kBytes>
struct IndexFor {
  typedef int32_t type;
};
template <>
struct IndexFor<8> {
  typedef int64_t type;
};

template <class Op, class T>
static inline bool is_better(T value, T best) {
  return (Op::kLargest ? value > best : value < best) | ((value != value) & (best == best));
}

struct Largest {
  using Reduce = Max;
  static constexpr bool kLargest = true;
};
struct Smallest {
  using Reduce = Min;
  static constexpr bool kLargest = false;
};

template <class T>
static const T* chunk_at(const T* x, int64_t stride, int64_t begin, int64_t count, T* buffer) {
  if (stride == 1) return x + begin;
  for (int64_t i = 0; i < count; ++i) buffer[i] = x[(begin + i) * stride];
  return buffer;
}

template <class Op, class T>
static int64_t best_of_row(const T* x, int64_t stride, int64_t length, T* buffer) {
  T best = x[0];
  int64_t best_chunk = 0;
  for (int64_t begin = 0; begin < length; begin += kReductionChunk) {
    const int64_t count = minimum_of(kReductionChunk, length - begin);
    const T value = reduce_chunk<typename Op::Reduce>(chunk_at(x, stride, begin, count, buffer), count, Same());
    if (begin == 0 || is_better<Op>(value, best)) {
      best = value;
      best_chunk = begin;
    }
  }
  for (int64_t i = best_chunk;; ++i) {
    const T value = x[i * stride];
    if (value == best || value != value) return i;
  }
}

template <class Op, class T>
static void best_of_columns(const T* x, const ArgWalk& walk, int64_t count, int64_t* y) {
  using Index = typename IndexFor<sizeof(T)>::type;
  T best[kArgTile];
  Index index[kArgTile];
  for (int64_t c = 0; c < count; ++c) best[c] = x[c * walk.column_strides[0]];
  for (int64_t c = 0; c < count; ++c) index[c] = 0;
  for (int64_t row = 1; row < walk.length; ++row) {
    const T* const from = x + row * walk.stride;
    const Index here = static_cast<Index>(row);
    if (walk.column_strides[0] == 1) {
      for (int64_t c = 0; c < count; ++c) {
        const T value = from[c];
        const bool better = is_better<Op>(value, best[c]);
        best[c] = better ? value : best[c];
        index[c] = better ? here : index[c];
      }
    } else {
      for (int64_t c = 0; c < count; ++c) {
        const T value = from[c * walk.column_strides[0]];
        const bool better = is_better<Op>(value, best[c]);
        best[c] = better ? value : best[c];
        index[c] = better ? here : index[c];
      }
    }
  }
  for (int64_t c = 0; c < count; ++c) y[c * walk.column_strides[1]] = index[c];
}

template <class Op, class T>
static pf_code run_typed(const pf_call* call, const pf_task* task, pf_error* error) {
  ArgWalk walk;
  plan_walk(call, &walk);
  if (walk.units == 0) return PF_OK;
  if (walk.length == 0) {
    return fail(error, PF_INVALID_ARGUMENT, "%s along an axis of size 0 has no value", call->step->kernel);
  }
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  int64_t* const y = static_cast<int64_t*>(call->outputs[0].data);
  const int64_t end = minimum_of(walk.units, task->end * walk.units_per_task);
  for (int64_t unit = task->begin * walk.units_per_task; unit < end; ++unit) {
    const Position<2> position(walk.kept, unit / walk.tiles);
    const int64_t first = unit % walk.tiles * kArgTile;
    const T* const from = x + position.offset[0] + first * walk.column_strides[0];
    int64_t* const to = y + position.offset[1] + first * walk.column_strides[1];
    if (walk.columns) {
      best_of_columns<Op>(from, walk, minimum_of(kArgTile, walk.width - first), to);
    } else {
      *to = best_of_row<Op>(from, walk.stride, walk.length, static_cast<T*>(task->thread_scratch));
    }
  }
  return PF_OK;
}

template <class Op>
static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  switch (call->inputs[0].dtype) {
    case PF_DTYPE_float32:
      return run_typed<Op, float>(call, task, error);
    case PF_DTYPE_float64:
      return run_typed<Op, double>(call, task, error);
    case PF_DTYPE_int32:
      return run_typed<Op, int32_t>(call, task, error);
    case PF_DTYPE_int64:
      return run_typed<Op, int64_t>(call, task, error);
    case PF_DTYPE_uint64:
      return run_typed<Op, uint64_t>(call, task, error);
    default:
      return run_typed<Op, uint8_t>(call, task, error);
  }
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int64_t axis = call->ints[0];
  if (axis < 0 || axis >= x.ndim) {
    return fail(error, PF_INVALID_ARGUMENT, "axis %lld is out of range for %d dims", static_cast<long long>(axis),
                x.ndim);
  }
  for (int32_t i = 0; i < x.ndim; ++i) {
    const int64_t expected = i == axis ? 1 : x.dims[i];
    if (y.dims[i] != expected) {
      return fail(error, PF_INVALID_ARGUMENT, "dim %d of the result is %lld; expected %lld", i,
                  static_cast<long long>(y.dims[i]), static_cast<long long>(expected));
    }
  }
  ArgWalk walk;
  plan_walk(call, &walk);
  partition->thread_scratch = static_cast<size_t>(kReductionChunk * element_size(x.dtype));
  return one_phase_of(partition, walk.units, walk.units_per_task, 20.0 + static_cast<double>(count_elements(x)) * 0.4);
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 1, 1, 0, why, why_size) && dtype_in(step, step->inputs[0], kOrderedDtypes, why, why_size) &&
         dtype_in(step, step->outputs[0], kInt64Dtype, why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size) &&
         axis_in(step, 0, step->inputs[0].ndim, why, why_size);
}

static const pf_kernel kArgKernels[] = {
    {"argmax", supports, nullptr, nullptr, partition, run<Largest>},
    {"argmin", supports, nullptr, nullptr, partition, run<Smallest>},
};

const pf_kernel* argreduce_kernels(int32_t* count) {
  *count = sizeof(kArgKernels) / sizeof(kArgKernels[0]);
  return kArgKernels;
}

}  // namespace PF_ISA
}  // namespace pf
