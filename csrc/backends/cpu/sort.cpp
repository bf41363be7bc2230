// sort: the elements along an axis in rising or falling order, and where each was; stable, NaN above everything.
// searchsorted: where each value would stand in a sorted row.
// Elements are compared as unsigned keys of the same order, so that one sort serves every dtype.
#include "backends/cpu/operands.h"
#include "kernels/scalar_math.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kInsertionLimit = 32;
constexpr int64_t kSelectionLimit = 64;  // so many of at least 16 times as many are kept in order while reading
constexpr int kDigits = 8;
constexpr int kDigitValues = 256;
constexpr int64_t kSearchTaskElements = 4096;

struct Entry {
  uint64_t key;
  int64_t index;
};

// Keys of a dtype rise as its values do; equal values have equal keys, and NaNs the largest.
static inline uint64_t key_of(float x) {
  if (x != x) return UINT32_MAX;
  const uint32_t bits = math::bits_of(x == 0.0f ? 0.0f : x);
  return (bits >> 31) != 0 ? static_cast<uint32_t>(~bits) : bits | uint32_t{1} << 31;
}
static inline uint64_t key_of(double x) {
  if (x != x) return ~uint64_t{0};
  const uint64_t bits = math::bits_of(x == 0.0 ? 0.0 : x);
  return (bits >> 63) != 0 ? ~bits : bits | uint64_t{1} << 63;
}
static inline uint64_t key_of(int32_t x) {
  return static_cast<uint32_t>(x) ^ uint32_t { 1 } << 31;
}
static inline uint64_t key_of(int64_t x) {
  return static_cast<uint64_t>(x) ^ uint64_t { 1 } << 63;
}
static inline uint64_t key_of(uint64_t x) {
  return x;
}
static inline uint64_t key_of(uint8_t x) {
  return x;
}

// Calls visit with the data as what it holds.
template <class Visit>
static inline void with_type(const void* data, int32_t dtype, const Visit& visit) {
  switch (dtype) {
    case PF_DTYPE_float32:
      return visit(static_cast<const float*>(data));
    case PF_DTYPE_float64:
      return visit(static_cast<const double*>(data));
    case PF_DTYPE_int32:
      return visit(static_cast<const int32_t*>(data));
    case PF_DTYPE_int64:
      return visit(static_cast<const int64_t*>(data));
    case PF_DTYPE_uint64:
      return visit(static_cast<const uint64_t*>(data));
    default:
      return visit(static_cast<const uint8_t*>(data));
  }
}

static inline uint64_t key_at(const void* data, int32_t dtype, int64_t at) {
  uint64_t key = 0;
  with_type(data, dtype, [&](const auto* values) { key = key_of(values[at]); });
  return key;
}

static void insertion_sort(Entry* entries, int64_t count) {
  for (int64_t i = 1; i < count; ++i) {
    const Entry entry = entries[i];
    int64_t at = i;
    for (; at > 0 && entries[at - 1].key > entry.key; --at) entries[at] = entries[at - 1];
    entries[at] = entry;
  }
}

// By digits, the lowest first; a digit that is the same in all keys costs nothing. The result is in the one returned.
static Entry* radix_sort(Entry* entries, Entry* other, int64_t* counts, int64_t count) {
  for (int i = 0; i < kDigits * kDigitValues; ++i) counts[i] = 0;
  for (int64_t i = 0; i < count; ++i) {
    for (int digit = 0; digit < kDigits; ++digit) {
      ++counts[digit * kDigitValues + ((entries[i].key >> (8 * digit)) & 255)];
    }
  }
  for (int digit = 0; digit < kDigits; ++digit) {
    int64_t* const places = counts + digit * kDigitValues;
    if (places[(entries[0].key >> (8 * digit)) & 255] == count) continue;
    int64_t total = 0;
    for (int value = 0; value < kDigitValues; ++value) {
      const int64_t here = places[value];
      places[value] = total;
      total += here;
    }
    for (int64_t i = 0; i < count; ++i) other[places[(entries[i].key >> (8 * digit)) & 255]++] = entries[i];
    Entry* const sorted = other;
    other = entries;
    entries = sorted;
  }
  return entries;
}

