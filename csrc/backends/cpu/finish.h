/* Epilogues that products apply to sums in registers: chains of additions and clamps on the sum itself, the same
 * operations in the same order as the program they come from. */
#ifndef PYFLOW_BACKENDS_CPU_FINISH_H
#define PYFLOW_BACKENDS_CPU_FINISH_H

#include <stdint.h>

#include "kernels/simd.h"
#include "kernels/view.h"

namespace pf {
namespace plain {

/* kAddRowAndClip stands for an addition whose operand is the same for all rows, a bias, and the clip behind it. */
enum class FinishOp : int32_t { kAdd, kMultiply, kClip, kAddRowAndClip };

struct FinishStep {
  FinishOp op;
  int32_t extra;       // operand of an addition or product, counted from 0
  float low, high;     // of a clip; what only has one bound is clipped to infinity
  const float* data;   // the extra's element (0, 0), once bound
  int64_t row_stride;  // its columns are adjacent
};

constexpr int32_t kMaxFinishSteps = 4;

/* A chain; count is -1 for a program that is none. */
struct Finish {
  int32_t count;
  FinishStep steps[kMaxFinishSteps];
};

}  // namespace plain

namespace PF_ISA {

using namespace plain;

/* low > x ? low : x and high < x ? high : x. A comparison with NaN is false, so each keeps a NaN of x; -0 stays. */
static inline Vector<float> not_below(Vector<float> x, Vector<float> low) {
  return greater(low, x);
}
static inline Vector<float> not_above(Vector<float> x, Vector<float> high) {
  return lesser(high, x);
}

/* Fetches what finish_tile will read of operands that have rows. Always inlined: of a function that does no more than
 * fetch, the compiler drops the calls. */
static PF_ALWAYS_INLINE void fetch_extras(int64_t rows, int64_t columns, const Finish& finish, int64_t row,
                                          int64_t column) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(float));
  for (int32_t s = 0; s < finish.count; ++s) {
    const FinishStep& step = finish.steps[s];
    if (step.row_stride == 0) continue;
    const float* data = step.data + row * step.row_stride + column;
    for (int64_t i = 0; i < rows; ++i, data += step.row_stride) {
#pragma GCC unroll 1
      for (int64_t j = 0; j < columns; j += line) __builtin_prefetch(data + j);
    }
  }
}

/* ROWS x (COUNT vectors) of sums that begin at (row, column). */
template <int ROWS, int COUNT>
static inline void finish_tile(const Finish& finish, int64_t row, int64_t column, Vector<float> (&sum)[ROWS][COUNT]) {
  constexpr int lanes = static_cast<int>(kLanes<float>);
  for (const FinishStep *step = finish.steps, *end = step + finish.count; step != end; ++step) {
    const float* data = step->data + column;
    const int64_t stride = step->row_stride;
    switch (step->op) {
      case FinishOp::kAddRowAndClip: {
        const Vector<float> low = broadcast(step->low), high = broadcast(step->high);
#pragma GCC unroll 8
        for (int j = 0; j < COUNT; ++j) {
          const Vector<float> bias = load(data + j * lanes);
#pragma GCC unroll 16
          for (int i = 0; i < ROWS; ++i) sum[i][j] = not_above(not_below(sum[i][j] + bias, low), high);
        }
        break;
      }
      case FinishOp::kAdd:
        data += row * stride;
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i, data += stride) {
#pragma GCC unroll 8
          for (int j = 0; j < COUNT; ++j) sum[i][j] += load(data + j * lanes);
        }
        break;
      case FinishOp::kMultiply:
        data += row * stride;
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i, data += stride) {
#pragma GCC unroll 8
          for (int j = 0; j < COUNT; ++j) sum[i][j] *= load(data + j * lanes);
        }
        break;
      case FinishOp::kClip: {
        const Vector<float> low = broadcast(step->low), high = broadcast(step->high);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
          for (int j = 0; j < COUNT; ++j) sum[i][j] = not_above(not_below(sum[i][j], low), high);
        }
        break;
      }
    }
  }
}

}  // namespace PF_ISA
}  // namespace pf

#endif
