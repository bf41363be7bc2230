// conv2d, conv2d_pack, conv2d_packed: docs/kernels.md. Each element of y is one chain over (kernel row, kernel column,
// channel), so the packed and the unpacked kernel, every cut and every thread count give the same bits.
#include "backends/cpu/convolve.h"
#include "backends/cpu/depthwise.h"
#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {
namespace {

template <bool PACKED>
void conv_init(const pf_call* call, Convolution* conv) {
  const pf_view& x = call->inputs[0];
  const pf_view& w = call->inputs[1];
  const int64_t groups = call->ints[6];
  const int64_t kernel_h = PACKED ? call->ints[7] : w.dims[0];
  const int64_t kernel_w = PACKED ? call->ints[8] : w.dims[1];
  convolution_init(conv, call, x, kernel_h, kernel_w, groups, x.dims[3] / groups, false);
}

template <bool PACKED>
int32_t conv_supports(const pf_step* step, char* why, size_t why_size) {
  const int32_t nints = PACKED ? 9 : 7;
  if (step->ninputs < 2 || step->noutputs != 1 || step->nints != nints) {
    return refuse(why, why_size, "%s takes at least 2 inputs, 1 output and %d ints, got %d, %d and %d", step->kernel,
                  nints, step->ninputs, step->noutputs, step->nints);
  }
  const pf_operand& x = step->inputs[0];
  const pf_operand& w = step->inputs[1];
  if (!is_float(x.dtype) || w.dtype != x.dtype) {
    return refuse(why, why_size, "%s takes two operands of one float32 or float64 dtype, got %s and %s", step->kernel,
                  dtype_name(x.dtype), dtype_name(w.dtype));
  }
  if (x.ndim != 4 || w.ndim != 4 || step->outputs[0].ndim != 4) {
    return refuse(why, why_size, "%s takes operands of rank 4, got ranks %d, %d and %d", step->kernel, x.ndim, w.ndim,
                  step->outputs[0].ndim);
  }
  return epilogue_supported(step, why, why_size);
}

template <bool PACKED>
pf_code conv_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const int64_t groups = call->ints[6];
  if (groups < 1 || call->inputs[0].dims[3] % groups != 0 || call->outputs[0].dims[3] % groups != 0) {
    return fail(error, PF_INVALID_ARGUMENT, "%lld groups do not divide %lld input and %lld output channels",
                static_cast<long long>(groups), static_cast<long long>(call->inputs[0].dims[3]),
                static_cast<long long>(call->outputs[0].dims[3]));
  }
  Convolution conv;
  conv_init<PACKED>(call, &conv);
  const void* program = conv.destination.program;
  double cost = convolution_cost(conv);
  size_t epilogue = 0;
  if (program != nullptr) {
    epilogue = program_scratch(program);
    cost += program_cost(program) * static_cast<double>(conv.pixels * conv.columns * conv.groups);
  }
  partition->shared_scratch = 0;
  if (is_depthwise(conv)) {
    partition->thread_scratch = depthwise_scratch(conv).epilogue + epilogue;
    return one_phase(partition, depthwise_tasks(conv), cost * 4.0);
  }
  partition->thread_scratch = convolution_scratch(conv).epilogue + epilogue;
  if (PACKED) return one_phase(partition, conv.tasks(), cost);
  partition->phases = 2;
  partition->tasks[0] = conv.pixels == 0 ? 0 : conv.groups * conv.panels;
  partition->tasks[1] = conv.tasks();
  partition->shared_scratch = static_cast<size_t>(conv.panel_elements()) * conv.element;
  partition->cost = cost + 0.3 * static_cast<double>(conv.panel_elements());
  return PF_OK;
}

