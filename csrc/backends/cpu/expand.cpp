// expand_depthwise: docs/kernels.md. A 1 x 1 convolution, a bias, bounds, and a depthwise convolution of what comes
// out, a row of the target at a time: a ring holds those rows of the image between the two that a window sees. Each
// element is the chain that the two convolutions have for it.
#include "backends/cpu/depthwise.h"
#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int32_t kOwn = 4;  // operands: x, panels, bias, taps
/* Rows of the target, whose first windows may need rows that other tasks make too; fewer where there would be one task
 * of an image. */
constexpr int64_t kTaskRows = 14;
constexpr int64_t kLeastRows = 4;

struct Expansion {
  Convolution conv;  // the depthwise one, whose source is the ring
  int64_t dims[4], strides[4];
  int64_t depth;                               // channels of x
  int64_t blocks;                              // of target rows, in an image
  bool gathers;                                // channels of x are not adjacent
  size_t bias, gathered, depthwise, epilogue;  // bytes of thread scratch before these: the ring comes first

  int64_t tasks() const { return conv.pixels == 0 ? 0 : conv.pixels / (conv.width * conv.height) * blocks; }
  float* row(char* scratch, int64_t index) const {
    return reinterpret_cast<float*>(scratch) + (index & conv.row_mask) * strides[1];
  }
};

void expansion_init(const pf_call* call, Expansion* to) {
  const pf_view& x = call->inputs[0];
  const ConvAttrs attrs = conv_attrs(call->ints);
  const int64_t kernel_h = call->ints[7], kernel_w = call->ints[8];
  const int64_t channels = call->outputs[0].dims[3];
  const int64_t dims[4] = {x.dims[0], x.dims[1], x.dims[2], channels};
  const int64_t strides[4] = {0, x.dims[2] * channels, channels, 1};
  for (int32_t i = 0; i < 4; ++i) to->dims[i] = dims[i], to->strides[i] = strides[i];
  const pf_view ring = {nullptr, to->dims, to->strides, 4, x.dtype};
  Convolution& conv = to->conv;
  convolution_init(&conv, call, attrs, ring, kernel_h, kernel_w, channels, 1, false, kOwn);
  int64_t rows = 1;
  while (rows < (kernel_h - 1) * attrs.dilation_h + 1) rows *= 2;
  conv.row_mask = rows - 1;
  to->depth = x.dims[3];
  to->blocks = maximum_of(conv.height / kTaskRows, conv.height < 2 * kLeastRows ? 1 : 2);
  to->gathers = x.strides[3] != 1 && to->depth > 1;
  const auto lines = [](int64_t elements) { return (static_cast<size_t>(elements) * sizeof(float) + 63) / 64 * 64; };
  to->bias = lines(rows * strides[1]);
  to->gathered = to->bias + lines(channels);
  to->depthwise = to->gathered + (to->gathers ? lines(x.dims[2] * to->depth) : 0);
  to->epilogue = to->depthwise + depthwise_scratch<float>(conv).epilogue;
}

/* The bias, copied to scratch, and the bounds. */
Finish finish_of_expansion(const Expansion& expansion, const pf_call* call, char* scratch) {
  float* const bias = reinterpret_cast<float*>(scratch + expansion.bias);
  const pf_view& given = call->inputs[2];
  for (int64_t i = 0; i < given.dims[0]; ++i) bias[i] = static_cast<const float*>(given.data)[i * given.strides[0]];
  const float low = static_cast<float>(call->step->floats[0]), high = static_cast<float>(call->step->floats[1]);
  return {2, {{FinishOp::kAdd, 0, 0, 0, bias, 0}, {FinishOp::kClip, 0, low, high, nullptr, 0}}};
}

/* Row `index` of image `image` into the ring. */
void expand_row(const Expansion& expansion, const pf_call* call, const Finish& finish, int64_t image, int64_t index,
                char* scratch) {
  const pf_view& x = call->inputs[0];
  const float* panels = static_cast<const float*>(call->inputs[1].data);
  const int64_t width = expansion.dims[2], channels = expansion.dims[3], depth = expansion.depth;
  const float* from = static_cast<const float*>(x.data) + image * x.strides[0] + index * x.strides[1];
  int64_t stride = x.strides[2];
  if (expansion.gathers) {
    float* to = reinterpret_cast<float*>(scratch + expansion.gathered);
    gemm::pack_left(width, depth, from, stride, x.strides[3], to, depth);
    from = to;
    stride = depth;
  }
  float* to = expansion.row(scratch, index);
  const int64_t parts = maximum_of(1, ceildiv(depth, gemm::kDepth));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t k0 = gemm::part_begin(depth, parts, part), k1 = gemm::part_begin(depth, parts, part + 1);
    const gemm::Right<float> right = {panels + k0 * gemm::kPanel, gemm::kPanel, depth * gemm::kPanel};
    gemm::multiply_columns<float>(width, channels, k1 - k0, {from + k0, stride}, right, to, channels,
                                  {part > 0, part + 1 == parts ? &finish : nullptr, 0, 0});
  }
}

pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  Expansion expansion;
  expansion_init(call, &expansion);
  const Convolution& conv = expansion.conv;
  char* const scratch = static_cast<char*>(task->thread_scratch);
  const float* const taps = static_cast<const float*>(call->inputs[3].data);
  const DepthwiseScratch parts = depthwise_scratch<float>(conv);
  const Finish finish = finish_of_expansion(expansion, call, scratch);
  const WindowAxis& v = conv.vertical;
  const int64_t cuts = depthwise_cuts(conv);
  uint32_t faults = 0;
  int64_t made = 0;  // rows of the image before this one are in the ring, or are no more needed
  for (int64_t i = task->begin; i < task->end; ++i) {
    const int64_t image = i / expansion.blocks, block = i % expansion.blocks;
    if (block == 0) made = 0;
    const int64_t end = gemm::part_begin(conv.height, expansion.blocks, block + 1);
    for (int64_t row = gemm::part_begin(conv.height, expansion.blocks, block); row < end; ++row) {
      const int64_t first = row * v.step + v.origin;
      const int64_t last = minimum_of(v.size, first + (v.taps - 1) * v.tap_step + 1);
      for (made = maximum_of(made, first); made < last; ++made) {
        expand_row(expansion, call, finish, image, made, scratch);
      }
      const int64_t line = image * conv.height + row;
      for (int64_t cut = line * cuts; cut < (line + 1) * cuts; ++cut) {
        depthwise_block<float>(conv, parts, reinterpret_cast<const float*>(scratch), taps, cut,
                               scratch + expansion.depthwise, &faults);
      }
    }
  }
  return faults == 0 ? PF_OK : program_fault(faults, error);
}

pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view &x = call->inputs[0], &y = call->outputs[0];
  const pf_view &panels = call->inputs[1], &bias = call->inputs[2], &taps = call->inputs[3];
  const int64_t count = y.dims[3] / gemm::kPanel;
  if (y.dims[3] % gemm::kPanel != 0 || call->ints[6] != y.dims[3]) {
    return fail(error, PF_INVALID_ARGUMENT, "%lld channels in %lld groups are no panels of depthwise channels",
                static_cast<long long>(y.dims[3]), static_cast<long long>(call->ints[6]));
  }
  if (panels.dims[0] != 1 || panels.dims[1] != count || panels.dims[2] != x.dims[3] || taps.dims[0] != 1 ||
      taps.dims[1] != count || taps.dims[2] != call->ints[7] * call->ints[8] || bias.dims[0] != y.dims[3]) {
    return fail(error, PF_INVALID_ARGUMENT, "panels, bias or taps are not those of %lld channels from %lld",
                static_cast<long long>(y.dims[3]), static_cast<long long>(x.dims[3]));
  }
  Expansion expansion;
  expansion_init(call, &expansion);
  const Convolution& conv = expansion.conv;
  const Epilogue* epilogue = conv.destination.epilogue;
  const double expanded = static_cast<double>(count_elements(x)) * static_cast<double>(y.dims[3]);
  const double sums = static_cast<double>(count_elements(y));
  partition->thread_scratch = expansion.epilogue + (epilogue != nullptr ? epilogue->scratch : 0);
  partition->shared_scratch = 0;
  return one_phase(partition, expansion.tasks(),
                   2.0 * convolution_cost(conv) + expanded / 35.0 + (epilogue != nullptr ? epilogue->cost * sums : 0));
}

int32_t supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs < kOwn || step->noutputs != 1 || step->nints != 9 || step->nfloats != 2) {
    return refuse(why, why_size, "%s takes at least 4 inputs, 1 output, 9 ints and 2 floats, got %d, %d, %d and %d",
                  step->kernel, step->ninputs, step->noutputs, step->nints, step->nfloats);
  }
  for (int32_t i = 0; i < kOwn; ++i) {
    const pf_operand& operand = step->inputs[i];
    if (operand.dtype != PF_DTYPE_float32 || operand.ndim != (i == 2 ? 1 : 4)) {
      return refuse(why, why_size, "%s takes float32 of rank 4 and a bias of rank 1, got %s of rank %d", step->kernel,
                    dtype_name(operand.dtype), operand.ndim);
    }
  }
  if (step->outputs[0].ndim != 4) {
    return refuse(why, why_size, "%s gives rank 4, not %d", step->kernel, step->outputs[0].ndim);
  }
  return epilogue_supported(step, why, why_size, kOwn);
}

const pf_kernel kKernels[] = {
    {"expand_depthwise", supports, epilogue_state_size, epilogue_prepare, partition, run},
};

}  // namespace

const pf_kernel* expand_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
