#include "backends/cpu/kernels.h"
#include "kernels/program.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int64_t kTaskElements = 32 * 1024;
constexpr int32_t kMaxOperands = 2 * kMaxProgramOperands;

int32_t elementwise_supports(const pf_step* step, char* why, size_t why_size) {
  if (step->nprograms != 1) return refuse(why, why_size, "needs one program, got %d", step->nprograms);
  const pf_program* program = &step->programs[0];
  if (program->ninputs != step->ninputs || program->noutputs != step->noutputs || step->noutputs == 0)
    return refuse(why, why_size, "the program has %d inputs and %d outputs, the step %d and %d", program->ninputs,
                  program->noutputs, step->ninputs, step->noutputs);
  if (!program_supported(program, why, why_size)) return 0;
  for (int32_t i = 0; i < step->ninputs; ++i)
    if (step->inputs[i].dtype != program->register_dtypes[i] || step->inputs[i].ndim != step->outputs[0].ndim)
      return refuse(why, why_size, "input %d is %s with %d dims, expected %s with %d", i,
                    dtype_name(step->inputs[i].dtype), step->inputs[i].ndim, dtype_name(program->register_dtypes[i]),
                    step->outputs[0].ndim);
  for (int32_t k = 0; k < step->noutputs; ++k)
    if (step->outputs[k].dtype != program->register_dtypes[program->outputs[k]] ||
        step->outputs[k].ndim != step->outputs[0].ndim)
      return refuse(why, why_size, "output %d is %s with %d dims, expected %s with %d", k,
                    dtype_name(step->outputs[k].dtype), step->outputs[k].ndim,
                    dtype_name(program->register_dtypes[program->outputs[k]]), step->outputs[0].ndim);
  return 1;
}

size_t elementwise_state_size(const pf_step* step) {
  return program_state_size(&step->programs[0]);
}

pf_code elementwise_prepare(const pf_step* step, void* state, pf_error* error) {
  return program_prepare(&step->programs[0], state, error);
}

pf_code elementwise_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& first = call->outputs[0];
  for (int32_t i = 0; i < call->step->ninputs; ++i)
    for (int32_t axis = 0; axis < first.ndim; ++axis)
      if (call->inputs[i].dims[axis] != first.dims[axis] && call->inputs[i].dims[axis] != 1)
        return fail(error, PF_INVALID_ARGUMENT, "input %d has size %lld along axis %d, the output %lld", i,
                    static_cast<long long>(call->inputs[i].dims[axis]), axis, static_cast<long long>(first.dims[axis]));
  for (int32_t k = 1; k < call->step->noutputs; ++k)
    for (int32_t axis = 0; axis < first.ndim; ++axis)
      if (call->outputs[k].dims[axis] != first.dims[axis])
        return fail(error, PF_INVALID_ARGUMENT, "output %d has size %lld along axis %d, output 0 has %lld", k,
                    static_cast<long long>(call->outputs[k].dims[axis]), axis,
                    static_cast<long long>(first.dims[axis]));
  const int64_t count = count_elements(first);
  partition->thread_scratch = program_scratch(call->state);
  return one_phase(partition, ceildiv(count, kTaskElements), static_cast<double>(count) * program_cost(call->state));
}

pf_code elementwise_run(const pf_call* call, const pf_task* task, pf_error* error) {
  const int32_t ninputs = call->step->ninputs, noutputs = call->step->noutputs;
  Nest<kMaxOperands> nest;
  nest.start(call->outputs[0].dims, call->outputs[0].ndim);
  for (int32_t k = 0; k < noutputs; ++k) nest.add(call->outputs[k]);
  for (int32_t i = 0; i < ninputs; ++i) nest.add(call->inputs[i]);
  nest.order_by(0);
  nest.collapse();
  const int32_t col_axis = nest.ndim - 1, row_axis = nest.ndim - 2;
  const int64_t cols = col_axis >= 0 ? nest.dims[col_axis] : 1;
  const int64_t rows = row_axis >= 0 ? nest.dims[row_axis] : 1;

  Window outputs[kMaxProgramOperands];
  Window inputs[kMaxProgramOperands];
  uint32_t faults = 0;
  int64_t position = task->begin * kTaskElements;
  const int64_t end = minimum_of(task->end * kTaskElements, nest.count());
  while (position < end) {
    int64_t offsets[kMaxOperands];
    nest.offsets_at(position, nest.ndim, offsets);
    const auto window = [&](const pf_view& view, int32_t k) {
      return Window{static_cast<char*>(view.data) + offsets[k] * element_size(view.dtype),
                    row_axis >= 0 ? nest.strides[k][row_axis] : 0, col_axis >= 0 ? nest.strides[k][col_axis] : 0};
    };
    for (int32_t k = 0; k < noutputs; ++k) outputs[k] = window(call->outputs[k], k);
    for (int32_t i = 0; i < ninputs; ++i) inputs[i] = window(call->inputs[i], noutputs + i);
    const int64_t col = position % cols, left = end - position;
    int64_t block_rows = 1, block_cols = minimum_of(cols - col, left);
    if (col == 0 && left >= cols) block_rows = minimum_of(left / cols, rows - position / cols % rows);
    program_block(call->state, block_rows, block_cols, inputs, outputs, task->thread_scratch, &faults);
    position += block_rows * block_cols;
  }
  return faults != 0 ? program_fault(faults, error) : PF_OK;
}

constexpr pf_kernel kKernels[] = {{"elementwise", elementwise_supports, elementwise_state_size, elementwise_prepare,
                                   elementwise_partition, elementwise_run}};

}  // namespace

const pf_kernel* elementwise_kernels(int32_t* count) {
  *count = 1;
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
