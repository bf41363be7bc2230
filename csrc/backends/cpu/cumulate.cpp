// cumsum, cumprod, cummax, cummin, logcumsumexp: what has been combined so far along an axis, in one chain from its
// first element (or, reversed, its last); linear_recurrence: y[i] = a[i] * y[i-1] + b[i].
#include "backends/cpu/operands.h"
#include "kernels/scalar_math.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kCumulateTaskElements = 16384;
constexpr int64_t kCumulateColumns = 64;

struct CumulateWalk {
  Loops<3> around;  // inputs (the second again the first where there is one), y: around the columns
  int64_t width;
  int64_t column_strides[3];
  int64_t length;
  int64_t strides[3];  // along the axis, in the direction of the chain
  int64_t starts[3];   // of the chain's first element
  int64_t blocks;
  int64_t units;
  int64_t units_per_task;
};

static void plan_walk(const pf_call* call, CumulateWalk* walk) {
  const pf_view& first = call->inputs[0];
  const pf_view& second = call->inputs[call->step->ninputs - 1];
  const pf_view& y = call->outputs[0];
  const int32_t axis = static_cast<int32_t>(call->ints[0]);
  const bool reverse = call->ints[call->step->nints - 1] != 0;
  for (int32_t i = 0; i < y.ndim; ++i) {
    if (i != axis) walk->around.push(y.dims[i], {first.strides[i], second.strides[i], y.strides[i]});
  }
  walk->around.sort(2);
  walk->around.pop(&walk->width, walk->column_strides);
  walk->length = y.dims[axis];
  const int64_t strides[3] = {first.strides[axis], second.strides[axis], y.strides[axis]};
  for (int k = 0; k < 3; ++k) {
    walk->strides[k] = reverse ? -strides[k] : strides[k];
    walk->starts[k] = reverse ? (walk->length - 1) * strides[k] : 0;
  }
  walk->blocks = ceildiv(walk->width, kCumulateColumns);
  walk->units = walk->around.count() * walk->blocks;
  walk->units_per_task =
      maximum_of(1, kCumulateTaskElements / maximum_of(1, walk->length * minimum_of(kCumulateColumns, walk->width)));
}

// A chain: `start`, `next` after an element, and what the state stands for, `value`.
template <class T>
struct SumChain {
  T state = T{0};
  void next(T x, T) { state += x; }
  T value() const { return state; }
};
template <class T>
struct ProductChain {
  T state = T{1};
  void next(T x, T) { state *= x; }
  T value() const { return state; }
};
template <class T>
constexpr T extreme_of(bool highest) {
  if constexpr (static_cast<T>(0.5) != T{0}) {
    return highest ? static_cast<T>(__builtin_inf()) : -static_cast<T>(__builtin_inf());
  } else {
    const T low = static_cast<T>(T{1} << (sizeof(T) * 8 - 2)) * -2;
    return highest ? static_cast<T>(~low) : low;
  }
}
template <class T>
struct MaxChain {
  T state = extreme_of<T>(false);
  void next(T x, T) { state = state != state || state >= x ? state : x; }
  T value() const { return state; }
};
template <class T>
struct MinChain {
  T state = extreme_of<T>(true);
  void next(T x, T) { state = state != state || state <= x ? state : x; }
  T value() const { return state; }
};
// log(sum(exp(x))) as the largest so far and the sum relative to it.
template <class T>
struct LogSumExpChain {
  T top = extreme_of<T>(false);
  T sum = T{0};
  void next(T x, T) {
    if (x > top || x != x) {
      sum = top == extreme_of<T>(false) ? T{1} : sum * math::exponential(top - x) + T{1};
      top = x;
    } else if (x != extreme_of<T>(false)) {
      sum += x == top ? T{1} : math::exponential(x - top);
    }
  }
  T value() const {
    return top == extreme_of<T>(false) || top == extreme_of<T>(true) ? top : top + math::logarithm(sum);
  }
};
template <class T>
struct RecurrenceChain {
  T state = T{0};
  void next(T a, T b) { state = a * state + b; }
  T value() const { return state; }
};

