// gather, scatter_add: slices of an axis, by index.
#include "backends/cpu/operands.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kGatherTaskBytes = 32 * 1024;
constexpr int64_t kScatterColumns = 64;
constexpr int64_t kScatterTaskElements = 16384;

// x (or what is scattered into) as outer x axis x inner, beside the slices: outer x indices x inner.
struct GatherWalk {
  Loops<2> outer;    // whole, slices
  Loops<2> inner;    // whole, slices: around the columns
  Loops<1> indices;  // of the index tensor
  Loops<1> places;   // of the slices, one per index
  int64_t columns;
  int64_t column_strides[2];
  int64_t axis_size;
  int64_t axis_stride;
  int64_t index_count;
};

static void plan_walk(const pf_view& whole, const pf_view& indices, const pf_view& slices, int32_t axis,
                      GatherWalk* walk) {
  const int32_t shift = indices.ndim - 1;
  for (int32_t i = 0; i < axis; ++i) walk->outer.push(whole.dims[i], {whole.strides[i], slices.strides[i]});
  for (int32_t i = axis + 1; i < whole.ndim; ++i) {
    walk->inner.push(whole.dims[i], {whole.strides[i], slices.strides[i + shift]});
  }
  walk->inner.sort(1);
  walk->inner.pop(&walk->columns, walk->column_strides);
  walk->indices = loops_of(indices);
  walk->places = loops_of(slices, axis, axis + indices.ndim);
  walk->axis_size = whole.dims[axis];
  walk->axis_stride = whole.strides[axis];
  walk->index_count = walk->indices.count();
}

static pf_code check_dims(const pf_view& whole, const pf_view& indices, const pf_view& slices, int64_t axis,
                          pf_error* error) {
  bool fits = axis >= 0 && axis < whole.ndim && slices.ndim == whole.ndim - 1 + indices.ndim;
  for (int32_t i = 0; fits && i < slices.ndim; ++i) {
    const int32_t after = static_cast<int32_t>(axis) + indices.ndim;
    fits = slices.dims[i] == (i < axis    ? whole.dims[i]
                              : i < after ? indices.dims[i - axis]
                                          : whole.dims[i - indices.ndim + 1]);
  }
  if (fits) return PF_OK;
  return fail(error, PF_INVALID_ARGUMENT, "the dims of the slices along axis %lld do not fit",
              static_cast<long long>(axis));
}

// The index from the front, or -1 with `error` filled.
static inline int64_t checked_index(int64_t index, int64_t size, int64_t axis, pf_error* error) {
  const int64_t from_front = index < 0 ? index + size : index;
  if (from_front >= 0 && from_front < size) return from_front;
  fail(error, PF_OUT_OF_RANGE, "index %lld is out of range for axis %lld of size %lld", static_cast<long long>(index),
       static_cast<long long>(axis), static_cast<long long>(size));
  return -1;
}

