// expand_depthwise and expand_depthwise_project: docs/kernels.md. A convolution, a bias, bounds and a depthwise
// convolution of what comes out; and a bias, bounds and a 1 x 1 convolution of that. Images between them are made some
// rows at a time: a ring holds those of the first that windows see, a strip those of the second that are projected.
// Each element is the chain that the convolutions have for it.
#include <string.h>

#include "backends/cpu/depthwise.h"
#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {
namespace {

/* Operands: x, panels, bias, taps; bias and panels of the projection. */
constexpr int32_t kOwn = 4, kOwnProjected = 6;
/* Ints: those of conv2d_packed for the depthwise convolution; stride, padding, dilation and kernel of the expansion;
 * height and width of what comes out. */
constexpr int32_t kDepthwiseInts = 9, kInts = kDepthwiseInts + 10;
/* Rows of the target, whose first windows may need rows that other tasks make too; fewer where there would be one task
 * of an image. */
constexpr int64_t kTaskRows = 14;
constexpr int64_t kLeastRows = 4;
constexpr int64_t kStripPixels = 96;  // at least, of a strip of whole rows

/* The least power of two that is not less: a ring of so many rows. */
int64_t ring_of(int64_t rows) {
  int64_t size = 1;
  while (size < rows) size *= 2;
  return size;
}

/* The expansion, of which rows are made one by one. */
struct Expansion {
  WindowAxis vertical, horizontal;  // of x
  int64_t width, columns;           // of what comes out
  int64_t depth;
  int64_t runs, across, run_length;          // of a window: in all, of a row of it, elements of each
  int64_t row_step, pixel_step;              // in memory, of the rows that windows are read from
  bool copies;                               // rows of x to a ring, with their padding, channels adjacent
  int64_t row_mask, padded_width, row_size;  // of that ring; behind it lies a row of zeros
};

struct Chain {
  Expansion expansion;
  Convolution depthwise;   // whose source is the ring
  Convolution projection;  // whose source are strips
  int64_t dims[4], strides[4], strip_dims[4], strip_strides[4];
  int64_t blocks;      // of target rows, in an image
  int64_t strip_rows;  // at most
  /* Bytes of thread scratch before these: the ring comes first. */
  size_t copies, places, bias, windows, strip, next_bias, sums, epilogue;

