/* Depthwise convolution: target channel i reads source channel i alone. Same order of taps, same factor of 0 outside
 * the source, so the same bits as the product of gathered windows. Weights are packed as those of one group are: panels
 * of 32 channels, [taps][32]. */
#ifndef PYFLOW_BACKENDS_CPU_DEPTHWISE_H
#define PYFLOW_BACKENDS_CPU_DEPTHWISE_H

#include <stdint.h>
#include <string.h>

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

/* Where the sums of a stretch of pixels of a row go. */
template <typename T>
struct DepthwiseTarget {
  T* data;
  int64_t stride;
  const Finish* finish;  // or nullptr
  int64_t pixel;
};

/* OUT neighbouring pixels by a KERNEL x KERNEL window of which every source is read in place:
 * pixels[y * columns + x], columns being those that the OUT windows span. */
template <typename T, int KERNEL, int STEP, int OUT>
static void depthwise_pixels(const T* const* pixels, const T* weights, int64_t channels,
                             const DepthwiseTarget<T>& target) {
  constexpr int64_t lanes = kLanes<T>;
  constexpr int columns = (OUT - 1) * STEP + KERNEL;
  for (int64_t c = 0; c < channels; c += lanes) {
    const T* weight = weights + c / gemm::kPanel * (KERNEL * KERNEL * gemm::kPanel) + c % gemm::kPanel;
    Vector<T> sum[OUT][1] = {};
#pragma GCC unroll 8
    for (int y = 0; y < KERNEL; ++y) {
#pragma GCC unroll 16
      for (int x = 0; x < columns; ++x) {
        const Vector<T> source = load(pixels[y * columns + x] + c);
#pragma GCC unroll 8
        for (int i = 0; i < OUT; ++i) {
          const int tap = x - i * STEP;
          if (tap < 0 || tap >= KERNEL) continue;
          sum[i][0] = multiply_add(source, load(weight + (y * KERNEL + tap) * gemm::kPanel), sum[i][0]);
        }
      }
    }
    if constexpr (sizeof(T) == sizeof(float)) {
      if (target.finish != nullptr) finish_tile<OUT, 1>(*target.finish, target.pixel, c, sum);
    }
#pragma GCC unroll 8
    for (int i = 0; i < OUT; ++i) store(target.data + i * target.stride + c, sum[i][0]);
  }
}

/* A row's pixels [begin, end), four at a time. */
template <typename T, int KERNEL, int STEP, int OUT>
static int64_t depthwise_row(const Convolution& conv, const T* image, const T* zeros, int64_t row, int64_t begin,
                             int64_t end, const T* weights, const DepthwiseTarget<T>& target) {
  constexpr int columns = (OUT - 1) * STEP + KERNEL;
  const T* pixels[KERNEL * columns];
  int64_t at = begin;
  for (; at + OUT <= end; at += OUT) {
    const int64_t first = at * STEP + conv.horizontal.origin;
    for (int y = 0; y < KERNEL; ++y) {
      const int64_t source_row = conv.vertical.at(row, y);
      const T* line = image + source_row * conv.source_strides[1] + first * conv.source_strides[2];
      for (int x = 0; x < columns; ++x) {
        const bool inside = source_row >= 0 && first + x >= 0 && first + x < conv.horizontal.size;
        pixels[y * columns + x] = inside ? line + x * conv.source_strides[2] : zeros;
      }
    }
    const int64_t done = at - begin;
    depthwise_pixels<T, KERNEL, STEP, OUT>(
        pixels, weights, conv.groups,
        {target.data + done * target.stride, target.stride, target.finish, target.pixel + done});
  }
  if constexpr (OUT > 1) {
    const int64_t done = at - begin;
    return depthwise_row<T, KERNEL, STEP, OUT / 2>(
        conv, image, zeros, row, at, end, weights,
        {target.data + done * target.stride, target.stride, target.finish, target.pixel + done});
  }
  return at;
}

