/* Epilogues that products apply to sums in registers: chains of additions and clamps on the sum itself, the same
 * operations in the same order as the program they come from. */
#ifndef PYFLOW_BACKENDS_CPU_FINISH_H
#define PYFLOW_BACKENDS_CPU_FINISH_H

#include <stdint.h>
#include <string.h>

#include "kernels/simd.h"
#include "pyflow/backend.h"
#include "pyflow/loops.h"

namespace pf {
namespace PF_ISA {

enum class FinishOp : int32_t { kAdd, kMultiply, kRelu, kClip };

struct FinishStep {
  FinishOp op;
  int32_t extra;       // operand of an addition or product, counted from 0
  float low, high;     // of a clip
  const float* data;   // the extra's element (0, 0), once bound
  int64_t row_stride;  // its columns are adjacent
};

constexpr int32_t kMaxFinishSteps = 4;

/* A chain; count is -1 for a program that is none. */
struct Finish {
  int32_t count;
  FinishStep steps[kMaxFinishSteps];
};

/* The instructions of a program, also where a compiled loop stands for them; nullptr if it hides them. */
static inline const pf_instr* instructions_of(const pf_program& program) {
  const pf_instr* instrs = program.instrs;
  if (program.ninstrs == 0 || strcmp(instrs[0].op, "loop") != 0) return instrs;
  return reinterpret_cast<const pf_loops*>(instrs)->instrs;
}

/* The float32 constant that register `reg` holds; false if it holds none. */
static inline bool finish_constant(const pf_program& program, int32_t reg, float* value) {
  if (reg < program.ninputs) return false;
  const pf_instr& instr = instructions_of(program)[reg - program.ninputs];
  if (strcmp(instr.op, "const") != 0 || instr.dtype != PF_DTYPE_float32) return false;
  memcpy(value, &instr.imm, sizeof(float));
  return *value == *value;
}

/* Reads a program whose register 0 is the sum. */
static inline Finish finish_of(const pf_program& program) {
  const Finish none = {-1, {}};
  Finish finish = {0, {}};
  int32_t sum = 0;
  for (int32_t i = 0; i < program.ninputs; ++i) {
    if (program.register_dtypes[i] != PF_DTYPE_float32) return none;
  }
  const pf_instr* instrs = instructions_of(program);
  if (instrs == nullptr && program.ninstrs > 0) return none;
  for (int32_t i = 0; i < program.ninstrs; ++i) {
    const pf_instr& instr = instrs[i];
    if (strcmp(instr.op, "const") == 0) continue;
    if (finish.count == kMaxFinishSteps || instr.dtype != PF_DTYPE_float32) return none;
    FinishStep& step = finish.steps[finish.count++];
    const bool add = strcmp(instr.op, "add") == 0;
    if (add || strcmp(instr.op, "mul") == 0) {
      if ((instr.args[0] == sum) == (instr.args[1] == sum)) return none;
      const int32_t other = instr.args[0] == sum ? instr.args[1] : instr.args[0];
      if (other < 1 || other >= program.ninputs) return none;
      step.op = add ? FinishOp::kAdd : FinishOp::kMultiply;
      step.extra = other - 1;
    } else if (strcmp(instr.op, "relu") == 0 && instr.args[0] == sum) {
      step.op = FinishOp::kRelu;
    } else if (strcmp(instr.op, "clip") == 0 && instr.args[0] == sum &&
               finish_constant(program, instr.args[1], &step.low) &&
               finish_constant(program, instr.args[2], &step.high)) {
      step.op = FinishOp::kClip;
    } else {
      return none;
    }
    sum = program.ninputs + i;
  }
  return program.noutputs == 1 && program.outputs[0] == sum ? finish : none;
}

/* low > x ? low : x and high < x ? high : x. A comparison with NaN is false, so each keeps a NaN of x; -0 stays. */
static inline Vector<float> not_below(Vector<float> x, Vector<float> low) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  return _mm256_max_ps(low, x);
#else
  return low > x ? low : x;
#endif
}
static inline Vector<float> not_above(Vector<float> x, Vector<float> high) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  return _mm256_min_ps(high, x);
#else
  return high < x ? high : x;
#endif
}

/* ROWS x (COUNT vectors) of sums that begin at (row, column). */
template <int ROWS, int COUNT>
static inline void finish_tile(const Finish& finish, int64_t row, int64_t column, Vector<float> (&sum)[ROWS][COUNT]) {
  constexpr int lanes = static_cast<int>(kLanes<float>);
  for (int32_t s = 0; s < finish.count; ++s) {
    const FinishStep& step = finish.steps[s];
    const float* data = step.data + row * step.row_stride + column;
    switch (step.op) {
      case FinishOp::kAdd:
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
          for (int j = 0; j < COUNT; ++j) sum[i][j] += load(data + i * step.row_stride + j * lanes);
        }
        break;
      case FinishOp::kMultiply:
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
          for (int j = 0; j < COUNT; ++j) sum[i][j] *= load(data + i * step.row_stride + j * lanes);
        }
        break;
      case FinishOp::kRelu:
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
          for (int j = 0; j < COUNT; ++j) sum[i][j] = not_below(sum[i][j], Vector<float>{});
        }
        break;
      case FinishOp::kClip: {
        const Vector<float> low = broadcast(step.low), high = broadcast(step.high);
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