// Adds an entry to the least ones so far, in order.
static inline void keep(Entry* kept, int64_t* filled, int64_t limit, Entry entry) {
  if (*filled == limit && entry.key >= kept[limit - 1].key) return;
  int64_t at = *filled < limit ? (*filled)++ : limit - 1;
  for (; at > 0 && kept[at - 1].key > entry.key; --at) kept[at] = kept[at - 1];
  kept[at] = entry;
}

template <class T>
static void copy_picked(const void* from, int64_t stride, const Entry* entries, int64_t count, void* to,
                        int64_t to_stride) {
  for (int64_t i = 0; i < count; ++i) {
    static_cast<T*>(to)[i * to_stride] = static_cast<const T*>(from)[entries[i].index * stride];
  }
}

static Loops<3> rows_of(const pf_call* call, int32_t axis) {
  const pf_view& x = call->inputs[0];
  Loops<3> rows;
  for (int32_t i = 0; i < x.ndim; ++i) {
    if (i != axis) rows.push(x.dims[i], {x.strides[i], call->outputs[0].strides[i], call->outputs[1].strides[i]});
  }
  return rows;
}

static pf_code sort_run(const pf_call* call, const pf_task* task, pf_error*) {
  const pf_view& x = call->inputs[0];
  const pf_view& values = call->outputs[0];
  const pf_view& indices = call->outputs[1];
  const int32_t axis = static_cast<int32_t>(call->ints[0]);
  const uint64_t flipped = call->ints[1] != 0 ? ~uint64_t{0} : 0;
  const Loops<3> rows = rows_of(call, axis);
  const int64_t length = x.dims[axis];
  const int64_t kept = values.dims[axis];
  const int64_t size = element_size(x.dtype);
  int64_t* const counts = static_cast<int64_t*>(task->thread_scratch);
  Entry* const first = reinterpret_cast<Entry*>(counts + kDigits * kDigitValues);
  for (int64_t row = task->begin; row < minimum_of(task->end, rows.count()) && kept > 0; ++row) {
    const Position<3> position(rows, row);
    const char* const from = static_cast<const char*>(x.data) + position.offset[0] * size;
    with_type(from, x.dtype, [&](const auto* elements) {
      for (int64_t i = 0; i < length; ++i) first[i] = {key_of(elements[i * x.strides[axis]]) ^ flipped, i};
    });
    Entry* sorted = first;
    if (kept <= kSelectionLimit && kept <= length / 16) {
      int64_t filled = 0;
      for (int64_t i = 0; i < length; ++i) keep(first, &filled, kept, first[i]);
    } else if (length <= kInsertionLimit) {
      insertion_sort(first, length);
    } else {
      sorted = radix_sort(first, first + length, counts, length);
    }
    char* const to = static_cast<char*>(values.data) + position.offset[1] * size;
    if (size == 1) {
      copy_picked<uint8_t>(from, x.strides[axis], sorted, kept, to, values.strides[axis]);
    } else if (size == 4) {
      copy_picked<uint32_t>(from, x.strides[axis], sorted, kept, to, values.strides[axis]);
    } else {
      copy_picked<uint64_t>(from, x.strides[axis], sorted, kept, to, values.strides[axis]);
    }
    int64_t* const places = static_cast<int64_t*>(indices.data) + position.offset[2];
    for (int64_t i = 0; i < kept; ++i) places[i * indices.strides[axis]] = sorted[i].index;
  }
  return PF_OK;
}