template <class T>
static inline void copy_columns(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t count) {
  if (from_stride == 1 && to_stride == 1) {
    if (count == 1) {
      *to = *from;
    } else {
      __builtin_memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) to[i * to_stride] = from[i * from_stride];
}

static int64_t gather_items_per_task(const GatherWalk& walk, int64_t bytes) {
  return maximum_of(1, kGatherTaskBytes / maximum_of(1, bytes * walk.columns * walk.inner.count()));
}

template <class T, class Index>
static pf_code gather_typed(const pf_call* call, const pf_task* task, pf_error* error) {
  GatherWalk walk;
  const int64_t axis = call->ints[0];
  plan_walk(call->inputs[0], call->inputs[1], call->outputs[0], static_cast<int32_t>(axis), &walk);
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  const Index* const indices = static_cast<const Index*>(call->inputs[1].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  const int64_t slices = walk.inner.count();
  const int64_t per_task = gather_items_per_task(walk, sizeof(T));
  const int64_t total = walk.outer.count() * walk.index_count;
  int64_t item = task->begin * per_task;
  const int64_t end = minimum_of(total, task->end * per_task);
  if (item >= end) return PF_OK;
  Position<2> outer(walk.outer, item / walk.index_count);
  Position<1> source(walk.indices, item % walk.index_count);
  Position<1> place(walk.places, item % walk.index_count);
  int64_t left = walk.index_count - item % walk.index_count;
  for (; item < end; ++item) {
    const int64_t index = checked_index(indices[source.offset[0]], walk.axis_size, axis, error);
    if (index < 0) return PF_OUT_OF_RANGE;
    const T* const from = x + outer.offset[0] + index * walk.axis_stride;
    T* const to = y + outer.offset[1] + place.offset[0];
    if (slices == 1) {
      copy_columns(from, walk.column_strides[0], to, walk.column_strides[1], walk.columns);
    } else {
      Position<2> inner(walk.inner, 0);
      for (int64_t i = 0; i < slices; ++i, inner.next(walk.inner)) {
        copy_columns(from + inner.offset[0], walk.column_strides[0], to + inner.offset[1], walk.column_strides[1],
                     walk.columns);
      }
    }
    source.next(walk.indices);
    place.next(walk.places);
    if (--left == 0) {
      left = walk.index_count;
      outer.next(walk.outer);
    }
  }
  return PF_OK;
}

template <class Index>
static pf_code gather_sized(const pf_call* call, const pf_task* task, pf_error* error) {
  switch (element_size(call->inputs[0].dtype)) {
    case 1:
      return gather_typed<uint8_t, Index>(call, task, error);
    case 2:
      return gather_typed<uint16_t, Index>(call, task, error);
    case 4:
      return gather_typed<uint32_t, Index>(call, task, error);
    case 16:
      return gather_typed<Bytes16, Index>(call, task, error);
    default:
      return gather_typed<uint64_t, Index>(call, task, error);
  }
}

static pf_code gather_run(const pf_call* call, const pf_task* task, pf_error* error) {
  if (call->inputs[1].dtype == PF_DTYPE_int32) return gather_sized<int32_t>(call, task, error);
  return gather_sized<int64_t>(call, task, error);
}

static pf_code gather_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_code code = check_dims(x, call->inputs[1], call->outputs[0], call->ints[0], error);
  if (code != PF_OK) return code;
  GatherWalk walk;
  plan_walk(x, call->inputs[1], call->outputs[0], static_cast<int32_t>(call->ints[0]), &walk);
  const int64_t items = walk.outer.count() * walk.index_count;
  const int64_t bytes = element_size(x.dtype);
  return one_phase_of(
      partition, items, gather_items_per_task(walk, bytes),
      20.0 + 4.0 * static_cast<double>(items) + 0.1 * static_cast<double>(count_elements(call->outputs[0]) * bytes));
}

static int32_t gather_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 2, 1, 1, 0, why, why_size) && dtype_in(step, step->inputs[0], kAllDtypes, why, why_size) &&
         dtype_in(step, step->inputs[1], kIntDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         axis_in(step, 0, step->inputs[0].ndim, why, why_size);
}

// A unit is one outer slice and one block of columns of one inner row: nobody else writes there.
static int64_t scatter_blocks(const GatherWalk& walk) {
  return ceildiv(walk.columns, kScatterColumns);
}

static int64_t scatter_units(const GatherWalk& walk) {
  return walk.outer.count() * walk.inner.count() * scatter_blocks(walk);
}

static int64_t scatter_units_per_task(const GatherWalk& walk) {
  const int64_t columns = minimum_of(kScatterColumns, walk.columns);
  return maximum_of(1, kScatterTaskElements / maximum_of(1, columns * (walk.axis_size + walk.index_count)));
}