/* The same for any window and any strides, into sums of whole vectors. */
template <typename T>
static void depthwise_any(const Convolution& conv, const T* image, const T* zeros, T* copies, int64_t row,
                          int64_t begin, int64_t end, const T* weights, T* sums) {
  constexpr int64_t lanes = kLanes<T>;
  const int64_t channels = depthwise_channels<T>(conv);
  const int64_t taps = conv.vertical.taps * conv.horizontal.taps;
  const bool in_place = conv.source_strides[3] == 1 && channels == conv.groups;
  memset(sums, 0, static_cast<size_t>((end - begin) * channels) * sizeof(T));
  for (int64_t at = begin; at < end; ++at, sums += channels) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t y = conv.vertical.at(row, tap / conv.horizontal.taps);
      const int64_t x = conv.horizontal.at(at, tap % conv.horizontal.taps);
      const T* from = zeros;
      if (y >= 0 && x >= 0) {
        from = image + y * conv.source_strides[1] + x * conv.source_strides[2];
        if (!in_place) {
          for (int64_t c = 0; c < channels; ++c) copies[c] = c < conv.groups ? from[c * conv.source_strides[3]] : T(0);
          from = copies;
        }
      }
      for (int64_t c = 0; c < channels; c += lanes) {
        const T* weight = weights + c / gemm::kPanel * (taps * gemm::kPanel) + tap * gemm::kPanel + c % gemm::kPanel;
        store(sums + c, multiply_add(load(from + c), load(weight), load(sums + c)));
      }
    }
  }
}

/* One task: a stretch of a row. */
template <typename T>
static void depthwise_block(const Convolution& conv, const DepthwiseScratch& parts, const T* source, const T* weights,
                            int64_t task, char* scratch, uint32_t* faults) {
  const int64_t cuts = depthwise_cuts(conv);
  const int64_t line = task / cuts;
  const int64_t begin = gemm::part_begin(conv.width, cuts, task % cuts);
  const int64_t end = gemm::part_begin(conv.width, cuts, task % cuts + 1);
  const int64_t row = line % conv.height;
  const int64_t pixel = line * conv.width + begin;
  const T* image = source + line / conv.height * conv.source_strides[0];
  const int64_t channels = depthwise_channels<T>(conv);
  T* zeros = reinterpret_cast<T*>(scratch);
  T* sums = reinterpret_cast<T*>(scratch + parts.sums);
  memset(zeros, 0, static_cast<size_t>(channels) * sizeof(T));
  const WindowAxis& v = conv.vertical;
  const WindowAxis& h = conv.horizontal;
  const bool square = v.taps == h.taps && h.tap_step == 1 && conv.source_strides[3] == 1 && channels == conv.groups;
  const Destination& destination = conv.destination;
  DepthwiseTarget<T> target = {sums, channels, nullptr, pixel};
  const bool straight = square && destination.straight;
  if (straight) {
    const int64_t stride = destination.row_stride();
    target = {static_cast<T*>(destination.output.data) + pixel * stride, stride, destination.finish, pixel};
  }
  if (square && v.taps == 3 && h.step == 1) {
    depthwise_row<T, 3, 1, 4>(conv, image, zeros, row, begin, end, weights, target);
  } else if (square && v.taps == 3 && h.step == 2) {
    depthwise_row<T, 3, 2, 4>(conv, image, zeros, row, begin, end, weights, target);
  } else if (square && v.taps == 5 && h.step == 1) {
    depthwise_row<T, 5, 1, 4>(conv, image, zeros, row, begin, end, weights, target);
  } else if (square && v.taps == 5 && h.step == 2) {
    depthwise_row<T, 5, 2, 4>(conv, image, zeros, row, begin, end, weights, target);
  } else {
    depthwise_any(conv, image, zeros, reinterpret_cast<T*>(scratch + parts.copies), row, begin, end, weights, sums);
    destination_write_flat(destination, sums, channels, pixel, end - begin, 0, conv.groups, scratch + parts.epilogue,
                           faults);
    return;
  }
  if (straight) return;
  destination_write_flat(destination, sums, channels, pixel, end - begin, 0, conv.groups, scratch + parts.epilogue,
                         faults);
}

}  // namespace PF_ISA
}  // namespace pf

#endif