  int64_t tasks() const { return depthwise.pixels == 0 ? 0 : dims[0] * blocks; }
};

void expansion_init(const pf_call* call, Expansion* to) {
  const pf_view& x = call->inputs[0];
  const int64_t* ints = call->ints + kDepthwiseInts;
  const int64_t kernel_h = ints[6], kernel_w = ints[7], channels = x.dims[3], height = ints[8];
  to->width = ints[9];
  to->columns = call->ints[6];
  to->depth = kernel_h * kernel_w * channels;
  to->vertical = forward_axis(kernel_h, ints[0], ints[2], ints[4], x.dims[1]);
  to->horizontal = forward_axis(kernel_w, ints[1], ints[3], ints[5], x.dims[2]);
  const WindowAxis &v = to->vertical, &h = to->horizontal;
  const bool inside = v.inside(0) && v.inside(height - 1) && h.inside(0) && h.inside(to->width - 1);
  to->copies = !inside || (x.strides[3] != 1 && channels > 1);
  to->row_mask = ring_of((kernel_h - 1) * ints[4] + 1) - 1;
  to->padded_width = maximum_of(0, (to->width - 1) * h.step + (kernel_w - 1) * h.tap_step + 1);
  to->row_size = to->padded_width * channels;
  to->row_step = to->copies ? to->row_size : x.strides[1];
  to->pixel_step = to->copies ? channels : x.strides[2];
  const bool merged = kernel_w == 1 || (h.tap_step == 1 && to->pixel_step == channels);
  to->across = merged ? 1 : kernel_w;
  to->runs = kernel_h * to->across;
  to->run_length = to->depth / to->runs;
}

template <bool PROJECTS>
void chain_init(const pf_call* call, Chain* to) {
  const pf_view &x = call->inputs[0], &y = call->outputs[0];
  expansion_init(call, &to->expansion);
  const Expansion& expansion = to->expansion;
  const ConvAttrs attrs = conv_attrs(call->ints);
  const int64_t kernel_h = call->ints[7], kernel_w = call->ints[8], channels = expansion.columns;
  const auto shape = [channels](int64_t images, int64_t height, int64_t width, int64_t* dims, int64_t* strides) {
    dims[0] = images, dims[1] = height, dims[2] = width, dims[3] = channels;
    strides[0] = 0, strides[1] = width * channels, strides[2] = channels, strides[3] = 1;
  };
  shape(x.dims[0], call->ints[kDepthwiseInts + 8], expansion.width, to->dims, to->strides);
  const pf_view ring = {nullptr, to->dims, to->strides, 4, x.dtype};
  Convolution& conv = to->depthwise;
  const int32_t own = PROJECTS ? kOwnProjected : kOwn;
  convolution_init(&conv, call, attrs, ring, kernel_h, kernel_w, channels, 1, false, own);
  const int64_t rows = ring_of((kernel_h - 1) * attrs.dilation_h + 1);
  conv.row_mask = rows - 1;
  conv.columns = 1;  // whatever the target holds
  to->blocks = maximum_of(conv.height / kTaskRows, conv.height < 2 * kLeastRows ? 1 : 2);
  const auto lines = [](int64_t elements, size_t size = sizeof(float)) {
    return (static_cast<size_t>(elements) * size + 63) / 64 * 64;
  };
  to->copies = lines(rows * to->strides[1]);
  to->places = to->copies + (expansion.copies ? lines((expansion.row_mask + 2) * expansion.row_size) : 0);
  to->bias = to->places + lines(expansion.width + expansion.runs, sizeof(int64_t));
  to->windows = to->bias + lines(channels);
  const DepthwiseScratch parts = depthwise_scratch<float>(conv);
  if constexpr (!PROJECTS) {
    to->epilogue = to->windows + parts.epilogue;
    return;
  }
  shape(x.dims[0], y.dims[1], y.dims[2], to->strip_dims, to->strip_strides);
  const pf_view strip = {nullptr, to->strip_dims, to->strip_strides, 4, x.dtype};
  convolution_init(&to->projection, call, {1, 1, 0, 0, 1, 1, 1}, strip, 1, 1, 1, channels, false, own);
  const int64_t most = ceildiv(conv.height, to->blocks);
  to->strip_rows = minimum_of(most, ceildiv(kStripPixels, maximum_of(1, conv.width)));
  const int64_t pixels = to->strip_rows * conv.width;
  const int64_t beside = to->projection.straight() ? gemm::kPanel : to->projection.panels * gemm::kPanel;
  to->strip = to->windows + parts.sums;
  to->next_bias = to->strip + lines(pixels * channels);
  to->sums = to->next_bias + lines(channels);
  to->epilogue = to->sums + lines(pixels * beside);
}

/* A bias, copied to scratch, and bounds. */
Finish bias_and_bounds(const pf_view& given, const double* bounds, char* scratch) {
  float* const bias = reinterpret_cast<float*>(scratch);
  for (int64_t i = 0; i < given.dims[0]; ++i) bias[i] = static_cast<const float*>(given.data)[i * given.strides[0]];
  const float low = static_cast<float>(bounds[0]), high = static_cast<float>(bounds[1]);
  return {1, {{FinishOp::kAddRowAndClip, 0, low, high, bias, 0}}};
}

/* What makes rows of the expanded image in the ring of a thread, each once. */
class Expander {
 public:
  Expander(const Chain& chain, const pf_call* call, char* scratch)
      : chain_(chain),
        expansion_(chain.expansion),
        x_(call->inputs[0]),
        panels_(static_cast<const float*>(call->inputs[1].data)),
        ring_(reinterpret_cast<float*>(scratch)),
        copies_(reinterpret_cast<float*>(scratch + chain.copies)),
        windows_(reinterpret_cast<const float**>(scratch + chain.places)),
        runs_(reinterpret_cast<int64_t*>(windows_ + expansion_.width)),
        finish_(bias_and_bounds(call->inputs[2], call->step->floats, scratch + chain.bias)) {
    const float* from = expansion_.copies ? copies_ : static_cast<const float*>(x_.data);
    const int64_t step = expansion_.horizontal.step * expansion_.pixel_step;
    const int64_t origin = expansion_.copies ? 0 : expansion_.horizontal.origin * expansion_.pixel_step;
    for (int64_t i = 0; i < expansion_.width; ++i) windows_[i] = from + origin + i * step;
    if (expansion_.copies) memset(zeros(), 0, static_cast<size_t>(expansion_.row_size) * sizeof(float));
  }

  void begin_image(int64_t image) {
    image_ = image;
    made_ = copied_ = 0;
  }

  /* Rows [first, last) are in the ring behind this. */
  void make(int64_t first, int64_t last) {
    for (made_ = maximum_of(made_, first); made_ < last; ++made_) make_row(made_);
  }

