// layer_norm: (x - mean) / sqrt(variance + epsilon) * scale + bias over the dims from `axis` on, the variance taken of
// the deviations. An epilogue acts on a few rows at a time.
#include "backends/cpu/destination.h"
#include "backends/cpu/operands.h"
#include "kernels/lanes.h"
#include "kernels/scalar_math.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kNormTaskElements = 16384;
constexpr int64_t kFinishedElements = 4096;  // of the rows that an epilogue takes at once
constexpr int32_t kOwnOperands = 3;

struct NormWalk {
  Loops<2> rows;  // x, y
  Loops<1> x, y, scale, bias;
  int64_t length;
  int64_t count;
  int64_t rows_per_task;
  int64_t finished_rows;           // at once
  size_t finished, epilogue, end;  // bytes of thread scratch before these rows, before what the epilogue needs, in all
};

static void plan_walk(const pf_call* call, NormWalk* walk) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int32_t axis = static_cast<int32_t>(call->ints[0]);
  for (int32_t i = 0; i < axis; ++i) walk->rows.push(x.dims[i], {x.strides[i], y.strides[i]});
  walk->x = loops_of(x, axis, x.ndim);
  walk->y = loops_of(y, axis, y.ndim);
  walk->scale = loops_of(call->inputs[1]);
  walk->bias = loops_of(call->inputs[2]);
  walk->length = walk->x.count();
  walk->count = walk->rows.count();
  walk->rows_per_task = maximum_of(1, kNormTaskElements / maximum_of(1, walk->length));
  const auto lines = [&](int64_t elements) {
    return (static_cast<size_t>(elements * element_size(x.dtype)) + 63) / 64 * 64;
  };
  const bool copies =
      !is_contiguous(walk->x) || !is_contiguous(walk->y) || !is_contiguous(walk->scale) || !is_contiguous(walk->bias);
  const Epilogue* epilogue = epilogue_of(call);
  walk->finished_rows = maximum_of(1, kFinishedElements / maximum_of(1, walk->length));
  walk->finished = copies ? lines(4 * walk->length) : 0;
  walk->epilogue = walk->finished + (epilogue != nullptr ? lines(walk->finished_rows * walk->length) : 0);
  walk->end = walk->epilogue + (epilogue != nullptr ? epilogue->scratch : 0);
}

template <class T>
struct SquaredDeviation {
  T mean;
  template <class V>
  PF_ALWAYS_INLINE V operator()(const V& v) const {
    const V deviation = v - mean;
    return deviation * deviation;
  }
};

/* One row; `next` is where the next one lies, which is fetched meanwhile. */
template <class T>
static void normalise(const T* x, const T* next, const T* scale, const T* bias, int64_t count, T epsilon, T* y) {
  const T mean = reduce_run<Sum>(x, count, Same()) / static_cast<T>(count);
  const T variance = reduce_run<Sum>(x, count, SquaredDeviation<T>{mean}) / static_cast<T>(count);
  const T inverse = T{1} / math::square_root(variance + epsilon);
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T)), lanes = kLanes<T>;
  int64_t i = 0;
  for (; i + line <= count; i += line) {
    __builtin_prefetch(next + i);
#pragma GCC unroll 8
    for (int64_t j = i; j < i + line; j += lanes) {
      store(y + j, (load(x + j) - mean) * inverse * load(scale + j) + load(bias + j));
    }
  }
  for (; i < count; ++i) y[i] = (x[i] - mean) * inverse * scale[i] + bias[i];
}

// The view's elements in adjacent memory: where they are, or copied to `buffer`.
template <class T>
static const T* adjacent(const T* from, const Loops<1>& loops, int64_t count, T* buffer) {
  if (is_contiguous(loops)) return from;
  Position<1> position(loops, 0);
  read_strided(from, loops, &position, count, buffer);
  return buffer;
}

