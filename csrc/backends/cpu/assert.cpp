// assert: fails with the step's text unless every element of the condition is true.
#include "backends/cpu/operands.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kAssertTaskElements = 65536;

static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  const pf_view& condition = call->inputs[0];
  const uint8_t* const x = static_cast<const uint8_t*>(condition.data);
  const Loops<1> loops = loops_of(condition);
  const int64_t stride = loops.ndim == 0 ? 0 : loops.strides[0][loops.ndim - 1];
  const int64_t begin = task->begin * kAssertTaskElements;
  const int64_t end = minimum_of(loops.count(), task->end * kAssertTaskElements);
  if (begin >= end) return PF_OK;
  Position<1> position(loops, begin);
  for (int64_t at = begin; at < end;) {
    const int64_t run = minimum_of(end - at, position.run(loops));
    const uint8_t* const from = x + position.offset[0];
    bool all = true;
    for (int64_t i = 0; i < run; ++i) all &= from[i * stride] != 0;
    if (!all) {
      return fail(error, PF_FAILED_PRECONDITION, "%s", call->step->text[0] ? call->step->text : "an assertion failed");
    }
    at += run;
    position.advance(loops, run);
  }
  return PF_OK;
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error*) {
  const int64_t count = count_elements(call->inputs[0]);
  return one_phase_of(partition, count, kAssertTaskElements, 10.0 + 0.1 * static_cast<double>(count));
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 0, 0, 0, why, why_size) && dtype_in(step, step->inputs[0], kBoolDtype, why, why_size);
}

static const pf_kernel kAssertKernels[] = {
    {"assert", supports, nullptr, nullptr, partition, run},
};

const pf_kernel* assert_kernels(int32_t* count) {
  *count = sizeof(kAssertKernels) / sizeof(kAssertKernels[0]);
  return kAssertKernels;
}

}  // namespace PF_ISA
}  // namespace pf
