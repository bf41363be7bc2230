// reduce_sum, reduce_prod, reduce_mean, reduce_max, reduce_min, reduce_any, reduce_all.
#include "backends/cpu/operands.h"
#include "kernels/lanes.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

// What an output element is made of beyond the operation.
enum class Finish { kPlain, kMean };
// The answer for no elements.
enum class Empty { kZero, kOne, kError };

template <class Operation, Finish kFinishing, Empty kNothing, uint32_t kTaken>
struct Reduction {
  using Op = Operation;
  static constexpr Finish kFinish = kFinishing;
  static constexpr Empty kEmpty = kNothing;
  static constexpr uint32_t kDtypes = kTaken;
};

// Columns reduced side by side: a tile row is 256 bytes, all lanes of a tile stay in the first-level cache.
constexpr int64_t kTileBytes = 256;
template <class T>
constexpr int64_t kTile = kTileBytes / static_cast<int64_t>(sizeof(T));

constexpr int64_t kTaskElements = 32768;
constexpr int64_t kGroupedTasks = 64;

// How a reduction is walked. A unit is one output element, or a tile of adjacent ones (`columns`); a unit with a long
// sequence is cut into groups of 2^n chunks, which leaves the tree of the cascade as it is.
struct ReduceWalk {
  Loops<1> reduced;
  Loops<2> kept;  // x, y: around the columns
  int64_t length;
  int64_t width;
  int64_t column_strides[2];
  int64_t tile;
  int64_t tiles;
  int64_t units;
  int64_t units_per_task;
  int64_t group_chunks;
  int64_t groups;
  bool columns;
};

static void plan_walk(const pf_view& x, const pf_view& y, ReduceWalk* walk) {
  walk->length = 1;
  for (int32_t axis = 0; axis < x.ndim; ++axis) {
    if (y.dims[axis] == x.dims[axis]) {
      walk->kept.push(x.dims[axis], {x.strides[axis], y.strides[axis]});
    } else {
      walk->reduced.push(x.dims[axis], {x.strides[axis]});
      walk->length *= x.dims[axis];
    }
  }
  walk->kept.sort(0);
  Loops<2> around = walk->kept;
  int64_t width;
  int64_t strides[2];
  around.pop(&width, strides);
  walk->columns = width >= 8 && (magnitude(strides[0]) == 1 || walk->length <= kReductionLanes);
  walk->width = walk->columns ? width : 1;
  walk->column_strides[0] = walk->columns ? strides[0] : 0;
  walk->column_strides[1] = walk->columns ? strides[1] : 0;
  if (walk->columns) walk->kept = around;
  walk->tile = walk->columns ? kTileBytes / element_size(x.dtype) : 1;
  walk->tiles = ceildiv(walk->width, walk->tile);
  walk->units = walk->kept.count() * walk->tiles;

  const int64_t unit_elements = maximum_of(1, walk->length * minimum_of(walk->tile, walk->width));
  const int64_t chunks = ceildiv(walk->length, kReductionChunk);
  walk->units_per_task = maximum_of(1, kTaskElements / unit_elements);
  walk->group_chunks = maximum_of(1, chunks);
  walk->groups = 1;
  if (walk->units > 0 && walk->units < kGroupedTasks / 2 && unit_elements >= 2 * kTaskElements) {
    const int64_t wanted = minimum_of(ceildiv(kGroupedTasks, walk->units), unit_elements / kTaskElements);
    walk->group_chunks = 1;
    while (walk->group_chunks * wanted < chunks) walk->group_chunks *= 2;
    walk->groups = ceildiv(chunks, walk->group_chunks);
  }
}

template <class Op, class T>
__attribute__((noinline)) static T reduce_chunks(const T* x, const ReduceWalk& walk, int64_t first_chunk,
                                                 int64_t last_chunk, T* buffer) {
  const Loops<1>& reduced = walk.reduced;
  const int64_t end = minimum_of(walk.length, last_chunk * kReductionChunk);
  const int64_t begin = first_chunk * kReductionChunk;
  if (is_contiguous(reduced)) return reduce_run<Op>(x + begin, end - begin, Same());
  const bool adjacent = reduced.strides[0][reduced.ndim - 1] == 1;
  Position<1> position(reduced, begin);
  Cascade<T, Op> cascade;
  for (int64_t at = begin; at < end; at += kReductionChunk) {
    const int64_t count = minimum_of(kReductionChunk, end - at);
    const T* chunk = buffer;
    if (adjacent && position.run(reduced) >= count) {
      chunk = x + position.offset[0];
      position.advance(reduced, count);
    } else {
      read_strided(x, reduced, &position, count, buffer);
    }
    cascade.push(reduce_chunk<Op>(chunk, count, Same()));
  }
  return cascade.finish();
}