 private:
  float* zeros() const { return copies_ + (expansion_.row_mask + 1) * expansion_.row_size; }

  void copy_rows(int64_t first, int64_t last) {
    for (copied_ = maximum_of(copied_, first); copied_ < last; ++copied_) {
      copy_padded(x_, image_, copied_, -expansion_.horizontal.origin, expansion_.padded_width,
                  copies_ + (copied_ & expansion_.row_mask) * expansion_.row_size);
    }
  }

  void make_row(int64_t index) {
    const WindowAxis& v = expansion_.vertical;
    if (expansion_.copies) {
      const int64_t first = index * v.step + v.origin;
      copy_rows(first, minimum_of(v.size, first + (v.taps - 1) * v.tap_step + 1));
    }
    const auto place = [&](int64_t run) {
      const int64_t row = v.at(index, run / expansion_.across);
      const int64_t column = run % expansion_.across * expansion_.horizontal.tap_step * expansion_.pixel_step;
      if (!expansion_.copies) return image_ * x_.strides[0] + row * expansion_.row_step + column;
      return (row < 0 ? expansion_.row_mask + 1 : row & expansion_.row_mask) * expansion_.row_step + column;
    };
    float* const to = ring_ + (index & chain_.depthwise.row_mask) * chain_.strides[1];
    const int64_t depth = expansion_.depth, columns = expansion_.columns;
    over_runs(expansion_.runs, expansion_.run_length, windows_, runs_, place,
              [&](const gemm::Left<float>& left, int64_t k0, int64_t count) {
                const gemm::Right<float> right = {panels_ + k0 * gemm::kPanel, gemm::kPanel, depth * gemm::kPanel};
                const Finish* finish = k0 + count == depth ? &finish_ : nullptr;
                gemm::multiply_columns<float>(expansion_.width, columns, count, left, right, to, columns,
                                              {k0 > 0, finish, 0, 0});
              });
  }

  const Chain& chain_;
  const Expansion& expansion_;
  const pf_view& x_;
  const float* panels_;
  float *ring_, *copies_;
  const float** windows_;
  int64_t* runs_;
  Finish finish_;
  int64_t image_ = 0;
  int64_t made_ = 0, copied_ = 0;  // rows before these are in their rings, or are no more needed
};

/* Target rows [line, line + rows), counted through all images, from the strip that holds what they are made of. */
void project(const Chain& chain, const pf_call* call, int64_t line, int64_t rows, char* scratch, uint32_t* faults) {
  const Convolution& conv = chain.projection;
  const float* panels = static_cast<const float*>(call->inputs[5].data);
  const float* strip = reinterpret_cast<const float*>(scratch + chain.strip);
  const ConvolutionBlock<float> block(conv, nullptr, panels, 0, line * conv.width, rows * conv.width, 0, conv.panels,
                                      scratch + chain.sums);
  over_depth(conv, block, [&](int64_t k0, int64_t) { return gemm::Left<float>{strip + k0, conv.depth}; });
  write_buffered(conv, block, scratch + chain.epilogue, faults);
}

template <bool PROJECTS>
pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  Chain chain;
  chain_init<PROJECTS>(call, &chain);
  const Convolution& conv = chain.depthwise;
  char* const scratch = static_cast<char*>(task->thread_scratch);
  const float* const ring = reinterpret_cast<const float*>(scratch);
  const float* const taps = static_cast<const float*>(call->inputs[3].data);
  const DepthwiseScratch parts = depthwise_scratch<float>(conv);
  Expander expander(chain, call, scratch);
  Finish finish;
  if constexpr (PROJECTS) finish = bias_and_bounds(call->inputs[4], call->step->floats + 2, scratch + chain.next_bias);
  const WindowAxis& v = conv.vertical;
  const int64_t cuts = depthwise_cuts(conv);
  uint32_t faults = 0;
  for (int64_t i = task->begin; i < task->end; ++i) {
    const int64_t image = i / chain.blocks, block = i % chain.blocks;
    if (block == 0 || i == task->begin) expander.begin_image(image);
    const int64_t begin = gemm::part_begin(conv.height, chain.blocks, block);
    const int64_t end = gemm::part_begin(conv.height, chain.blocks, block + 1);
    int64_t held = 0;  // rows of the strip
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = row * v.step + v.origin;
      expander.make(first, minimum_of(v.size, first + (v.taps - 1) * v.tap_step + 1));
      const int64_t line = image * conv.height + row;
      if constexpr (PROJECTS) {
        float* const to = reinterpret_cast<float*>(scratch + chain.strip) + held * chain.strip_strides[1];
        depthwise_sums<float>(conv, parts, ring, taps, line, 0, conv.width, {to, conv.groups, &finish, 0},
                              scratch + chain.windows);
        if (++held < chain.strip_rows && row + 1 < end) continue;
        project(chain, call, line + 1 - held, held, scratch, &faults);
        held = 0;
      } else {
        for (int64_t cut = line * cuts; cut < (line + 1) * cuts; ++cut) {
          depthwise_block<float>(conv, parts, ring, taps, cut, scratch + chain.windows, &faults);
        }
      }
    }
  }
  return faults == 0 ? PF_OK : program_fault(faults, error);
}

