/* Depthwise convolution: target channel i reads source channel i alone. Same order of taps, same factor of 0 outside
 * the source, so the same bits as the product of gathered windows. Weights are packed as those of one group are: panels
 * of 16 channels, [taps][16]. */
#ifndef PYFLOW_BACKENDS_CPU_DEPTHWISE_H
#define PYFLOW_BACKENDS_CPU_DEPTHWISE_H

#include <stdint.h>

#include "backends/cpu/convolve.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kDepthwisePixels = 32;  // of a row, in a task

static inline bool is_depthwise(const Convolution& conv) {
  return conv.channels == 1 && conv.columns == 1 && conv.groups > 1;
}

/* Panels of the weights of any convolution; the task of packing one is pack_weights of `weight_groups`. */
static inline int64_t weight_groups(const Convolution& conv) {
  return is_depthwise(conv) ? 1 : conv.groups;
}
static inline int64_t weight_panels(const Convolution& conv) {
  return is_depthwise(conv) ? ceildiv(conv.groups, gemm::kPanel) : conv.groups * conv.panels;
}
static inline size_t weight_bytes(const Convolution& conv) {
  return static_cast<size_t>(weight_panels(conv) * conv.depth * gemm::kPanel) * conv.element;
}

static inline int64_t depthwise_cuts(const Convolution& conv) {
  return maximum_of(1, ceildiv(conv.width, kDepthwisePixels));
}

static inline int64_t depthwise_tasks(const Convolution& conv) {
  return conv.pixels == 0 ? 0 : conv.pixels / conv.width * depthwise_cuts(conv);
}

/* Channels in whole vectors. */
template <typename T>
static inline int64_t depthwise_channels(const Convolution& conv) {
  return ceildiv(conv.groups, kLanes<T>) * kLanes<T>;
}

/* Thread scratch: zeros for a tap outside, copies of pixels that cannot be read in place, sums, the epilogue's own. */
struct DepthwiseScratch {
  size_t copies, sums, epilogue;
};

template <typename T>
static inline DepthwiseScratch depthwise_scratch(const Convolution& conv) {
  const auto lines = [](int64_t elements) { return (static_cast<size_t>(elements) * sizeof(T) + 63) / 64 * 64; };
  const int64_t channels = depthwise_channels<T>(conv);
  DepthwiseScratch scratch;
  scratch.copies = lines(channels);
  scratch.sums = scratch.copies + lines(channels);
  scratch.epilogue = scratch.sums + lines(kDepthwisePixels * channels);
  return scratch;
}

static inline DepthwiseScratch depthwise_scratch_of(const Convolution& conv) {
  return conv.element == sizeof(float) ? depthwise_scratch<float>(conv) : depthwise_scratch<double>(conv);
}

/* Where sums go: those of pixel i of a stretch to data + i * stride, finished as row `pixel` + i if T is float. */
template <typename T>
struct DepthwiseTarget {
  T* data;
  int64_t stride;
  const Finish* finish;  // or nullptr
  int64_t pixel;
};

/* Pixels [begin, end) of row `line`, counted through all images. The target has whole vectors of channels; of `scratch`
 * the zeros and the copies are used. */
template <typename T>
void depthwise_sums(const Convolution& conv, const DepthwiseScratch& parts, const T* source, const T* weights,
                    int64_t line, int64_t begin, int64_t end, const DepthwiseTarget<T>& target, char* scratch);

/* One task: a stretch of a row. T is float or double. */
template <typename T>
void depthwise_block(const Convolution& conv, const DepthwiseScratch& parts, const T* source, const T* weights,
                     int64_t task, char* scratch, uint32_t* faults);

}  // namespace PF_ISA
}  // namespace pf

#endif
