// conv2d, conv2d_pack, conv2d_packed: docs/kernels.md. Each element of y is one chain over (kernel row, kernel column,
// channel), so the packed and the unpacked kernel, every cut and every thread count give the same bits.
#include "backends/cpu/convolve.h"
#include "backends/cpu/depthwise.h"
#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int32_t kPackedInts = 9;  // of conv2d_packed; behind them may stand the edge of windows of sums

/* A convolution and its phases: weights are packed, the source is copied, windows are multiplied. */
struct Forward {
  Convolution conv;
  bool packs;
  bool copies;  // into rows with all the padding that windows reach, channels adjacent
  int64_t dims[4], strides[4];
  int64_t pad_top, pad_left;

  size_t packed_bytes() const { return packs ? weight_bytes(conv) : 0; }
  size_t copy_bytes() const { return copies ? static_cast<size_t>(dims[0] * strides[0]) * conv.element : 0; }
  int64_t tasks() const { return is_depthwise(conv) ? depthwise_tasks(conv) : conv.tasks(); }
};

template <bool PACKED>
void conv_init(const pf_call* call, Forward* forward) {
  const pf_view& x = call->inputs[0];
  const pf_view& w = call->inputs[1];
  ConvAttrs attrs = conv_attrs(call->ints);
  if (PACKED && call->step->nints > kPackedInts) attrs.pool = call->ints[kPackedInts];
  const int64_t kernel_h = PACKED ? call->ints[7] : w.dims[0];
  const int64_t kernel_w = PACKED ? call->ints[8] : w.dims[1];
  const int64_t channels = x.dims[3] / attrs.groups;
  Convolution& conv = forward->conv;
  convolution_init(&conv, call, attrs, x, kernel_h, kernel_w, attrs.groups, channels, false);
  forward->packs = !PACKED;
  const bool in_place = is_depthwise(conv) ? conv.source_strides[3] == 1 : conv.plain || conv.direct;
  forward->copies = !in_place && conv.tasks() > 0 && conv.depth > 0;
  if (!forward->copies) return;
  forward->pad_top = attrs.pad_top;
  forward->pad_left = attrs.pad_left;
  int64_t* dims = forward->dims;
  dims[0] = x.dims[0];
  dims[1] = (conv.height - 1) * attrs.stride_h + (kernel_h - 1) * attrs.dilation_h + 1;
  dims[2] = (conv.width - 1) * attrs.stride_w + (kernel_w - 1) * attrs.dilation_w + 1;
  dims[3] = x.dims[3];
  forward->strides[3] = 1;
  for (int32_t axis = 2; axis >= 0; --axis) forward->strides[axis] = dims[axis + 1] * forward->strides[axis + 1];
  attrs.pad_top = attrs.pad_left = 0;
  const pf_view copy = {nullptr, dims, forward->strides, 4, x.dtype};
  convolution_init(&conv, call, attrs, copy, kernel_h, kernel_w, attrs.groups, channels, false);
}