template <template <class> class Chain, class T>
static pf_code run_typed(const pf_call* call, const pf_task* task) {
  CumulateWalk walk;
  plan_walk(call, &walk);
  const bool exclusive = call->step->nints == 3 && call->ints[1] != 0;
  const T* const first = static_cast<const T*>(call->inputs[0].data);
  const T* const second = static_cast<const T*>(call->inputs[call->step->ninputs - 1].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  const int64_t end = minimum_of(walk.units, task->end * walk.units_per_task);
  for (int64_t unit = task->begin * walk.units_per_task; unit < end; ++unit) {
    const Position<3> position(walk.around, unit / walk.blocks);
    const int64_t begin = unit % walk.blocks * kCumulateColumns;
    const int64_t count = minimum_of(kCumulateColumns, walk.width - begin);
    Chain<T> chains[kCumulateColumns];
    int64_t offsets[3];
    for (int k = 0; k < 3; ++k) {
      offsets[k] = position.offset[k] + begin * walk.column_strides[k] + walk.starts[k];
    }
    for (int64_t i = 0; i < walk.length; ++i) {
      const T* const from = first + offsets[0] + i * walk.strides[0];
      const T* const beside = second + offsets[1] + i * walk.strides[1];
      T* const to = y + offsets[2] + i * walk.strides[2];
      for (int64_t c = 0; c < count; ++c) {
        const T x = from[c * walk.column_strides[0]];
        const T b = beside[c * walk.column_strides[1]];
        if (exclusive) to[c * walk.column_strides[2]] = chains[c].value();
        chains[c].next(x, b);
        if (!exclusive) to[c * walk.column_strides[2]] = chains[c].value();
      }
    }
  }
  return PF_OK;
}

template <template <class> class Chain>
static pf_code run_floats(const pf_call* call, const pf_task* task, pf_error*) {
  if (call->inputs[0].dtype == PF_DTYPE_float32) return run_typed<Chain, float>(call, task);
  return run_typed<Chain, double>(call, task);
}

template <template <class> class Chain>
static pf_code run_numbers(const pf_call* call, const pf_task* task, pf_error* error) {
  switch (call->inputs[0].dtype) {
    case PF_DTYPE_int32:
      return run_typed<Chain, int32_t>(call, task);
    case PF_DTYPE_int64:
      return run_typed<Chain, int64_t>(call, task);
    case PF_DTYPE_uint64:
      return run_typed<Chain, uint64_t>(call, task);
    default:
      return run_floats<Chain>(call, task, error);
  }
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& y = call->outputs[0];
  for (int32_t i = 0; i < call->step->ninputs; ++i) {
    if (!same_dims(call->inputs[i], y, error)) return PF_INVALID_ARGUMENT;
  }
  CumulateWalk walk;
  plan_walk(call, &walk);
  return one_phase_of(partition, walk.units, walk.units_per_task, 20.0 + 1.5 * static_cast<double>(count_elements(y)));
}

static int32_t supports_dtypes(const pf_step* step, int32_t inputs, int32_t ints, uint32_t set, char* why,
                               size_t why_size) {
  if (!takes(step, inputs, 1, ints, 0, why, why_size) || !dtype_in(step, step->inputs[0], set, why, why_size)) return 0;
  for (int32_t i = 0; i < inputs; ++i) {
    if (!same_dtype(step, step->inputs[i], step->outputs[0], why, why_size) ||
        !same_rank(step, step->inputs[i], step->outputs[0], why, why_size)) {
      return 0;
    }
  }
  return axis_in(step, 0, step->inputs[0].ndim, why, why_size);
}

static int32_t supports_numbers(const pf_step* step, char* why, size_t why_size) {
  return supports_dtypes(step, 1, 3, kSummedDtypes, why, why_size);
}

static int32_t supports_floats(const pf_step* step, char* why, size_t why_size) {
  return supports_dtypes(step, 1, 3, kFloatDtypes, why, why_size);
}

static int32_t supports_recurrence(const pf_step* step, char* why, size_t why_size) {
  return supports_dtypes(step, 2, 2, kSummedDtypes, why, why_size);
}

static const pf_kernel kCumulateKernels[] = {
    {"cumsum", supports_numbers, nullptr, nullptr, partition, run_numbers<SumChain>},
    {"cumprod", supports_numbers, nullptr, nullptr, partition, run_numbers<ProductChain>},
    {"cummax", supports_numbers, nullptr, nullptr, partition, run_numbers<MaxChain>},
    {"cummin", supports_numbers, nullptr, nullptr, partition, run_numbers<MinChain>},
    {"logcumsumexp", supports_floats, nullptr, nullptr, partition, run_floats<LogSumExpChain>},
    {"linear_recurrence", supports_recurrence, nullptr, nullptr, partition, run_numbers<RecurrenceChain>},
};

const pf_kernel* cumulate_kernels(int32_t* count) {
  *count = sizeof(kCumulateKernels) / sizeof(kCumulateKernels[0]);
  return kCumulateKernels;
}

}  // namespace PF_ISA
}  // namespace pf
