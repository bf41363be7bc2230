// What softmax is made of, on a row in adjacent memory.
#ifndef PYFLOW_BACKENDS_CPU_EXPONENTIALS_H
#define PYFLOW_BACKENDS_CPU_EXPONENTIALS_H

#include "kernels/lanes.h"
#include "kernels/scalar_math.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kExpBlock = 32;

// y = exp(x - shift) kRaise of a block, several vectors abreast, and added to sums.
template <class T>
PF_ALWAYS_INLINE void raised_block(const T* x, T shift, T* y, Vector<T>* sums) {
  constexpr int64_t lanes = kLanes<T>, vectors = kExpBlock / lanes;
  Vector<T> exponentials[vectors];
#pragma GCC unroll 16
  for (int64_t j = 0; j < vectors; ++j) exponentials[j] = math::raised_exponential(load(x + j * lanes) - shift);
#pragma GCC unroll 16
  for (int64_t j = 0; j < vectors; ++j) {
    store(y + j * lanes, exponentials[j]);
    sums[j] += exponentials[j];
  }
}

/* y = exp(x - shift) kRaise for x <= shift, at most kReductionChunk of them, and their sum in the order of lanes.h: in
 * quotients of them the factor drops out, and none underflows. An exponential of minus infinity, 0, changes no sum. */
template <class T>
__attribute__((noinline)) static T raised_exponentials(const T* x, T shift, int64_t count, T* y) {
  constexpr int64_t vectors = kReductionLanes / kLanes<T>;
  Vector<T> sums[vectors];
#pragma GCC unroll 32
  for (Vector<T>& sum : sums) sum = broadcast(Sum::identity<T>());
  int64_t i = 0;
  for (; i + kExpBlock <= count; i += kExpBlock) raised_block(x + i, shift, y + i, sums + i / kLanes<T> % vectors);
  if (i < count) {
    const size_t bytes = static_cast<size_t>(count - i) * sizeof(T);
    T block[kExpBlock];
    for (T& each : block) each = lowest_value<T>();
    __builtin_memcpy(block, x + i, bytes);
    raised_block(block, shift, block, sums + i / kLanes<T> % vectors);
    __builtin_memcpy(y + i, block, bytes);
  }
  return halved<Sum, T>(sums);
}

// Of numbers.
struct Greater {
  template <class V>
  static PF_ALWAYS_INLINE V apply(const V& a, const V& b) {
    return greater(a, b);
  }
};

/* The largest number, of nothing the lowest. A NaN need not win: its exponential makes the sum of its row NaN. */
template <class T>
static T largest_number(const T* x, int64_t count) {
  constexpr int64_t lanes = kLanes<T>, abreast = 4;
  Vector<T> most[abreast];
  for (Vector<T>& each : most) each = broadcast(lowest_value<T>());
  int64_t i = 0;
  for (; i + abreast * lanes <= count; i += abreast * lanes) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < abreast; ++j) most[j] = greater(load(x + i + j * lanes), most[j]);
  }
  for (; i + lanes <= count; i += lanes) most[0] = greater(load(x + i), most[0]);
  T largest = across<Greater, T>(greater(greater(most[0], most[1]), greater(most[2], most[3])));
  for (; i < count; ++i) largest = greater(x[i], largest);
  return largest;
}

}  // namespace PF_ISA
}  // namespace pf

#endif