template <bool PACKED>
int32_t conv_supports(const pf_step* step, char* why, size_t why_size) {
  const int32_t nints = PACKED ? kPackedInts : 7;
  const bool pools = PACKED && step->nints == nints + 1;
  if (step->ninputs < 2 || step->noutputs != 1 || (step->nints != nints && !pools)) {
    return refuse(why, why_size, "%s takes at least 2 inputs, 1 output and %d ints, got %d, %d and %d", step->kernel,
                  nints, step->ninputs, step->noutputs, step->nints);
  }
  if (pools && step->ints[kPackedInts] != 2) {
    return refuse(why, why_size, "%s keeps the largest of windows of 2, not %lld", step->kernel,
                  static_cast<long long>(step->ints[kPackedInts]));
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
  Forward forward;
  conv_init<PACKED>(call, &forward);
  const Convolution& conv = forward.conv;
  if (conv.pool > 1 && is_depthwise(conv)) {
    return fail(error, PF_INVALID_ARGUMENT, "conv2d_packed keeps all sums of a depthwise convolution");
  }
  const Epilogue* epilogue = conv.destination.epilogue;
  const bool depthwise = is_depthwise(conv);
  double cost = convolution_cost(conv) * (depthwise ? 2.0 : 1.0);
  size_t scratch = depthwise ? depthwise_scratch_of(conv).epilogue : convolution_scratch(conv).epilogue;
  if (epilogue != nullptr) {
    scratch += epilogue->scratch;
    cost += epilogue->cost * static_cast<double>(conv.pixels * conv.columns * conv.groups);
  }
  partition->thread_scratch = scratch;
  partition->shared_scratch = forward.packed_bytes() + forward.copy_bytes();
  partition->cost = cost + 0.1 * static_cast<double>(partition->shared_scratch);
  partition->phases = 0;
  if (forward.packs) partition->tasks[partition->phases++] = conv.pixels == 0 ? 0 : weight_panels(conv);
  if (forward.copies) partition->tasks[partition->phases++] = forward.dims[0] * forward.dims[1];
  partition->tasks[partition->phases++] = forward.tasks();
  return PF_OK;
}

/* ONE_GROUP: the convolution is known to have no other. */
template <typename T, bool PACKED, bool ONE_GROUP>
uint32_t run_tasks(const Forward& forward, const pf_call* call, const pf_task* task) {
  const Convolution& conv = forward.conv;
  const pf_view& w = call->inputs[1];
  char* scratch = static_cast<char*>(task->thread_scratch);
  T* copy = reinterpret_cast<T*>(static_cast<char*>(task->shared_scratch) + forward.packed_bytes());
  T* panels = static_cast<T*>(PACKED ? w.data : task->shared_scratch);
  if (!PACKED && task->phase == 0) {
    for (int64_t i = task->begin; i < task->end; ++i) pack_weights(w, weight_groups(conv), false, i, panels);
    return 0;
  }
  if (forward.copies && task->phase == (PACKED ? 0 : 1)) {
    for (int64_t i = task->begin; i < task->end; ++i) {
      copy_padded<T>(call->inputs[0], i / forward.dims[1], i % forward.dims[1] - forward.pad_top, forward.pad_left,
                     forward.dims[2], copy + i * forward.strides[1]);
    }
    return 0;
  }
  const T* source = forward.copies ? copy : static_cast<const T*>(call->inputs[0].data);
  uint32_t faults = 0;
  if (!ONE_GROUP && is_depthwise(conv)) {
    const DepthwiseScratch parts = depthwise_scratch<T>(conv);
    for (int64_t i = task->begin; i < task->end; ++i) {
      depthwise_block<T>(conv, parts, source, panels, i, scratch, &faults);
    }
    return faults;
  }
  const ConvolutionScratch parts = convolution_scratch(conv);
  for (int64_t i = task->begin; i < task->end; ++i) {
    convolve_block<false, T>(conv, parts, source, panels, i, scratch, &faults);
  }
  return faults;
}

template <bool PACKED, int32_t ONLY = kEveryDtype, bool ONE_GROUP = false>
pf_code conv_run(const pf_call* call, const pf_task* task, pf_error* error) {
  Forward forward;
  conv_init<PACKED>(call, &forward);
  const uint32_t faults = is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32)
                              ? run_tasks<float, PACKED, ONE_GROUP>(forward, call, task)
                              : run_tasks<double, PACKED, ONE_GROUP>(forward, call, task);
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

PF_FLOAT32(conv2d, epilogue_state_size, epilogue_prepare, conv_partition<false>, conv_run<false, PF_DTYPE_float32>)
PF_FLOAT32(conv2d_pack, nullptr, nullptr, pack_partition, pack_run<PF_DTYPE_float32>)
PF_FLOAT32(conv2d_packed, epilogue_state_size, epilogue_prepare, conv_partition<true>, conv_run<true, PF_DTYPE_float32>)
PF_FLOAT32_AS(conv2d_one_group, conv2d, epilogue_state_size, epilogue_prepare, conv_partition<false>,
              conv_run<false, PF_DTYPE_float32, true>)
PF_FLOAT32_AS(conv2d_packed_one_group, conv2d_packed, epilogue_state_size, epilogue_prepare, conv_partition<true>,
              conv_run<true, PF_DTYPE_float32, true>)

const pf_kernel* conv_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
