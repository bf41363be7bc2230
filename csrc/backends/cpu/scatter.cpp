// gather_elements, scatter_elements: one index per element, along one axis. gather_nd, scatter_nd: an index for each of
// the first axes, and the slice behind them. All four walk a chain of index tuples beside lanes that never meet.
#include "backends/cpu/operands.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kScatterTaskElements = 16384;
constexpr int64_t kScatterCopyElements = 65536;

enum Reduction : int64_t { kReplace, kAdd, kMultiply, kMinimum, kMaximum };

// Operands of the loops: data, indices, slices (what is read from data, or written to it).
struct IndexWalk {
  Loops<3> chain;
  Loops<3> lanes;
  int32_t components;
  int64_t component_stride;  // from one index of a tuple to the next
  int64_t sizes[PF_MAX_NDIM];
  int64_t strides[PF_MAX_NDIM];
  int32_t first_axis;  // of data: the axis of the first component
  int64_t chain_count;
  int64_t lane_count;
  int64_t lanes_per_task;
};

static void finish_walk(IndexWalk* walk) {
  walk->chain_count = walk->chain.count();
  walk->lane_count = walk->lanes.count();
  walk->lanes_per_task = maximum_of(1, kScatterTaskElements / maximum_of(1, walk->chain_count));
}

static void walk_elements(const pf_view& data, const pf_view& indices, const pf_view& slices, int32_t axis,
                          IndexWalk* walk) {
  for (int32_t i = 0; i < indices.ndim; ++i) {
    Loops<3>& loops = i == axis ? walk->chain : walk->lanes;
    loops.push(indices.dims[i], {i == axis ? 0 : data.strides[i], indices.strides[i], slices.strides[i]});
  }
  walk->components = 1;
  walk->component_stride = 0;
  walk->sizes[0] = data.dims[axis];
  walk->strides[0] = data.strides[axis];
  walk->first_axis = axis;
  finish_walk(walk);
}

static void walk_tuples(const pf_view& data, const pf_view& indices, const pf_view& slices, int32_t batch,
                        IndexWalk* walk) {
  const int32_t last = indices.ndim - 1;
  for (int32_t i = 0; i < last; ++i) {
    walk->chain.push(indices.dims[i], {i < batch ? data.strides[i] : 0, indices.strides[i], slices.strides[i]});
  }
  walk->components = static_cast<int32_t>(indices.dims[last]);
  walk->component_stride = indices.strides[last];
  for (int32_t k = 0; k < walk->components; ++k) {
    walk->sizes[k] = data.dims[batch + k];
    walk->strides[k] = data.strides[batch + k];
  }
  walk->first_axis = batch;
  for (int32_t i = batch + walk->components; i < data.ndim; ++i) {
    walk->lanes.push(data.dims[i], {data.strides[i], 0, slices.strides[last + i - batch - walk->components]});
  }
  finish_walk(walk);
}

// The offset in data that the indices at `at` stand for; false with `error` filled if one is out of range.
static inline bool place_of(const IndexWalk& walk, const pf_view& indices, int64_t at, int64_t* place,
                            pf_error* error) {
  *place = 0;
  for (int32_t k = 0; k < walk.components; ++k, at += walk.component_stride) {
    const int64_t index = indices.dtype == PF_DTYPE_int32 ? static_cast<const int32_t*>(indices.data)[at]
                                                          : static_cast<const int64_t*>(indices.data)[at];
    const int64_t from_front = index < 0 ? index + walk.sizes[k] : index;
    if (from_front < 0 || from_front >= walk.sizes[k]) {
      fail(error, PF_OUT_OF_RANGE, "index %lld is out of range for axis %d of size %lld", static_cast<long long>(index),
           walk.first_axis + k, static_cast<long long>(walk.sizes[k]));
      return false;
    }
    *place += from_front * walk.strides[k];
  }
  return true;
}

struct Replace {
  template <class T>
  static T apply(T, T update) {
    return update;
  }
};
struct Add {
  template <class T>
  static T apply(T old, T update) {
    return static_cast<T>(old + update);
  }
};
struct Multiply {
  template <class T>
  static T apply(T old, T update) {
    return static_cast<T>(old * update);
  }
};
struct Minimum {
  template <class T>
  static T apply(T old, T update) {
    return update < old || update != update ? update : old;
  }
};
struct Maximum {
  template <class T>
  static T apply(T old, T update) {
    return update > old || update != update ? update : old;
  }
};

// Visits every (place in data, place in slices) of lanes [begin, end), chain by chain within a lane.
template <class Visit>
static pf_code for_each_place(const IndexWalk& walk, const pf_view& indices, int64_t begin, int64_t end,
                              pf_error* error, const Visit& visit) {
  if (begin >= end) return PF_OK;
  Position<3> chain(walk.chain, 0);
  for (int64_t i = 0; i < walk.chain_count; ++i, chain.next(walk.chain)) {
    Position<3> lane(walk.lanes, begin);
    int64_t known = -1;
    int64_t place = 0;
    for (int64_t at = begin; at < end; ++at, lane.next(walk.lanes)) {
      const int64_t here = chain.offset[1] + lane.offset[1];
      if (at == begin || here != known) {
        if (!place_of(walk, indices, here, &place, error)) return PF_OUT_OF_RANGE;
        known = here;
      }
      visit(chain.offset[0] + lane.offset[0] + place, chain.offset[2] + lane.offset[2]);
    }
  }
  return PF_OK;
}