static pf_code sort_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const int64_t axis = call->ints[0];
  if (axis < 0 || axis >= x.ndim) {
    return fail(error, PF_INVALID_ARGUMENT, "axis %lld is out of range for %d dims", static_cast<long long>(axis),
                x.ndim);
  }
  for (int32_t k = 0; k < 2; ++k) {
    for (int32_t i = 0; i < x.ndim; ++i) {
      const int64_t size = call->outputs[k].dims[i];
      if (size == x.dims[i] || (i == axis && size >= 0 && size < x.dims[i])) continue;
      return fail(error, PF_INVALID_ARGUMENT, "%lld elements are wanted along axis %d of size %lld",
                  static_cast<long long>(size), i, static_cast<long long>(x.dims[i]));
    }
  }
  const int64_t length = x.dims[axis];
  partition->thread_scratch =
      static_cast<size_t>(kDigits * kDigitValues) * sizeof(int64_t) + static_cast<size_t>(2 * length) * sizeof(Entry);
  return one_phase_of(partition, rows_of(call, static_cast<int32_t>(axis)).count(), 1,
                      50.0 + 15.0 * static_cast<double>(count_elements(x)));
}

constexpr uint32_t kSortedDtypes = kAnyDtypes | dtype_bit(PF_DTYPE_uint64);

static int32_t sort_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 2, 2, 0, why, why_size) && dtype_in(step, step->inputs[0], kSortedDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         dtype_in(step, step->outputs[1], kInt64Dtype, why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[1], why, why_size) &&
         axis_in(step, 0, step->inputs[0].ndim, why, why_size);
}

static pf_code search_run(const pf_call* call, const pf_task* task, pf_error*) {
  const pf_view& sorted = call->inputs[0];
  const pf_view& values = call->inputs[1];
  const bool right = call->ints[0] != 0;
  Loops<2> loops;
  for (int32_t i = 0; i < values.ndim; ++i) {
    loops.push(values.dims[i], {values.strides[i], call->outputs[0].strides[i]});
  }
  const int64_t end = minimum_of(loops.count(), task->end * kSearchTaskElements);
  int64_t item = task->begin * kSearchTaskElements;
  if (item >= end) return PF_OK;
  for (Position<2> position(loops, item); item < end; ++item, position.next(loops)) {
    const uint64_t key = key_at(values.data, values.dtype, position.offset[0]);
    int64_t low = 0;
    int64_t high = sorted.dims[0];
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      const uint64_t there = key_at(sorted.data, sorted.dtype, middle * sorted.strides[0]);
      if (there < key || (right && there == key)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    static_cast<int64_t*>(call->outputs[0].data)[position.offset[1]] = low;
  }
  return PF_OK;
}

static pf_code search_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  if (!same_dims(call->inputs[1], call->outputs[0], error)) return PF_INVALID_ARGUMENT;
  const int64_t count = count_elements(call->inputs[1]);
  return one_phase_of(partition, count, kSearchTaskElements, 20.0 + 50.0 * static_cast<double>(count));
}

static int32_t search_supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 2, 1, 1, 0, why, why_size) && dtype_in(step, step->inputs[0], kSortedDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->inputs[1], why, why_size) &&
         dtype_in(step, step->outputs[0], kInt64Dtype, why, why_size) &&
         same_rank(step, step->inputs[1], step->outputs[0], why, why_size) &&
         (step->inputs[0].ndim == 1 ||
          refuse(why, why_size, "searchsorted takes a sorted row of 1 dim; got %d dims", step->inputs[0].ndim));
}

static const pf_kernel kSortKernels[] = {
    {"sort", sort_supports, nullptr, nullptr, sort_partition, sort_run},
    {"searchsorted", search_supports, nullptr, nullptr, search_partition, search_run},
};

const pf_kernel* sort_kernels(int32_t* count) {
  *count = sizeof(kSortKernels) / sizeof(kSortKernels[0]);
  return kSortKernels;
}

}  // namespace PF_ISA
}  // namespace pf
