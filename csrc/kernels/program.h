// Element-wise programs, compiled to tile operations: the body of the `elementwise` kernel and the epilogue of the
// products. A compiled program lives in memory that the caller lends (a kernel's state); running one needs scratch
// per thread and nothing else. Values of an element depend on that element alone, never on the cut into tiles.
//
// As an epilogue:  supports:   program_supported(&step->programs[0], ...)
//                  state_size: program_state_size(&step->programs[0])
//                  prepare:    program_prepare(&step->programs[0], state, error)
//                  partition:  thread_scratch >= program_scratch(state)
//                  run:        fill an EpilogueBlock, epilogue_block(state, block, scratch, &faults), then
//                              if (faults) return program_fault(faults, error)
// (backends/cpu/destination.h does so.)
#ifndef PYFLOW_KERNELS_PROGRAM_H
#define PYFLOW_KERNELS_PROGRAM_H

#include "pyflow/backend.h"

namespace pf {
namespace plain {

// The most inputs (and, separately, outputs) that a program may have.
constexpr int32_t kMaxProgramOperands = 32;

// What went wrong in a run, or-ed together; 0 is fine.
enum Fault : uint32_t {
  kFaultDivision = 1,  // integer division or remainder by zero
  kFaultPower = 2,     // integer raised to a negative integer
};

// A two-dimensional window: strides count elements, may be 0 or negative.
struct Window {
  void* data;
  int64_t row_stride;
  int64_t col_stride;
};

// A block of finished sums on its way to the output. Register 0 of the program is the sum, register 1+i extras[i].
struct EpilogueBlock {
  const void* sums;     // rows x cols, dtype of register 0, cols contiguous
  int64_t sums_stride;  // elements from one row of sums to the next
  int64_t rows, cols;   // along row_axis and col_axis of the output, from `index` on
  int32_t row_axis, col_axis;
  const int64_t* index;   // coordinates of the block's first element in the output, one per axis
  const pf_view* extras;  // each with the output's dims (a dim may be 1 or its stride 0: broadcast)
  const pf_view* output;
};

}  // namespace plain

namespace PF_ISA {

using namespace plain;

// Non-zero if every instruction has a tile operation for its dtypes; else a reason in `why`.
int32_t program_supported(const pf_program* program, char* why, size_t why_size);
// Bytes of the compiled program.
size_t program_state_size(const pf_program* program);
pf_code program_prepare(const pf_program* program, void* state, pf_error* error);
// Bytes of scratch that one thread needs; 64-byte aligned.
size_t program_scratch(const void* state);
// Rough nanoseconds per element.
double program_cost(const void* state);
// The error that the faults of a run stand for.
pf_code program_fault(uint32_t faults, pf_error* error);

// Runs the program over rows x cols elements. An output may be exactly an input (same data and strides).
void program_block(const void* state, int64_t rows, int64_t cols, const Window* inputs, const Window* outputs,
                   void* scratch, uint32_t* faults);

void epilogue_block(const void* state, const EpilogueBlock& block, void* scratch, uint32_t* faults);

}  // namespace PF_ISA
}  // namespace pf

#endif
