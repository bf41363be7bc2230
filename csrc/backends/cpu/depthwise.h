/* Depthwise convolution: target channel i reads source channel i alone. Same order of taps, same factor of 0 outside
 * the source, so the same bits as the product of gathered windows. */
#ifndef PYFLOW_BACKENDS_CPU_DEPTHWISE_H
#define PYFLOW_BACKENDS_CPU_DEPTHWISE_H

#include <stdint.h>

#include "backends/cpu/convolve.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kDepthwisePixels = 256;

/* Element (tap, channel) of the weights at data + tap row and column strides + channel * channel_stride. */
template <typename T>
struct DepthwiseWeights {
  const T* data;
  int64_t row_stride, column_stride, channel_stride;
};

static inline bool is_depthwise(const Convolution& conv) {
  return conv.channels == 1 && conv.columns == 1 && conv.groups > 1;
}

static inline int64_t depthwise_blocks(const Convolution& conv) {
  return maximum_of(1, ceildiv(conv.pixels, kDepthwisePixels));
}

static inline int64_t depthwise_tasks(const Convolution& conv) {
  return conv.pixels == 0 ? 0 : depthwise_blocks(conv) * ceildiv(conv.groups, gemm::kPanel);
}

/* Thread scratch: weights of a panel of channels, sums of a block, the epilogue's own. */
struct DepthwiseScratch {
  size_t sums, epilogue;
};

static inline DepthwiseScratch depthwise_scratch(const Convolution& conv) {
  const size_t row = gemm::kPanel * conv.element;
  const size_t weights = static_cast<size_t>(conv.depth) * row;
  return {weights, weights + static_cast<size_t>(kDepthwisePixels) * row};
}

/* The sources of one tap for 32 channels: in place where they are adjacent and whole, else copied to `buffer`. */
template <typename T>
static inline const T* depthwise_source(const Convolution& conv, const T* source, int64_t channel, int64_t channels,
                                        bool in_place, T* buffer) {
  if (in_place) return source + channel;
  for (int64_t j = 0; j < channels; ++j) buffer[j] = source[(channel + j) * conv.source_strides[3]];
  return buffer;
}

template <typename T>
static void depthwise_block(const Convolution& conv, const DepthwiseScratch& parts, const T* source,
                            const DepthwiseWeights<T>& weights, int64_t task, char* scratch, uint32_t* faults) {
  constexpr int count = static_cast<int>(gemm::kPanel / kLanes<T>);
  constexpr int64_t lanes = kLanes<T>;
  const int64_t blocks = depthwise_blocks(conv);
  const int64_t pixel = gemm::part_begin(conv.pixels, blocks, task % blocks);
  const int64_t rows = gemm::part_begin(conv.pixels, blocks, task % blocks + 1) - pixel;
  const int64_t channel = task / blocks * gemm::kPanel;
  const int64_t channels = minimum_of(gemm::kPanel, conv.groups - channel);
  const bool in_place = conv.source_strides[3] == 1 && channels == gemm::kPanel;
  const int64_t* strides = conv.source_strides;
  const WindowAxis& vertical = conv.vertical;
  const WindowAxis& horizontal = conv.horizontal;
  T* packed = reinterpret_cast<T*>(scratch);
  T* sums = reinterpret_cast<T*>(scratch + parts.sums);
  alignas(64) T buffer[gemm::kPanel] = {};
  alignas(64) const T zeros[gemm::kPanel] = {};
  for (int64_t y = 0; y < vertical.taps; ++y) {
    for (int64_t x = 0; x < horizontal.taps; ++x) {
      const T* from = weights.data + y * weights.row_stride + x * weights.column_stride;
      T* to = packed + (y * horizontal.taps + x) * gemm::kPanel;
      for (int64_t j = 0; j < gemm::kPanel; ++j) {
        to[j] = j < channels ? from[(channel + j) * weights.channel_stride] : T(0);
      }
    }
  }
  Pixel at(conv, pixel);
  for (int64_t r = 0; r < rows; ++r, at.next(conv)) {
    Vector<T> sum[count] = {};
    const T* image = source + at.image * strides[0];
    const T* weight = packed;
    const bool inside = vertical.inside(at.row) && horizontal.inside(at.column);
    const int64_t corner = (at.row * vertical.step + vertical.origin) * strides[1] +
                           (at.column * horizontal.step + horizontal.origin) * strides[2];
    for (int64_t y = 0; y < vertical.taps; ++y) {
      for (int64_t x = 0; x < horizontal.taps; ++x, weight += gemm::kPanel) {
        const T* from = zeros;
        if (inside) {
          const int64_t offset = corner + y * vertical.tap_step * strides[1] + x * horizontal.tap_step * strides[2];
          from = depthwise_source(conv, image + offset, channel, channels, in_place, buffer);
        } else {
          const int64_t row = vertical.at(at.row, y);
          const int64_t column = horizontal.at(at.column, x);
          if (row >= 0 && column >= 0) {
            from = depthwise_source(conv, image + row * strides[1] + column * strides[2], channel, channels, in_place,
                                    buffer);
          }
        }
#pragma GCC unroll 16
        for (int j = 0; j < count; ++j) {
          sum[j] = multiply_add(load(from + j * lanes), load(weight + j * lanes), sum[j]);
        }
      }
    }
#pragma GCC unroll 16
    for (int j = 0; j < count; ++j) store(sums + r * gemm::kPanel + j * lanes, sum[j]);
  }
  destination_write_flat(conv.destination, sums, gemm::kPanel, pixel, rows, channel, channels, scratch + parts.epilogue,
                         faults);
}

}  // namespace PF_ISA
}  // namespace pf

#endif