template <class T, class Index>
static pf_code scatter_typed(const pf_call* call, const pf_task* task, pf_error* error) {
  GatherWalk walk;
  const int64_t axis = call->ints[0];
  plan_walk(call->outputs[0], call->inputs[0], call->inputs[1], static_cast<int32_t>(axis), &walk);
  const Index* const indices = static_cast<const Index*>(call->inputs[0].data);
  const T* const updates = static_cast<const T*>(call->inputs[1].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  const int64_t blocks = scatter_blocks(walk);
  const int64_t rows = walk.inner.count();
  const int64_t per_task = scatter_units_per_task(walk);
  const int64_t end = minimum_of(scatter_units(walk), task->end * per_task);
  for (int64_t unit = task->begin * per_task; unit < end; ++unit) {
    const int64_t slice = unit / blocks;
    const int64_t first = unit % blocks * kScatterColumns;
    const int64_t count = minimum_of(kScatterColumns, walk.columns - first);
    const Position<2> outer(walk.outer, slice / rows);
    const Position<2> inner(walk.inner, slice % rows);
    const int64_t step = walk.column_strides[0];
    const int64_t update_step = walk.column_strides[1];
    T* const target = y + outer.offset[0] + inner.offset[0] + first * step;
    const T* const source = updates + outer.offset[1] + inner.offset[1] + first * update_step;
    for (int64_t row = 0; row < walk.axis_size; ++row) {
      T* const to = target + row * walk.axis_stride;
      for (int64_t c = 0; c < count; ++c) to[c * step] = T{0};
    }
    Position<1> index_at(walk.indices, 0);
    Position<1> place(walk.places, 0);
    for (int64_t i = 0; i < walk.index_count; ++i) {
      const int64_t index = checked_index(indices[index_at.offset[0]], walk.axis_size, axis, error);
      if (index < 0) return PF_OUT_OF_RANGE;
      T* const to = target + index * walk.axis_stride;
      const T* const from = source + place.offset[0];
      if (step == 1 && update_step == 1) {
        for (int64_t c = 0; c < count; ++c) to[c] += from[c];
      } else {
        for (int64_t c = 0; c < count; ++c) to[c * step] += from[c * update_step];
      }
      index_at.next(walk.indices);
      place.next(walk.places);
    }
  }
  return PF_OK;
}

template <class T>
static pf_code scatter_indexed(const pf_call* call, const pf_task* task, pf_error* error) {
  if (call->inputs[0].dtype == PF_DTYPE_int32) return scatter_typed<T, int32_t>(call, task, error);
  return scatter_typed<T, int64_t>(call, task, error);
}

static pf_code scatter_run(const pf_call* call, const pf_task* task, pf_error* error) {
  switch (call->outputs[0].dtype) {
    case PF_DTYPE_float32:
      return scatter_indexed<float>(call, task, error);
    case PF_DTYPE_float64:
      return scatter_indexed<double>(call, task, error);
    case PF_DTYPE_int32:
      return scatter_indexed<int32_t>(call, task, error);
    default:
      return scatter_indexed<int64_t>(call, task, error);
  }
}

static pf_code scatter_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& y = call->outputs[0];
  const pf_code code = check_dims(y, call->inputs[0], call->inputs[1], call->ints[0], error);
  if (code != PF_OK) return code;
  GatherWalk walk;
  plan_walk(y, call->inputs[0], call->inputs[1], static_cast<int32_t>(call->ints[0]), &walk);
  return one_phase_of(
      partition, scatter_units(walk), scatter_units_per_task(walk),
      20.0 + 0.3 * static_cast<double>(count_elements(y)) + 0.8 * static_cast<double>(count_elements(call->inputs[1])));
}

static int32_t scatter_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 2, 1, 1, 0, why, why_size) && dtype_in(step, step->inputs[0], kIntDtypes, why, why_size) &&
         dtype_in(step, step->inputs[1], kSummedDtypes, why, why_size) &&
         same_dtype(step, step->inputs[1], step->outputs[0], why, why_size) &&
         axis_in(step, 0, step->outputs[0].ndim, why, why_size);
}

static const pf_kernel kGatherKernels[] = {
    {"gather", gather_supports, nullptr, nullptr, gather_partition, gather_run},
    {"scatter_add", scatter_supports, nullptr, nullptr, scatter_partition, scatter_run},
};

const pf_kernel* gather_kernels(int32_t* count) {
  *count = sizeof(kGatherKernels) / sizeof(kGatherKernels[0]);
  return kGatherKernels;
}

}  // namespace PF_ISA
}  // namespace pf
