// Epilogues of destination.h, made of what an ISA runs programs with.
#include "backends/cpu/destination.h"

namespace pf {
namespace PF_ISA {

int32_t epilogue_supported(const pf_step* step, char* why, size_t why_size, int32_t own) {
  if (step->ninputs < own || step->noutputs != 1) {
    return refuse(why, why_size, "%s takes at least %d inputs and 1 output, got %d and %d", step->kernel, own,
                  step->ninputs, step->noutputs);
  }
  const int32_t dtype = step->inputs[0].dtype;
  if (step->nprograms == 0) {
    if (step->ninputs != own)
      return refuse(why, why_size, "%s without an epilogue takes %d inputs, got %d", step->kernel, own, step->ninputs);
    if (step->outputs[0].dtype != dtype) {
      return refuse(why, why_size, "%s without an epilogue gives %s, not %s", step->kernel, dtype_name(dtype),
                    dtype_name(step->outputs[0].dtype));
    }
    return 1;
  }
  if (step->nprograms != 1)
    return refuse(why, why_size, "%s takes one epilogue, got %d", step->kernel, step->nprograms);
  const pf_program& program = step->programs[0];
  if (program.ninputs != step->ninputs - own + 1 || program.noutputs != 1) {
    return refuse(why, why_size, "the epilogue of %s has %d inputs and %d outputs, expected %d and 1", step->kernel,
                  program.ninputs, program.noutputs, step->ninputs - own + 1);
  }
  if (program.register_dtypes[0] != dtype) {
    return refuse(why, why_size, "register 0 of the epilogue of %s is %s, expected %s", step->kernel,
                  dtype_name(program.register_dtypes[0]), dtype_name(dtype));
  }
  return program_supported(&program, why, why_size);
}

size_t epilogue_state_size(const pf_step* step) {
  return step->nprograms == 0 ? 0 : kEpilogueBytes + program_state_size(&step->programs[0]);
}

pf_code epilogue_prepare(const pf_step* step, void* state, pf_error* error) {
  if (step->nprograms == 0) return PF_OK;
  void* program = static_cast<char*>(state) + kEpilogueBytes;
  const pf_code code = program_prepare(&step->programs[0], program, error);
  if (code != PF_OK) return code;
  Epilogue* epilogue = static_cast<Epilogue*>(state);
  epilogue->finish = finish_of(step->programs[0]);
  epilogue->write = epilogue_block;
  epilogue->scratch = program_scratch(program);
  epilogue->cost = program_cost(program);
  return PF_OK;
}

}  // namespace PF_ISA
}  // namespace pf
