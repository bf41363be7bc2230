// Walking strided views: loops over dims with the strides of several operands, in a canonical form.
#ifndef PYFLOW_KERNELS_STRIDED_H
#define PYFLOW_KERNELS_STRIDED_H

#include "kernels/view.h"

namespace pf {
namespace PF_ISA {

static inline int64_t magnitude(int64_t a) {
  return a < 0 ? -a : a;
}

// Nested loops, outermost first, with one stride per loop and operand (in elements).
template <int N>
struct Loops {
  int32_t ndim = 0;
  int64_t dims[PF_MAX_NDIM];
  int64_t strides[N][PF_MAX_NDIM];

  int64_t count() const {
    int64_t total = 1;
    for (int32_t i = 0; i < ndim; ++i) total *= dims[i];
    return total;
  }

  // Adds an innermost loop; one of size 1 is left out, one that continues the loop around it is merged into that.
  void push(int64_t dim, const int64_t (&stride)[N]) {
    if (dim == 1) return;
    bool merges = ndim > 0;
    for (int k = 0; k < N && merges; ++k) merges = strides[k][ndim - 1] == stride[k] * dim;
    if (merges) {
      dims[ndim - 1] *= dim;
      for (int k = 0; k < N; ++k) strides[k][ndim - 1] = stride[k];
      return;
    }
    dims[ndim] = dim;
    for (int k = 0; k < N; ++k) strides[k][ndim] = stride[k];
    ++ndim;
  }

  // Takes the innermost loop off. Without loops, it answers size 1 and strides 0.
  void pop(int64_t* dim, int64_t (&stride)[N]) {
    *dim = 1;
    for (int k = 0; k < N; ++k) stride[k] = 0;
    if (ndim == 0) return;
    --ndim;
    *dim = dims[ndim];
    for (int k = 0; k < N; ++k) stride[k] = strides[k][ndim];
  }

  void move_to_end(int32_t from) {
    const int64_t dim = dims[from];
    int64_t stride[N];
    for (int k = 0; k < N; ++k) stride[k] = strides[k][from];
    for (int32_t i = from; i + 1 < ndim; ++i) {
      dims[i] = dims[i + 1];
      for (int k = 0; k < N; ++k) strides[k][i] = strides[k][i + 1];
    }
    dims[ndim - 1] = dim;
    for (int k = 0; k < N; ++k) strides[k][ndim - 1] = stride[k];
  }

  // Orders the loops by falling stride of operand `by`, then merges. Only where the order of elements is free.
  void sort(int by) {
    Loops sorted;
    for (int32_t left = ndim; left > 0; --left) {
      int32_t largest = 0;
      for (int32_t i = 1; i < left; ++i) {
        if (magnitude(strides[by][i]) > magnitude(strides[by][largest])) largest = i;
      }
      const int64_t dim = dims[largest];
      int64_t stride[N];
      for (int k = 0; k < N; ++k) stride[k] = strides[k][largest];
      move_to_end(largest);
      ndim = left - 1;
      sorted.push(dim, stride);
    }
    *this = sorted;
  }
};

// A position in loops, with the offset of each operand. Position 0 exists in empty loops too.
template <int N>
struct Position {
  int64_t index[PF_MAX_NDIM];
  int64_t offset[N];

  Position(const Loops<N>& loops, int64_t linear) {
    for (int k = 0; k < N; ++k) offset[k] = 0;
    for (int32_t i = loops.ndim - 1; i >= 0; --i) {
      if (linear == 0) {
        index[i] = 0;
        continue;
      }
      index[i] = linear % loops.dims[i];
      linear /= loops.dims[i];
      for (int k = 0; k < N; ++k) offset[k] += index[i] * loops.strides[k][i];
    }
  }

  // Moves `by` elements along the innermost loop, at most to its end.
  void advance(const Loops<N>& loops, int64_t by) {
    int32_t i = loops.ndim - 1;
    if (i < 0) return;
    index[i] += by;
    for (int k = 0; k < N; ++k) offset[k] += by * loops.strides[k][i];
    while (index[i] >= loops.dims[i]) {
      for (int k = 0; k < N; ++k) offset[k] -= index[i] * loops.strides[k][i];
      index[i] = 0;
      if (--i < 0) return;
      ++index[i];
      for (int k = 0; k < N; ++k) offset[k] += loops.strides[k][i];
    }
  }

  void next(const Loops<N>& loops) { advance(loops, 1); }

  // Elements left on the innermost loop.
  int64_t run(const Loops<N>& loops) const {
    return loops.ndim == 0 ? 1 : loops.dims[loops.ndim - 1] - index[loops.ndim - 1];
  }
};

// Dims [begin, end) of a view, merged, in logical order.
static inline Loops<1> loops_of(const pf_view& view, int32_t begin, int32_t end) {
  Loops<1> loops;
  for (int32_t i = begin; i < end; ++i) loops.push(view.dims[i], {view.strides[i]});
  return loops;
}

static inline Loops<1> loops_of(const pf_view& view) {
  return loops_of(view, 0, view.ndim);
}

// True if these loops walk adjacent elements upwards.
static inline bool is_contiguous(const Loops<1>& loops) {
  return loops.ndim == 0 || (loops.ndim == 1 && loops.strides[0][0] == 1);
}

// Copies `count` elements of a strided view, from `position` on in logical order, to adjacent memory.
template <class T>
static inline void read_strided(const T* from, const Loops<1>& loops, Position<1>* position, int64_t count, T* to) {
  const int64_t stride = loops.ndim == 0 ? 0 : loops.strides[0][loops.ndim - 1];
  while (count > 0) {
    const int64_t run = minimum_of(count, position->run(loops));
    const T* source = from + position->offset[0];
    if (stride == 1) {
      __builtin_memcpy(to, source, static_cast<size_t>(run) * sizeof(T));
    } else {
      for (int64_t i = 0; i < run; ++i) to[i] = source[i * stride];
    }
    to += run;
    count -= run;
    position->advance(loops, run);
  }
}

// The reverse of read_strided.
template <class T>
static inline void write_strided(T* to, const Loops<1>& loops, Position<1>* position, int64_t count, const T* from) {
  const int64_t stride = loops.ndim == 0 ? 0 : loops.strides[0][loops.ndim - 1];
  while (count > 0) {
    const int64_t run = minimum_of(count, position->run(loops));
    T* target = to + position->offset[0];
    if (stride == 1) {
      __builtin_memcpy(target, from, static_cast<size_t>(run) * sizeof(T));
    } else {
      for (int64_t i = 0; i < run; ++i) target[i * stride] = from[i];
    }
    from += run;
    count -= run;
    position->advance(loops, run);
  }
}

}  // namespace PF_ISA
}  // namespace pf

#endif
