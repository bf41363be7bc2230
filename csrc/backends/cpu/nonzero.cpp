// nonzero: the coordinates of the elements that are not zero, in row-major order. Phase 0 counts per block, phase 1
// writes each block behind the ones before it.
#include "backends/cpu/operands.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kNonzeroBlock = 16384;

template <class T, class Visit>
static void for_each_nonzero(const pf_view& view, int64_t begin, int64_t end, const Visit& visit) {
  const T* const x = static_cast<const T*>(view.data);
  const Loops<1> loops = loops_of(view);
  const int64_t stride = loops.ndim == 0 ? 0 : loops.strides[0][loops.ndim - 1];
  Position<1> position(loops, begin);
  for (int64_t at = begin; at < end;) {
    const int64_t run = minimum_of(end - at, position.run(loops));
    const T* const from = x + position.offset[0];
    for (int64_t i = 0; i < run; ++i) {
      if (from[i * stride] != T{0}) visit(at + i);
    }
    at += run;
    position.advance(loops, run);
  }
}

template <class T>
static pf_code run_typed(const pf_call* call, const pf_task* task, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  int64_t* const counts = static_cast<int64_t*>(task->shared_scratch);
  const int64_t elements = count_elements(x);
  const int64_t blocks = maximum_of(1, ceildiv(elements, kNonzeroBlock));
  if (task->phase == 0) {
    for (int64_t block = task->begin; block < task->end; ++block) {
      int64_t count = 0;
      for_each_nonzero<T>(x, block * kNonzeroBlock, minimum_of(elements, (block + 1) * kNonzeroBlock),
                          [&](int64_t) { ++count; });
      counts[block] = count;
    }
    return PF_OK;
  }
  int64_t total = 0;
  int64_t at = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    if (block == task->begin) at = total;
    total += counts[block];
  }
  if (total > y.dims[1]) {
    return fail(error, PF_OUT_OF_RANGE, "%lld elements are not zero; the result has room for %lld",
                static_cast<long long>(total), static_cast<long long>(y.dims[1]));
  }
  if (task->begin == 0) call->defines[0] = total;
  int64_t* const to = static_cast<int64_t*>(y.data);
  for_each_nonzero<T>(x, task->begin * kNonzeroBlock, minimum_of(elements, task->end * kNonzeroBlock),
                      [&](int64_t linear) {
                        for (int32_t axis = x.ndim - 1; axis >= 0; --axis) {
                          to[axis * total + at] = linear % x.dims[axis];
                          linear /= x.dims[axis];
                        }
                        ++at;
                      });
  return PF_OK;
}

static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  switch (call->inputs[0].dtype) {
    case PF_DTYPE_float32:
      return run_typed<float>(call, task, error);
    case PF_DTYPE_float64:
      return run_typed<double>(call, task, error);
    case PF_DTYPE_int32:
      return run_typed<int32_t>(call, task, error);
    case PF_DTYPE_int64:
    case PF_DTYPE_uint64:
      return run_typed<int64_t>(call, task, error);
    default:
      return run_typed<uint8_t>(call, task, error);
  }
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  if (y.dims[0] != x.ndim) {
    return fail(error, PF_INVALID_ARGUMENT, "the result has %lld rows; expected one per axis of x, which has %d",
                static_cast<long long>(y.dims[0]), x.ndim);
  }
  const int64_t elements = count_elements(x);
  const int64_t blocks = maximum_of(1, ceildiv(elements, kNonzeroBlock));
  partition->phases = 2;
  partition->tasks[0] = blocks;
  partition->tasks[1] = blocks;
  partition->shared_scratch = static_cast<size_t>(blocks) * sizeof(int64_t);
  partition->cost = 20.0 + 3.0 * static_cast<double>(elements);
  return PF_OK;
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 1, 0, 0, why, why_size) && dtype_in(step, step->inputs[0], kOrderedDtypes, why, why_size) &&
         dtype_in(step, step->outputs[0], kInt64Dtype, why, why_size) &&
         (step->outputs[0].ndim == 2 || refuse(why, why_size, "nonzero makes 2 dims; got %d", step->outputs[0].ndim)) &&
         (step->ndefines == 1 || refuse(why, why_size, "nonzero defines 1 size; got %d", step->ndefines));
}

static const pf_kernel kNonzeroKernels[] = {
    {"nonzero", supports, nullptr, nullptr, partition, run},
};

const pf_kernel* nonzero_kernels(int32_t* count) {
  *count = sizeof(kNonzeroKernels) / sizeof(kNonzeroKernels[0]);
  return kNonzeroKernels;
}

}  // namespace PF_ISA
}  // namespace pf
