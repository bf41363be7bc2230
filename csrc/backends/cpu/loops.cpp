// Programs as generated loops: what kernels/program.h promises, for programs of a generated library. Their first
// instruction is the head of a pf_loops, which has a compiled loop for the whole program. It takes the place of
// program.cpp, and with it of every scalar function that the library does not use.
#include "backends/cpu/loops_walk.h"

namespace pf {
namespace PF_ISA {
namespace {

// Where a generated library has the loops of each ISA.
enum class Isa { portable, avx2, avx512 };

}  // namespace

int32_t program_supported(const pf_program* program, char* why, size_t why_size) {
  return loops_supported(program, why, why_size);
}

size_t program_state_size(const pf_program*) {
  return sizeof(ProgramLoop);
}

pf_code program_prepare(const pf_program* program, void* state, pf_error* error) {
  return loops_prepare(program, static_cast<int>(Isa::PF_ISA), static_cast<ProgramLoop*>(state), error);
}

size_t program_scratch(const void* state) {
  return loops_scratch(*static_cast<const ProgramLoop*>(state));
}

double program_cost(const void* state) {
  return static_cast<const ProgramLoop*>(state)->cost;
}

pf_code program_fault(uint32_t faults, pf_error* error) {
  return loops_fault(faults, error);
}

void program_block(const void* state, int64_t rows, int64_t cols, const Window* inputs, const Window* outputs,
                   void* scratch, uint32_t* faults) {
  loops_block(state, rows, cols, inputs, outputs, scratch, faults);
}

void epilogue_block(const void* state, const EpilogueBlock& block, void* scratch, uint32_t* faults) {
  loops_epilogue(state, block, scratch, faults);
}

// What a generated library names, so that this file is linked in program.cpp's place.
extern const char loops_anchor;
const char loops_anchor = 0;

}  // namespace PF_ISA
}  // namespace pf
