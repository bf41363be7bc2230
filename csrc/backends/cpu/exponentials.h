// What softmax is made of, on a row in adjacent memory.
#ifndef PYFLOW_BACKENDS_CPU_EXPONENTIALS_H
#define PYFLOW_BACKENDS_CPU_EXPONENTIALS_H

#include "kernels/lanes.h"
#include "kernels/scalar_math.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kExpBlock = 32;

// y = exp(x - shift) kRaise for x <= shift and whole blocks, several vectors abreast.
template <class T>
static void raised_blocks(const T* x, T shift, int64_t blocks, T* y) {
  constexpr int64_t vectors = kExpBlock / kLanes<T>;
  for (int64_t block = 0; block < blocks; ++block, x += kExpBlock, y += kExpBlock) {
    Vector<T> exponentials[vectors];
#pragma GCC unroll 16
    for (int64_t j = 0; j < vectors; ++j) {
      exponentials[j] = math::raised_exponential(load(x + j * kLanes<T>) - shift);
    }
#pragma GCC unroll 16
    for (int64_t j = 0; j < vectors; ++j) store(y + j * kLanes<T>, exponentials[j]);
  }
}

/* y = exp(x - shift) kRaise for x <= shift, the tail in a block of its own: in sums and quotients of them the factor
 * drops out, and none underflows. */
template <class T>
static void raised_exponentials(const T* x, T shift, int64_t count, T* y) {
  const int64_t blocks = count / kExpBlock;
  const int64_t whole = blocks * kExpBlock;
  raised_blocks(x, shift, blocks, y);
  if (whole == count) return;
  T block[kExpBlock] = {};
  __builtin_memcpy(block, x + whole, static_cast<size_t>(count - whole) * sizeof(T));
  raised_blocks(block, shift, 1, block);
  __builtin_memcpy(y + whole, block, static_cast<size_t>(count - whole) * sizeof(T));
}

// The largest number. A NaN need not win: its exponential makes the sum of its row NaN.
struct LargestNumber {
  template <class T>
  static constexpr T identity() {
    return lowest_value<T>();
  }
  template <class V>
  static PF_ALWAYS_INLINE V apply(const V& a, const V& b) {
    return greater(b, a);
  }
};

}  // namespace PF_ISA
}  // namespace pf

#endif