template <bool PROJECTS>
pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view &x = call->inputs[0], &y = call->outputs[0];
  const pf_view &panels = call->inputs[1], &bias = call->inputs[2], &taps = call->inputs[3];
  const int64_t channels = call->ints[6], count = channels / gemm::kPanel;
  if (channels % gemm::kPanel != 0 || (!PROJECTS && y.dims[3] != channels)) {
    return fail(error, PF_INVALID_ARGUMENT, "%lld channels in %lld groups are no panels of depthwise channels",
                static_cast<long long>(PROJECTS ? channels : y.dims[3]), static_cast<long long>(channels));
  }
  Chain chain;
  chain_init<PROJECTS>(call, &chain);
  const Convolution& conv = chain.depthwise;
  if (panels.dims[0] != 1 || panels.dims[1] != count || panels.dims[2] != chain.expansion.depth || taps.dims[0] != 1 ||
      taps.dims[1] != count || taps.dims[2] != conv.depth || bias.dims[0] != channels) {
    return fail(error, PF_INVALID_ARGUMENT, "panels, bias or taps are not those of %lld channels from %lld",
                static_cast<long long>(channels), static_cast<long long>(x.dims[3]));
  }
  const Epilogue* epilogue = conv.destination.epilogue;
  const double image = static_cast<double>(chain.dims[0] * chain.dims[1] * chain.dims[2]);
  double cost = 2.0 * convolution_cost(conv) + image * static_cast<double>(channels * chain.expansion.depth) / 35.0;
  if constexpr (PROJECTS) {
    const pf_view &next_bias = call->inputs[4], &projection = call->inputs[5];
    if (projection.dims[0] != 1 || projection.dims[1] != chain.projection.panels || projection.dims[2] != channels ||
        next_bias.dims[0] != channels) {
      return fail(error, PF_INVALID_ARGUMENT, "bias or panels are not those of a projection of %lld channels to %lld",
                  static_cast<long long>(channels), static_cast<long long>(y.dims[3]));
    }
    cost += convolution_cost(chain.projection);
  }
  if (epilogue != nullptr) cost += epilogue->cost * static_cast<double>(count_elements(y));
  partition->thread_scratch = chain.epilogue + (epilogue != nullptr ? epilogue->scratch : 0);
  partition->shared_scratch = 0;
  return one_phase(partition, chain.tasks(), cost);
}

template <bool PROJECTS>
int32_t supports(const pf_step* step, char* why, size_t why_size) {
  constexpr int32_t own = PROJECTS ? kOwnProjected : kOwn, bounds = PROJECTS ? 4 : 2;
  if (step->ninputs < own || step->noutputs != 1 || step->nints != kInts || step->nfloats != bounds) {
    return refuse(why, why_size, "%s takes at least %d inputs, 1 output, %d ints and %d floats, got %d, %d, %d and %d",
                  step->kernel, own, kInts, bounds, step->ninputs, step->noutputs, step->nints, step->nfloats);
  }
  for (int32_t i = 0; i < own; ++i) {
    const pf_operand& operand = step->inputs[i];
    const bool bias = i == 2 || i == 4;
    if (operand.dtype != PF_DTYPE_float32 || operand.ndim != (bias ? 1 : 4)) {
      return refuse(why, why_size, "%s takes float32 of rank 4 and biases of rank 1, got %s of rank %d", step->kernel,
                    dtype_name(operand.dtype), operand.ndim);
    }
  }
  if (step->outputs[0].ndim != 4) {
    return refuse(why, why_size, "%s gives rank 4, not %d", step->kernel, step->outputs[0].ndim);
  }
  return epilogue_supported(step, why, why_size, own);
}

const pf_kernel kKernels[] = {
    {"expand_depthwise", supports<false>, epilogue_state_size, epilogue_prepare, partition<false>, run<false>},
    {"expand_depthwise_project", supports<true>, epilogue_state_size, epilogue_prepare, partition<true>, run<true>},
};

}  // namespace

const pf_kernel* expand_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