template <class Op, class T>
static inline void combine_columns(T* __restrict into, const T* __restrict from, int64_t count) {
  if (count == kTile<T>) {
    for (int64_t c = 0; c < kTile<T>; ++c) into[c] = Op::apply(into[c], from[c]);
  } else {
    for (int64_t c = 0; c < count; ++c) into[c] = Op::apply(into[c], from[c]);
  }
}

// The same for `count` columns, `stride` apart: answers a row of them inside `scratch`, which holds kReductionLanes +
// kCascadeLevels rows.
template <class Op, class T>
__attribute__((noinline)) static const T* reduce_columns(const T* x, const ReduceWalk& walk, int64_t first_chunk,
                                                         int64_t last_chunk, int64_t count, T* scratch) {
  const int64_t stride = walk.column_strides[0];
  T* const lanes = scratch;
  T* const levels = scratch + kReductionLanes * kTile<T>;
  int64_t depth = 0;
  int64_t pushed = 0;
  const int64_t end = minimum_of(walk.length, last_chunk * kReductionChunk);
  // Rows that lie far apart no hardware fetches early.
  constexpr int64_t kAhead = 16, kFar = 2048 / static_cast<int64_t>(sizeof(T));
  const int64_t step = walk.reduced.ndim == 0 ? 0 : walk.reduced.strides[0][walk.reduced.ndim - 1];
  const bool fetches = stride == 1 && magnitude(step) >= kFar;
  Position<1> position(walk.reduced, first_chunk * kReductionChunk);
  for (int64_t begin = first_chunk * kReductionChunk; begin < end; begin += kReductionChunk) {
    const int64_t rows = minimum_of(kReductionChunk, end - begin);
    for (int64_t row = 0; row < rows; ++row) {
      const T* const from = x + position.offset[0];
      T* const lane = lanes + row % kReductionLanes * kTile<T>;
      position.next(walk.reduced);
      if (fetches) {
        for (int64_t byte = 0; byte < kTileBytes; byte += 64) {
          __builtin_prefetch(reinterpret_cast<const char*>(from + kAhead * step) + byte, 0, 2);
        }
      }
      if (row < kReductionLanes && stride == 1) {
        __builtin_memcpy(lane, from, static_cast<size_t>(count) * sizeof(T));
      } else if (row < kReductionLanes) {
        for (int64_t c = 0; c < count; ++c) lane[c] = from[c * stride];
      } else if (stride == 1) {
        combine_columns<Op>(lane, from, count);
      } else {
        for (int64_t c = 0; c < count; ++c) lane[c] = Op::apply(lane[c], from[c * stride]);
      }
    }
    int64_t used = minimum_of(rows, kReductionLanes);
    for (int64_t half = kReductionLanes / 2; half > 0; half /= 2) {
      for (int64_t lane = 0; lane + half < used; ++lane) {
        combine_columns<Op>(lanes + lane * kTile<T>, lanes + (lane + half) * kTile<T>, count);
      }
      used = minimum_of(used, half);
    }
    for (int64_t bits = pushed++; bits & 1; bits >>= 1) {
      T* const level = levels + --depth * kTile<T>;
      combine_columns<Op>(level, lanes, count);
      __builtin_memcpy(lanes, level, static_cast<size_t>(count) * sizeof(T));
    }
    __builtin_memcpy(levels + depth++ * kTile<T>, lanes, static_cast<size_t>(count) * sizeof(T));
  }
  while (depth > 1) {
    --depth;
    combine_columns<Op>(levels + (depth - 1) * kTile<T>, levels + depth * kTile<T>, count);
  }
  return levels;
}

template <class R, class T>
static inline T finished(T value, int64_t length) {
  if constexpr (R::kFinish == Finish::kMean) return value / static_cast<T>(length);
  return value;
}

// A unit's place: offsets in x and y, and how many columns it has.
struct Unit {
  int64_t x;
  int64_t y;
  int64_t count;
};