template <class T>
static pf_code gather_typed(const pf_call* call, const IndexWalk& walk, const pf_task* task, pf_error* error) {
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  return for_each_place(walk, call->inputs[1], task->begin * walk.lanes_per_task,
                        minimum_of(walk.lane_count, task->end * walk.lanes_per_task), error,
                        [&](int64_t from, int64_t to) { y[to] = x[from]; });
}

template <bool kTuples>
static void plan_walk(const pf_call* call, const pf_view& data, const pf_view& slices, IndexWalk* walk) {
  const int32_t at = static_cast<int32_t>(call->ints[0]);
  if (kTuples) {
    walk_tuples(data, call->inputs[1], slices, at, walk);
  } else {
    walk_elements(data, call->inputs[1], slices, at, walk);
  }
}

// What `function` answers to an element of that many bytes.
template <class Function>
static pf_code by_size(int64_t bytes, const Function& function) {
  switch (bytes) {
    case 1:
      return function(uint8_t());
    case 2:
      return function(uint16_t());
    case 4:
      return function(uint32_t());
    case 16:
      return function(Bytes16());
    default:
      return function(uint64_t());
  }
}

template <bool kTuples>
static pf_code gather_run(const pf_call* call, const pf_task* task, pf_error* error) {
  IndexWalk walk;
  plan_walk<kTuples>(call, call->inputs[0], call->outputs[0], &walk);
  return by_size(element_size(call->inputs[0].dtype),
                 [&](auto element) { return gather_typed<decltype(element)>(call, walk, task, error); });
}

template <class Op, class T>
static pf_code scatter_typed(const pf_call* call, const IndexWalk& walk, const pf_task* task, pf_error* error) {
  T* const y = static_cast<T*>(call->outputs[0].data);
  const T* const updates = static_cast<const T*>(call->inputs[2].data);
  return for_each_place(walk, call->inputs[1], task->begin * walk.lanes_per_task,
                        minimum_of(walk.lane_count, task->end * walk.lanes_per_task), error,
                        [&](int64_t to, int64_t from) { y[to] = Op::apply(y[to], updates[from]); });
}

template <class Op>
static pf_code scatter_numbers(const pf_call* call, const IndexWalk& walk, const pf_task* task, pf_error* error) {
  switch (call->outputs[0].dtype) {
    case PF_DTYPE_float32:
      return scatter_typed<Op, float>(call, walk, task, error);
    case PF_DTYPE_float64:
      return scatter_typed<Op, double>(call, walk, task, error);
    case PF_DTYPE_int32:
      return scatter_typed<Op, int32_t>(call, walk, task, error);
    case PF_DTYPE_int64:
      return scatter_typed<Op, int64_t>(call, walk, task, error);
    case PF_DTYPE_uint64:
      return scatter_typed<Op, uint64_t>(call, walk, task, error);
    default:
      return scatter_typed<Op, uint8_t>(call, walk, task, error);
  }
}

template <class T>
static void copy_elements(const pf_view& x, const pf_view& y, int64_t begin, int64_t end) {
  Loops<2> loops;
  for (int32_t i = 0; i < x.ndim; ++i) loops.push(x.dims[i], {x.strides[i], y.strides[i]});
  if (begin >= end) return;
  const T* const from = static_cast<const T*>(x.data);
  T* const to = static_cast<T*>(y.data);
  const int64_t steps[2] = {loops.ndim == 0 ? 0 : loops.strides[0][loops.ndim - 1],
                            loops.ndim == 0 ? 0 : loops.strides[1][loops.ndim - 1]};
  Position<2> position(loops, begin);
  for (int64_t at = begin; at < end;) {
    const int64_t run = minimum_of(end - at, position.run(loops));
    for (int64_t i = 0; i < run; ++i) {
      to[position.offset[1] + i * steps[1]] = from[position.offset[0] + i * steps[0]];
    }
    at += run;
    position.advance(loops, run);
  }
}

