// Reductions in one fixed order, whatever the vector width, the layout, the threads or the tile; docs/numerics.md
// "Reductions" states it. Element r of a sequence belongs to chunk r / kReductionChunk and there to lane r %
// kReductionLanes; a lane is a chain, the lanes of a chunk and then the chunks are combined pairwise.
#ifndef PYFLOW_KERNELS_LANES_H
#define PYFLOW_KERNELS_LANES_H

#include "kernels/simd.h"
#include "kernels/transpose.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kReductionLanes = 64;
constexpr int64_t kReductionChunk = 2048;
constexpr int kCascadeLevels = 56;

// Operations: `apply` works on scalars and vectors; op(identity, x) == op(x, identity) == x bit for bit.
struct Sum {
  template <class T>
  static constexpr T identity() {
    return static_cast<T>(-0.0);
  }
  template <class V>
  static PF_ALWAYS_INLINE V apply(const V& a, const V& b) {
    return a + b;
  }
};

struct Product {
  template <class T>
  static constexpr T identity() {
    return T{1};
  }
  template <class V>
  static PF_ALWAYS_INLINE V apply(const V& a, const V& b) {
    return a * b;
  }
};

template <class T>
static constexpr T lowest_value() {
  if constexpr (static_cast<T>(0.5) != T{0}) {
    return -static_cast<T>(__builtin_inf());
  } else if constexpr (static_cast<T>(-1) > T{0}) {
    return T{0};
  } else {
    return static_cast<T>(T{1} << (sizeof(T) * 8 - 2)) * -2;
  }
}

template <class T>
static constexpr T highest_value() {
  if constexpr (static_cast<T>(0.5) != T{0}) {
    return static_cast<T>(__builtin_inf());
  } else {
    return static_cast<T>(~lowest_value<T>());
  }
}

struct Max {
  template <class T>
  static constexpr T identity() {
    return lowest_value<T>();
  }
  template <class V>
  static PF_ALWAYS_INLINE V apply(const V& a, const V& b) {
    return b != b ? b : greater(b, a);
  }
};

struct Min {
  template <class T>
  static constexpr T identity() {
    return highest_value<T>();
  }
  template <class V>
  static PF_ALWAYS_INLINE V apply(const V& a, const V& b) {
    return ((b < a) | (b != b)) ? b : a;
  }
};

struct Same {
  template <class V>
  PF_ALWAYS_INLINE V operator()(const V& v) const {
    return v;
  }
};

// Of lanes l and l + HALF one lane l, and so on down to one.
template <class Op, class T, int HALF = static_cast<int>(kLanes<T>) / 2, int... I>
PF_ALWAYS_INLINE T across(Vector<T> v, Lanes<I...> lanes) {
  if constexpr (HALF == 0) {
    return v[0];
  } else {
    const Vector<T> other = chosen_lanes<Vector<T>, decltype(v == v), (I ^ HALF)...>(v, v);
    return across<Op, T, HALF / 2>(Op::apply(v, other), lanes);
  }
}
template <class Op, class T>
PF_ALWAYS_INLINE T across(Vector<T> v) {
  return across<Op, T>(v, typename LanesTo<static_cast<int>(kLanes<T>)>::Type{});
}

// The kReductionLanes lanes of a chunk, which hold an element each or what changes nothing, become one.
template <class Op, class T>
PF_ALWAYS_INLINE T halved(Vector<T>* lanes) {
#pragma GCC unroll 8
  for (int64_t half = kReductionLanes / kLanes<T> / 2; half > 0; half /= 2) {
#pragma GCC unroll 32
    for (int64_t k = 0; k < half; ++k) lanes[k] = Op::apply(lanes[k], lanes[k + half]);
  }
  return across<Op, T>(lanes[0]);
}

// Combines values given one by one, pairwise: the tree depends on their number alone.
template <class T, class Op>
struct Cascade {
  T level[kCascadeLevels];
  int depth = 0;
  int64_t pushed = 0;

  void push(T value) {
    for (int64_t bits = pushed++; bits & 1; bits >>= 1) value = Op::apply(level[--depth], value);
    level[depth++] = value;
  }

  T finish() {
    if (depth == 0) return Op::template identity<T>();
    T value = level[--depth];
    while (depth > 0) value = Op::apply(level[--depth], value);
    return value;
  }
};

// The reduction of map(x[0..count)), count at most kReductionChunk.
template <class Op, class Map, class T>
__attribute__((noinline)) static T reduce_chunk(const T* x, int64_t count, const Map& map) {
  using V = Vector<T>;
  constexpr int64_t width = kLanes<T>;
  constexpr int64_t vectors = kReductionLanes / width;
  alignas(64) T lanes[kReductionLanes];
  if (count < kReductionLanes) {
    for (int64_t k = 0; k < count; ++k) lanes[k] = map(x[k]);
    int64_t used = count;
    for (int64_t half = kReductionLanes / 2; half > 0; half /= 2) {
      for (int64_t k = 0; k + half < used; ++k) lanes[k] = Op::apply(lanes[k], lanes[k + half]);
      used = minimum_of(used, half);
    }
    return count > 0 ? lanes[0] : Op::template identity<T>();
  }
  V sums[vectors];
#pragma GCC unroll 32
  for (int64_t k = 0; k < vectors; ++k) sums[k] = map(load(x + k * width));
  int64_t i = kReductionLanes;
  for (; i + kReductionLanes <= count; i += kReductionLanes) {
#pragma GCC unroll 32
    for (int64_t k = 0; k < vectors; ++k) sums[k] = Op::apply(sums[k], map(load(x + i + k * width)));
  }
  if (i < count) {
#pragma GCC unroll 32
    for (int64_t k = 0; k < vectors; ++k) store(lanes + k * width, sums[k]);
    for (int64_t k = 0; i + k < count; ++k) lanes[k] = Op::apply(lanes[k], map(x[i + k]));
#pragma GCC unroll 32
    for (int64_t k = 0; k < vectors; ++k) sums[k] = load(lanes + k * width);
  }
  return halved<Op, T>(sums);
}

// The reduction of map(x[0..count)).
template <class Op, class Map, class T>
static inline T reduce_run(const T* x, int64_t count, const Map& map) {
  if (count <= kReductionChunk) return reduce_chunk<Op>(x, count, map);
  Cascade<T, Op> cascade;
  for (int64_t begin = 0; begin < count; begin += kReductionChunk) {
    cascade.push(reduce_chunk<Op>(x + begin, count - begin < kReductionChunk ? count - begin : kReductionChunk, map));
  }
  return cascade.finish();
}

}  // namespace PF_ISA
}  // namespace pf

#endif