static inline Unit unit_at(const ReduceWalk& walk, int64_t index) {
  const Position<2> position(walk.kept, index / walk.tiles);
  const int64_t first = index % walk.tiles * walk.tile;
  return {position.offset[0] + first * walk.column_strides[0], position.offset[1] + first * walk.column_strides[1],
          minimum_of(walk.tile, walk.width - first)};
}

template <class R, class T>
static pf_code fill_empty(const pf_call* call, const ReduceWalk& walk, const pf_task* task, pf_error* error) {
  if (walk.units == 0) return PF_OK;
  T value = R::kEmpty == Empty::kOne ? T{1} : T{0};
  if constexpr (R::kEmpty == Empty::kError) {
    if (call->step->nints == 0 || call->ints[0] == 0) {
      return fail(error, PF_INVALID_ARGUMENT, "a maximum or minimum of no elements has no value");
    }
    value = R::Op::template identity<T>();
    if (call->inputs[0].dtype == PF_DTYPE_bool) value = value != T{0};
  }
  if constexpr (R::kFinish == Finish::kMean) value = static_cast<T>(__builtin_nan(""));
  T* const y = static_cast<T*>(call->outputs[0].data);
  const int64_t end = minimum_of(walk.units, task->end * walk.units_per_task);
  for (int64_t index = task->begin * walk.units_per_task; index < end; ++index) {
    const Unit unit = unit_at(walk, index);
    for (int64_t c = 0; c < unit.count; ++c) y[unit.y + c * walk.column_strides[1]] = value;
  }
  return PF_OK;
}

// Chunks [first, last) of one unit, to `to` with stride `stride`.
template <class R, class T, bool kFinal>
static void reduce_unit(const T* x, const ReduceWalk& walk, int64_t first, int64_t last, int64_t count, T* scratch,
                        T* to, int64_t stride) {
  using Op = typename R::Op;
  if (!walk.columns) {
    const T value = reduce_chunks<Op>(x, walk, first, last, scratch);
    *to = kFinal ? finished<R>(value, walk.length) : value;
    return;
  }
  const T* const row = reduce_columns<Op>(x, walk, first, last, count, scratch);
  for (int64_t c = 0; c < count; ++c) to[c * stride] = kFinal ? finished<R>(row[c], walk.length) : row[c];
}

template <class R, class T>
static pf_code run_typed(const pf_call* call, const pf_task* task, pf_error* error) {
  ReduceWalk walk;
  plan_walk(call->inputs[0], call->outputs[0], &walk);
  if (walk.length == 0) return fill_empty<R, T>(call, walk, task, error);
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  T* const scratch = static_cast<T*>(task->thread_scratch);
  T* const partials = static_cast<T*>(task->shared_scratch);
  if (walk.groups == 1) {
    const int64_t end = minimum_of(walk.units, task->end * walk.units_per_task);
    for (int64_t index = task->begin * walk.units_per_task; index < end; ++index) {
      const Unit unit = unit_at(walk, index);
      reduce_unit<R, T, true>(x + unit.x, walk, 0, walk.group_chunks, unit.count, scratch, y + unit.y,
                              walk.column_strides[1]);
    }
    return PF_OK;
  }
  if (task->phase == 0) {
    for (int64_t index = task->begin; index < task->end; ++index) {
      const Unit unit = unit_at(walk, index / walk.groups);
      const int64_t first = index % walk.groups * walk.group_chunks;
      reduce_unit<R, T, false>(x + unit.x, walk, first, first + walk.group_chunks, unit.count, scratch,
                               partials + index * walk.tile, 1);
    }
    return PF_OK;
  }
  for (int64_t index = task->begin; index < task->end; ++index) {
    const Unit unit = unit_at(walk, index);
    const T* const parts = partials + index * walk.groups * walk.tile;
    for (int64_t c = 0; c < unit.count; ++c) {
      Cascade<T, typename R::Op> cascade;
      for (int64_t group = 0; group < walk.groups; ++group) cascade.push(parts[group * walk.tile + c]);
      y[unit.y + c * walk.column_strides[1]] = finished<R>(cascade.finish(), walk.length);
    }
  }
  return PF_OK;
}

