// Iteration over strided views, shared by all kernels.
#ifndef PYFLOW_KERNELS_VIEW_H
#define PYFLOW_KERNELS_VIEW_H

#include <stdint.h>

#include "pyflow/backend.h"

#define PF_ALWAYS_INLINE inline __attribute__((always_inline))

namespace pf {
namespace PF_ISA {

static inline int64_t minimum_of(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t maximum_of(int64_t a, int64_t b) {
  return a > b ? a : b;
}
static inline int64_t ceildiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Bytes that one element of a dtype takes in memory; 0 for a code that is none.
static inline int64_t element_size(int32_t dtype) {
  switch (dtype) {
#define PF_ROW(name, code, bits) \
  case code:                     \
    return (bits) < 8 ? 1 : (bits) / 8;
    PF_DTYPES(PF_ROW)
#undef PF_ROW
  }
  return 0;
}

// The largest element, for what only moves it.
struct Bytes16 {
  uint64_t halves[2];
};

static inline const char* dtype_name(int32_t dtype) {
  switch (dtype) {
#define PF_ROW(name, code, bits) \
  case code:                     \
    return #name;
    PF_DTYPES(PF_ROW)
#undef PF_ROW
  }
  return "unknown dtype";
}

static inline bool is_num(int32_t dtype) {
  return dtype == PF_DTYPE_float32 || dtype == PF_DTYPE_float64 || dtype == PF_DTYPE_int32 || dtype == PF_DTYPE_int64;
}
static inline bool is_float(int32_t dtype) {
  return dtype == PF_DTYPE_float32 || dtype == PF_DTYPE_float64;
}

static inline int64_t count_elements(const int64_t* dims, int32_t ndim) {
  int64_t count = 1;
  for (int32_t axis = 0; axis < ndim; ++axis) count *= dims[axis];
  return count;
}
static inline int64_t count_elements(const pf_view& view) {
  return count_elements(view.dims, view.ndim);
}

static inline bool is_contiguous(const pf_view& view) {
  int64_t expected = 1;
  for (int32_t axis = view.ndim - 1; axis >= 0; --axis) {
    if (view.dims[axis] == 0) return true;
    if (view.dims[axis] != 1 && view.strides[axis] != expected) return false;
    expected *= view.dims[axis];
  }
  return true;
}

// Loops over `noperands` operands that share one index space; strides count elements of each operand.
template <int kOperands>
struct Nest {
  int32_t ndim;
  int32_t noperands;
  int64_t dims[PF_MAX_NDIM];
  int64_t strides[kOperands][PF_MAX_NDIM];

  // The index space, outermost dim first; operands follow with `add`.
  void start(const int64_t* space, int32_t space_ndim) {
    ndim = space_ndim;
    noperands = 0;
    for (int32_t axis = 0; axis < ndim; ++axis) dims[axis] = space[axis];
  }

  // An operand of the space's ndim; a dim of size 1 counts as broadcast.
  void add(const int64_t* operand_dims, const int64_t* operand_strides) {
    for (int32_t axis = 0; axis < ndim; ++axis)
      strides[noperands][axis] = operand_dims[axis] == 1 ? 0 : operand_strides[axis];
    ++noperands;
  }
  void add(const pf_view& view) { add(view.dims, view.strides); }

  // Puts the dims in the order of one operand's strides, largest first: for loops whose order does not matter.
  void order_by(int32_t operand) {
    const auto reach = [this, operand](int32_t axis) {
      const int64_t stride = strides[operand][axis];
      return stride < 0 ? -stride : stride;
    };
    for (int32_t end = 1; end < ndim; ++end)
      for (int32_t axis = end; axis > 0 && reach(axis - 1) < reach(axis); --axis) {
        swap_axis(dims, axis);
        for (int32_t k = 0; k < noperands; ++k) swap_axis(strides[k], axis);
      }
  }
  static void swap_axis(int64_t* values, int32_t axis) {
    const int64_t value = values[axis];
    values[axis] = values[axis - 1];
    values[axis - 1] = value;
  }

  // Drops dims of size 1 and merges neighbours that every operand walks as one; the order of elements stays.
  void collapse() {
    int32_t kept = 0;
    for (int32_t axis = 0; axis < ndim; ++axis) {
      if (dims[axis] == 1) continue;
      bool merge = kept > 0;
      for (int32_t k = 0; merge && k < noperands; ++k) merge = strides[k][kept - 1] == strides[k][axis] * dims[axis];
      if (merge) {
        dims[kept - 1] *= dims[axis];
      } else {
        dims[kept] = dims[axis];
        ++kept;
      }
      for (int32_t k = 0; k < noperands; ++k) strides[k][kept - 1] = strides[k][axis];
    }
    ndim = kept;
  }

  int64_t count() const { return count_elements(dims, ndim); }

  // Offsets (elements) of each operand at the flat row-major position over the first `outer` dims.
  void offsets_at(int64_t position, int32_t outer, int64_t* offsets) const {
    for (int32_t k = 0; k < noperands; ++k) offsets[k] = 0;
    for (int32_t axis = outer - 1; axis >= 0; --axis) {
      const int64_t coordinate = position % dims[axis];
      position /= dims[axis];
      for (int32_t k = 0; k < noperands; ++k) offsets[k] += coordinate * strides[k][axis];
    }
  }
};

// Walks the first `outer` dims of a nest from a flat position on, keeping every operand's offset (elements).
template <int kOperands>
struct Walk {
  const Nest<kOperands>* nest;
  int32_t outer;
  int64_t coordinates[PF_MAX_NDIM];
  int64_t offsets[kOperands];

  void start(const Nest<kOperands>& of, int32_t outer_dims, int64_t position) {
    nest = &of;
    outer = outer_dims;
    of.offsets_at(position, outer_dims, offsets);
    for (int32_t axis = outer - 1; axis >= 0; --axis) {
      coordinates[axis] = position % of.dims[axis];
      position /= of.dims[axis];
    }
  }

  void next() {
    for (int32_t axis = outer - 1; axis >= 0; --axis) {
      for (int32_t k = 0; k < nest->noperands; ++k) offsets[k] += nest->strides[k][axis];
      if (++coordinates[axis] < nest->dims[axis]) return;
      for (int32_t k = 0; k < nest->noperands; ++k) offsets[k] -= nest->strides[k][axis] * nest->dims[axis];
      coordinates[axis] = 0;
    }
  }
};

}  // namespace PF_ISA
}  // namespace pf

#endif
