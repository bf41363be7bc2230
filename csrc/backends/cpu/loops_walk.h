/* The walk over the tiles of a block, which a generated library's loops have in common. */
#ifndef PYFLOW_BACKENDS_CPU_LOOPS_WALK_H
#define PYFLOW_BACKENDS_CPU_LOOPS_WALK_H

#include "kernels/program.h"
#include "pyflow/loops.h"

namespace pf {
namespace plain {

/* A compiled program: its loop on one ISA. */
struct ProgramLoop {
  pf_loop loop;
  int32_t ninputs, noutputs;
  double cost;
  int32_t input_sizes[kMaxProgramOperands];
  int32_t output_sizes[kMaxProgramOperands];
};

/* What kernels/program.h promises of the functions of these names; `isa` counts those of pf_loops. */
int32_t loops_supported(const pf_program* program, char* why, size_t why_size);
pf_code loops_prepare(const pf_program* program, int isa, ProgramLoop* made, pf_error* error);
size_t loops_scratch(const ProgramLoop& program);
pf_code loops_fault(uint32_t faults, pf_error* error);
void loops_block(const void* state, int64_t rows, int64_t cols, const Window* inputs, const Window* outputs,
                 void* scratch, uint32_t* faults);
void loops_epilogue(const void* state, const EpilogueBlock& block, void* scratch, uint32_t* faults);

}  // namespace plain

namespace PF_ISA {

using namespace plain;

}  // namespace PF_ISA
}  // namespace pf

#endif