template <class R, int32_t ONLY = kEveryDtype>
static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
#define PF_CASE(name, type)                                                                                   \
  if constexpr ((R::kDtypes & dtype_bit(PF_DTYPE_##name)) != 0) {                                             \
    if (is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_##name)) return run_typed<R, type>(call, task, error); \
  }
  PF_CASE(float32, float)
  PF_CASE(float64, double)
  PF_CASE(int32, int32_t)
  PF_CASE(int64, int64_t)
  PF_CASE(uint64, uint64_t)
  PF_CASE(bool, uint8_t)
#undef PF_CASE
  return fail(error, PF_UNIMPLEMENTED, "%s does not take %s", call->step->kernel, dtype_name(call->inputs[0].dtype));
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  for (int32_t axis = 0; axis < x.ndim; ++axis) {
    if (y.dims[axis] != x.dims[axis] && y.dims[axis] != 1) {
      return fail(error, PF_INVALID_ARGUMENT, "dim %d of the result is %lld; expected 1 or %lld", axis,
                  static_cast<long long>(y.dims[axis]), static_cast<long long>(x.dims[axis]));
    }
  }
  ReduceWalk walk;
  plan_walk(x, y, &walk);
  const size_t bytes = static_cast<size_t>(element_size(x.dtype));
  one_phase_of(partition, walk.units, walk.units_per_task,
               20.0 + static_cast<double>(count_elements(x)) * static_cast<double>(bytes) * 0.06);
  partition->thread_scratch =
      walk.columns ? static_cast<size_t>((kReductionLanes + kCascadeLevels) * kTileBytes) : kReductionChunk * bytes;
  if (walk.groups > 1) {
    partition->phases = 2;
    partition->tasks[0] = walk.units * walk.groups;
    partition->tasks[1] = walk.units;
    partition->shared_scratch = static_cast<size_t>(walk.units * walk.groups * walk.tile) * bytes;
  }
  return PF_OK;
}

template <class R>
static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  const int32_t ints = R::kEmpty == Empty::kError && step->nints > 0 ? 1 : 0;
  return takes(step, 1, 1, ints, 0, why, why_size) && dtype_in(step, step->inputs[0], R::kDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size);
}

using SumOf = Reduction<Sum, Finish::kPlain, Empty::kZero, kSummedDtypes>;
using ProductOf = Reduction<Product, Finish::kPlain, Empty::kOne, kSummedDtypes>;
using MeanOf = Reduction<Sum, Finish::kMean, Empty::kZero, kFloatDtypes>;
using MaxOf = Reduction<Max, Finish::kPlain, Empty::kError, kOrderedDtypes>;
using MinOf = Reduction<Min, Finish::kPlain, Empty::kError, kOrderedDtypes>;
using AnyOf = Reduction<Max, Finish::kPlain, Empty::kZero, kBoolDtype>;
using AllOf = Reduction<Min, Finish::kPlain, Empty::kOne, kBoolDtype>;

static const pf_kernel kReduceKernels[] = {
    {"reduce_sum", supports<SumOf>, nullptr, nullptr, partition, run<SumOf>},
    {"reduce_prod", supports<ProductOf>, nullptr, nullptr, partition, run<ProductOf>},
    {"reduce_mean", supports<MeanOf>, nullptr, nullptr, partition, run<MeanOf>},
    {"reduce_max", supports<MaxOf>, nullptr, nullptr, partition, run<MaxOf>},
    {"reduce_min", supports<MinOf>, nullptr, nullptr, partition, run<MinOf>},
    {"reduce_any", supports<AnyOf>, nullptr, nullptr, partition, run<AnyOf>},
    {"reduce_all", supports<AllOf>, nullptr, nullptr, partition, run<AllOf>},
};

PF_FLOAT32(reduce_sum, nullptr, nullptr, partition, run<SumOf, PF_DTYPE_float32>)
PF_FLOAT32(reduce_prod, nullptr, nullptr, partition, run<ProductOf, PF_DTYPE_float32>)
PF_FLOAT32(reduce_mean, nullptr, nullptr, partition, run<MeanOf, PF_DTYPE_float32>)
PF_FLOAT32(reduce_max, nullptr, nullptr, partition, run<MaxOf, PF_DTYPE_float32>)
PF_FLOAT32(reduce_min, nullptr, nullptr, partition, run<MinOf, PF_DTYPE_float32>)

const pf_kernel* reduce_kernels(int32_t* count) {
  *count = sizeof(kReduceKernels) / sizeof(kReduceKernels[0]);
  return kReduceKernels;
}

}  // namespace PF_ISA
}  // namespace pf
