// Squares of kLanes x kLanes elements, transposed in registers.
#ifndef PYFLOW_KERNELS_TRANSPOSE_H
#define PYFLOW_KERNELS_TRANSPOSE_H

#include "kernels/simd.h"

namespace pf {
namespace PF_ISA {

// The numbers 0 to COUNT - 1 as a pack.
template <int... I>
struct Lanes {};
template <int COUNT, int... I>
struct LanesTo : LanesTo<COUNT - 1, COUNT - 1, I...> {};
template <int... I>
struct LanesTo<0, I...> {
  typedef Lanes<I...> Type;
};

// Lanes of a and b, of b counted on from those of a.
template <typename V, typename Index, int... I>
__attribute__((always_inline)) static inline V chosen_lanes(V a, V b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, I...);
#else
  return __builtin_shuffle(a, b, Index{I...});
#endif
}

// Exchanges the odd blocks of BLOCK lanes of `a` with the even ones of `b`.
template <int BLOCK, typename V, typename Index, int... I>
__attribute__((always_inline)) static inline void exchange_blocks(V* a, V* b, Index, Lanes<I...>) {
  constexpr int lanes = static_cast<int>(sizeof...(I));
  const V even = chosen_lanes<V, Index, ((I & BLOCK) != 0 ? lanes + I - BLOCK : I)...>(*a, *b);
  *b = chosen_lanes<V, Index, ((I & BLOCK) != 0 ? lanes + I : I + BLOCK)...>(*a, *b);
  *a = even;
}

template <int BLOCK, typename T>
__attribute__((always_inline)) static inline void transpose_blocks(Vector<T>* rows) {
  constexpr int lanes = static_cast<int>(kLanes<T>);
  if constexpr (BLOCK < lanes) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      if ((i & BLOCK) != 0) continue;
      exchange_blocks<BLOCK>(rows + i, rows + i + BLOCK, rows[0] == rows[0], typename LanesTo<lanes>::Type{});
    }
    transpose_blocks<2 * BLOCK, T>(rows);
  }
}

// to[j * to_stride + i] = from[i * from_stride + j] for i, j < kLanes.
template <typename T>
static inline void transpose_square(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int lanes = static_cast<int>(kLanes<T>);
  Vector<T> rows[lanes];
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) rows[i] = load(from + i * from_stride);
  transpose_blocks<1, T>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) store(to + i * to_stride, rows[i]);
}

// to[j * rows + i] = from[i * from_stride + j] for 1 < rows <= 4 and most j < columns; gives how many. Four columns are
// stored from the first to the last, each over what the one before it wrote beyond its own.
template <typename T>
static inline int64_t interleave(int64_t rows, int64_t columns, const T* from, int64_t from_stride, T* to) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  int64_t j = 0;
  for (; j + 4 < columns; j += 4) {
    Four all[4];
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) {
      __builtin_memcpy(all + i, from + (i < rows ? i : rows - 1) * from_stride + j, sizeof(Four));
    }
    const auto index = all[0] == all[0];
    const Lanes<0, 1, 2, 3> lanes;
    exchange_blocks<1>(all, all + 1, index, lanes);
    exchange_blocks<1>(all + 2, all + 3, index, lanes);
    exchange_blocks<2>(all, all + 2, index, lanes);
    exchange_blocks<2>(all + 1, all + 3, index, lanes);
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i) __builtin_memcpy(to + (j + i) * rows, all + i, sizeof(Four));
  }
  return j;
}

// to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < columns.
template <typename T>
static inline void transpose_block(int64_t rows, int64_t columns, const T* from, int64_t from_stride, T* to,
                                   int64_t to_stride) {
  const int64_t whole_rows = rows / kLanes<T> * kLanes<T>;
  const int64_t whole_columns = columns / kLanes<T> * kLanes<T>;
  for (int64_t i = 0; i < whole_rows; i += kLanes<T>) {
    for (int64_t j = 0; j < whole_columns; j += kLanes<T>) {
      transpose_square(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
  const int64_t interleaved = whole_rows == 0 && rows > 1 && rows <= 4 && to_stride == rows
                                  ? interleave(rows, columns, from, from_stride, to)
                                  : 0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : interleaved; j < columns; ++j) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
}

}  // namespace PF_ISA
}  // namespace pf

#endif