template <typename T, bool PACKED>
uint32_t run_tasks(const Convolution& conv, const pf_call* call, const pf_task* task) {
  const pf_view& w = call->inputs[1];
  const T* source = static_cast<const T*>(call->inputs[0].data);
  char* scratch = static_cast<char*>(task->thread_scratch);
  uint32_t faults = 0;
  if (is_depthwise(conv)) {
    const DepthwiseScratch parts = depthwise_scratch(conv);
    DepthwiseWeights<T> weights = {static_cast<const T*>(w.data), w.strides[0], w.strides[1], w.strides[3]};
    if (PACKED) {
      weights = {weights.data, conv.horizontal.taps * gemm::kPanel, gemm::kPanel, conv.depth * gemm::kPanel};
    }
    for (int64_t i = task->begin; i < task->end; ++i) {
      depthwise_block(conv, parts, source, weights, i, scratch, &faults);
    }
    return faults;
  }
  if (!PACKED && task->phase == 0) {
    for (int64_t i = task->begin; i < task->end; ++i) {
      pack_weights(w, conv.groups, false, i, static_cast<T*>(task->shared_scratch));
    }
    return 0;
  }
  const ConvolutionScratch parts = convolution_scratch(conv);
  const T* weights = static_cast<const T*>(PACKED ? w.data : task->shared_scratch);
  for (int64_t i = task->begin; i < task->end; ++i) {
    convolve_block(conv, parts, source, weights, i, scratch, &faults);
  }
  return faults;
}

template <bool PACKED, int32_t ONLY = kEveryDtype>
pf_code conv_run(const pf_call* call, const pf_task* task, pf_error* error) {
  Convolution conv;
  conv_init<PACKED>(call, &conv);
  const uint32_t faults = is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32)
                              ? run_tasks<float, PACKED>(conv, call, task)
                              : run_tasks<double, PACKED>(conv, call, task);
  return faults == 0 ? PF_OK : program_fault(faults, error);
}

int32_t pack_supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs != 1 || step->noutputs != 1 || step->nints != 1) {
    return refuse(why, why_size, "conv2d_pack takes 1 input, 1 output and 1 int, got %d, %d and %d", step->ninputs,
                  step->noutputs, step->nints);
  }
  const pf_operand& w = step->inputs[0];
  const pf_operand& panels = step->outputs[0];
  if (!is_float(w.dtype) || panels.dtype != w.dtype || w.ndim != 4 || panels.ndim != 4) {
    return refuse(why, why_size,
                  "conv2d_pack takes float32 or float64 of rank 4 to the same, got %s of rank %d to %s of rank %d",
                  dtype_name(w.dtype), w.ndim, dtype_name(panels.dtype), panels.ndim);
  }
  return 1;
}

pf_code pack_partition(const pf_call* call, pf_partition* partition, pf_error*) {
  const pf_view& panels = call->outputs[0];
  partition->thread_scratch = 0;
  partition->shared_scratch = 0;
  return one_phase(partition, panels.dims[0] * panels.dims[1],
                   20.0 + 0.3 * static_cast<double>(count_elements(panels)));
}

template <typename T>
void pack_tasks(const pf_call* call, const pf_task* task) {
  for (int64_t i = task->begin; i < task->end; ++i) {
    pack_weights(call->inputs[0], call->ints[0], false, i, static_cast<T*>(call->outputs[0].data));
  }
}

template <int32_t ONLY = kEveryDtype>
pf_code pack_run(const pf_call* call, const pf_task* task, pf_error*) {
  is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32) ? pack_tasks<float>(call, task)
                                                          : pack_tasks<double>(call, task);
  return PF_OK;
}

const pf_kernel kKernels[] = {
    {"conv2d", conv_supports<false>, epilogue_state_size, epilogue_prepare, conv_partition<false>, conv_run<false>},
    {"conv2d_pack", pack_supports, nullptr, nullptr, pack_partition, pack_run<>},
    {"conv2d_packed", conv_supports<true>, epilogue_state_size, epilogue_prepare, conv_partition<true>, conv_run<true>},
};

}  // namespace

PF_FLOAT32(conv2d, conv_supports<false>, epilogue_state_size, epilogue_prepare, conv_partition<false>,
           conv_run<false, PF_DTYPE_float32>)
PF_FLOAT32(conv2d_pack, pack_supports, nullptr, nullptr, pack_partition, pack_run<PF_DTYPE_float32>)
PF_FLOAT32(conv2d_packed, conv_supports<true>, epilogue_state_size, epilogue_prepare, conv_partition<true>,
           conv_run<true, PF_DTYPE_float32>)

const pf_kernel* conv_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