// Phase 0 copies data, phase 1 puts the updates in.
template <bool kTuples>
static pf_code scatter_run(const pf_call* call, const pf_task* task, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int64_t size = element_size(x.dtype);
  if (task->phase == 0) {
    const int64_t begin = task->begin * kScatterCopyElements;
    const int64_t end = minimum_of(count_elements(x), task->end * kScatterCopyElements);
    return by_size(size, [&](auto element) {
      copy_elements<decltype(element)>(x, y, begin, end);
      return PF_OK;
    });
  }
  IndexWalk walk;
  plan_walk<kTuples>(call, y, call->inputs[2], &walk);
  switch (call->ints[1]) {
    case kAdd:
      return scatter_numbers<Add>(call, walk, task, error);
    case kMultiply:
      return scatter_numbers<Multiply>(call, walk, task, error);
    case kMinimum:
      return scatter_numbers<Minimum>(call, walk, task, error);
    case kMaximum:
      return scatter_numbers<Maximum>(call, walk, task, error);
    default:
      break;
  }
  return by_size(size,
                 [&](auto element) { return scatter_typed<Replace, decltype(element)>(call, walk, task, error); });
}

static pf_code misfit(pf_error* error) {
  return fail(error, PF_INVALID_ARGUMENT, "the dims of data, indices and slices do not fit each other");
}

template <bool kTuples>
static pf_code check_dims(const pf_call* call, const pf_view& data, const pf_view& slices, pf_error* error) {
  const pf_view& indices = call->inputs[1];
  const int64_t at = call->ints[0];
  if (!kTuples) {
    bool fits = at >= 0 && at < data.ndim && indices.ndim == data.ndim && slices.ndim == data.ndim;
    for (int32_t i = 0; fits && i < data.ndim; ++i) {
      fits = slices.dims[i] == indices.dims[i] && (i == at || indices.dims[i] <= data.dims[i]);
    }
    return fits ? PF_OK : misfit(error);
  }
  const int32_t last = indices.ndim - 1;
  const int64_t depth = last < 0 ? -1 : indices.dims[last];
  bool fits =
      at >= 0 && at <= last && depth >= 0 && at + depth <= data.ndim && slices.ndim == last + data.ndim - at - depth;
  for (int32_t i = 0; fits && i < slices.ndim; ++i) {
    fits = slices.dims[i] == (i < last ? indices.dims[i] : data.dims[i - last + at + depth]);
  }
  for (int32_t i = 0; fits && i < at; ++i) fits = indices.dims[i] == data.dims[i];
  return fits ? PF_OK : misfit(error);
}

static int64_t tasks_of(const IndexWalk& walk) {
  return maximum_of(1, ceildiv(walk.lane_count, walk.lanes_per_task));
}

template <bool kTuples>
static pf_code gather_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_code code = check_dims<kTuples>(call, call->inputs[0], call->outputs[0], error);
  if (code != PF_OK) return code;
  IndexWalk walk;
  plan_walk<kTuples>(call, call->inputs[0], call->outputs[0], &walk);
  return one_phase(partition, tasks_of(walk), 20.0 + 3.0 * static_cast<double>(count_elements(call->outputs[0])));
}

template <bool kTuples>
static pf_code scatter_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  if (!same_dims(x, call->outputs[0], error)) return PF_INVALID_ARGUMENT;
  const pf_code code = check_dims<kTuples>(call, x, call->inputs[2], error);
  if (code != PF_OK) return code;
  IndexWalk walk;
  plan_walk<kTuples>(call, call->outputs[0], call->inputs[2], &walk);
  partition->phases = 2;
  partition->tasks[0] = maximum_of(1, ceildiv(count_elements(x), kScatterCopyElements));
  partition->tasks[1] = tasks_of(walk);
  partition->cost =
      20.0 + 0.3 * static_cast<double>(count_elements(x)) + 3.0 * static_cast<double>(count_elements(call->inputs[2]));
  return PF_OK;
}

static int32_t gather_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 2, 1, 1, 0, why, why_size) && dtype_in(step, step->inputs[0], kAllDtypes, why, why_size) &&
         dtype_in(step, step->inputs[1], kIntDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size);
}

static int32_t scatter_supports(const pf_step* step, char* why, size_t why_size) {
  if (!takes(step, 3, 1, 2, 0, why, why_size)) return 0;
  const int64_t reduction = step->ints[1];
  const bool adds = reduction == kAdd || reduction == kMultiply;
  const uint32_t set = reduction == kReplace ? kAllDtypes : adds ? kSummedDtypes : kOrderedDtypes;
  return dtype_in(step, step->inputs[0], set, why, why_size) &&
         dtype_in(step, step->inputs[1], kIntDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->inputs[2], why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size);
}

static const pf_kernel kScatterKernels[] = {
    {"gather_elements", gather_supports, nullptr, nullptr, gather_partition<false>, gather_run<false>},
    {"gather_nd", gather_supports, nullptr, nullptr, gather_partition<true>, gather_run<true>},
    {"scatter_elements", scatter_supports, nullptr, nullptr, scatter_partition<false>, scatter_run<false>},
    {"scatter_nd", scatter_supports, nullptr, nullptr, scatter_partition<true>, scatter_run<true>},
};

const pf_kernel* scatter_kernels(int32_t* count) {
  *count = sizeof(kScatterKernels) / sizeof(kScatterKernels[0]);
  return kScatterKernels;
}

}  // namespace PF_ISA
}  // namespace pf