template <class T>
static void run_typed(const pf_call* call, const pf_task* task, uint32_t* faults) {
  NormWalk walk;
  plan_walk(call, &walk);
  if (walk.length == 0 || walk.count == 0) return;
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  const pf_view& output = call->outputs[0];
  char* const memory = static_cast<char*>(task->thread_scratch);
  T* const scratch = reinterpret_cast<T*>(memory);
  const T epsilon = static_cast<T>(call->step->floats[0]);
  const T* const scale = adjacent(static_cast<const T*>(call->inputs[1].data), walk.scale, walk.length, scratch);
  const T* const bias =
      adjacent(static_cast<const T*>(call->inputs[2].data), walk.bias, walk.length, scratch + walk.length);
  const Epilogue* const epilogue = epilogue_of(call);
  Destination destination;
  if (epilogue != nullptr) {
    destination_init(&destination, output, call->inputs + kOwnOperands, call->step->ninputs - kOwnOperands, epilogue,
                     0);
  }
  T* const finished = reinterpret_cast<T*>(memory + walk.finished);
  const bool direct = is_contiguous(walk.y);
  const int64_t end = minimum_of(walk.count, task->end * walk.rows_per_task);
  Position<2> position(walk.rows, task->begin * walk.rows_per_task);
  for (int64_t row = task->begin * walk.rows_per_task, rows; row < end; row += rows) {
    rows = epilogue != nullptr ? minimum_of(walk.finished_rows, end - row) : 1;
    for (int64_t i = 0; i < rows; ++i) {
      const T* const from = adjacent(x + position.offset[0], walk.x, walk.length, scratch + 2 * walk.length);
      T* const to = static_cast<T*>(output.data) + position.offset[1];
      position.next(walk.rows);
      const T* const next = x + position.offset[0];
      if (epilogue != nullptr) {
        normalise(from, next, scale, bias, walk.length, epsilon, finished + i * walk.length);
      } else {
        T* const target = direct ? to : scratch + 3 * walk.length;
        normalise(from, next, scale, bias, walk.length, epsilon, target);
        if (!direct) {
          Position<1> start(walk.y, 0);
          write_strided(to, walk.y, &start, walk.length, target);
        }
      }
    }
    if (epilogue == nullptr) continue;
    const int64_t columns = output.dims[output.ndim - 1];
    const int64_t lines = walk.length / columns;
    destination_write_flat(destination, finished, columns, row * lines, rows * lines, 0, columns,
                           memory + walk.epilogue, faults);
  }
}

template <int32_t ONLY = kEveryDtype>
static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  uint32_t faults = 0;
  is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32) ? run_typed<float>(call, task, &faults)
                                                          : run_typed<double>(call, task, &faults);
  return faults == 0 ? PF_OK : program_fault(faults, error);
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const int64_t axis = call->ints[0];
  if (axis < 0 || axis > x.ndim) {
    return fail(error, PF_INVALID_ARGUMENT, "axis %lld is out of range for %d dims", static_cast<long long>(axis),
                x.ndim);
  }
  if (!same_dims(x, call->outputs[0], error)) return PF_INVALID_ARGUMENT;
  for (int32_t k = 1; k < 3; ++k) {
    const pf_view& factor = call->inputs[k];
    bool fits = factor.ndim == x.ndim - axis;
    for (int32_t i = 0; fits && i < factor.ndim; ++i) fits = factor.dims[i] == x.dims[axis + i];
    if (!fits) {
      return fail(error, PF_INVALID_ARGUMENT, "%s does not have the dims of x from axis %lld on",
                  k == 1 ? "scale" : "bias", static_cast<long long>(axis));
    }
  }
  NormWalk walk;
  plan_walk(call, &walk);
  const Epilogue* epilogue = epilogue_of(call);
  partition->thread_scratch = walk.end;
  const double per_element = 0.3 + (epilogue != nullptr ? epilogue->cost : 0.0);
  return one_phase_of(
      partition, walk.count, walk.rows_per_task,
      20.0 + 30.0 * static_cast<double>(walk.count) + per_element * static_cast<double>(count_elements(x)));
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  if (step->nprograms != 0 && step->ninputs > 0 && step->inputs[0].ndim < 2) {
    return refuse(why, why_size, "%s takes an epilogue on at least 2 axes", step->kernel);
  }
  if (!epilogue_supported(step, why, why_size, kOwnOperands)) return 0;
  pf_step own = *step;
  own.ninputs = minimum_of(step->ninputs, kOwnOperands);
  if (!takes(&own, kOwnOperands, 1, 1, 1, why, why_size) ||
      !dtype_in(step, step->inputs[0], kFloatDtypes, why, why_size) ||
      !same_rank(step, step->inputs[0], step->outputs[0], why, why_size)) {
    return 0;
  }
  return same_dtype(step, step->inputs[0], step->inputs[1], why, why_size) &&
         same_dtype(step, step->inputs[0], step->inputs[2], why, why_size) &&
         axis_in(step, 0, step->inputs[0].ndim, why, why_size);
}

static const pf_kernel kNormKernels[] = {
    {"layer_norm", supports, epilogue_state_size, epilogue_prepare, partition, run<>},
};

PF_FLOAT32(layer_norm, epilogue_state_size, epilogue_prepare, partition, run<PF_DTYPE_float32>)

const pf_kernel* norm_kernels(int32_t* count) {
  *count = sizeof(kNormKernels) / sizeof(kNormKernels[0]);
  return kNormKernels;
}

}  // namespace PF_ISA
}  // namespace pf
