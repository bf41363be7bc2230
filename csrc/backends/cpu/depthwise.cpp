// The sums of depthwise.h.
#include "backends/cpu/depthwise.h"

#include <string.h>

namespace pf {
namespace PF_ISA {
namespace {

/* Sources of the windows of some neighbouring pixels, KERNEL rows of them, from a channel that moves on. */
template <typename T, int KERNEL>
struct Inside {  // all lie in the image
  static constexpr int kMostColumns = 11;
  const char* rows[KERNEL];
  int64_t odd[kMostColumns / 2];  // 1, 3, 5 ... times the bytes of a pixel, which an address scales by up to 8

  PF_ALWAYS_INLINE const T* at(int y, int x) const {
    const int times = x & -x;
    return reinterpret_cast<const T*>(x == 0 ? rows[y] : rows[y] + odd[x / times / 2] * times);
  }
  PF_ALWAYS_INLINE void next(int64_t channels) {
#pragma GCC unroll 8
    for (int y = 0; y < KERNEL; ++y) rows[y] += channels * static_cast<int64_t>(sizeof(T));
  }
};
template <typename T, int COLUMNS>
struct Anywhere {
  const T* const (*pixels)[COLUMNS];
  int64_t channel;

  PF_ALWAYS_INLINE const T* at(int y, int x) const { return pixels[y][x] + channel; }
  PF_ALWAYS_INLINE void next(int64_t channels) { channel += channels; }
};

/* COUNT vectors of channels of OUT neighbouring pixels by a KERNEL x KERNEL window of which every source is read in
 * place. `weight` is the channels' first one, `c` the place of the channels. */
template <typename T, int KERNEL, int STEP, int OUT, int COUNT, typename Sources>
PF_ALWAYS_INLINE void depthwise_vectors(const Sources& sources, const T* weight, int64_t c,
                                        const DepthwiseTarget<T>& target) {
  constexpr int64_t lanes = kLanes<T>;
  constexpr int columns = (OUT - 1) * STEP + KERNEL;
  Vector<T> sum[OUT][COUNT] = {};
#pragma GCC unroll 8
  for (int y = 0; y < KERNEL; ++y) {
#pragma GCC unroll 16
    for (int x = 0; x < columns; ++x) {
      Vector<T> source[COUNT];
#pragma GCC unroll 2
      for (int j = 0; j < COUNT; ++j) {
        source[j] = load(sources.at(y, x) + j * lanes);
        asm("" : "+v"(source[j]));  // loaded once
      }
#pragma GCC unroll 8
      for (int i = 0; i < OUT; ++i) {
        const int tap = x - i * STEP;
        if (tap < 0 || tap >= KERNEL) continue;
#pragma GCC unroll 2
        for (int j = 0; j < COUNT; ++j) {
          add_product(source[j], load(weight + (y * KERNEL + tap) * gemm::kPanel + j * lanes), &sum[i][j]);
        }
      }
    }
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    if (target.finish != nullptr) finish_tile<OUT, COUNT>(*target.finish, target.pixel, c, sum);
  }
  T* to = target.data + c;
#pragma GCC unroll 8
  for (int i = 0; i < OUT; ++i, to += target.stride) {
#pragma GCC unroll 2
    for (int j = 0; j < COUNT; ++j) store(to + j * lanes, sum[i][j]);
  }
}

/* All channels, as many at a time as give about eight sums: the additions in flight. Never inlined: the compiler would
 * look through `sources` and keep a pointer to each pixel, more than there are registers. */
template <typename T, int KERNEL, int STEP, int OUT, typename Sources>
__attribute__((noinline)) void depthwise_pixels(Sources sources, const T* weights, int64_t channels,
                                                const DepthwiseTarget<T>& target) {
  constexpr int64_t lanes = kLanes<T>;
  const auto weight = [&](int64_t c) {
    const int64_t place = c & (gemm::kPanel - 1);
    return weights + (c - place) * (KERNEL * KERNEL) + place;
  };
  int64_t c = 0;
  if constexpr (sizeof(T) == sizeof(float) && OUT <= 4 && 2 * lanes <= gemm::kPanel) {
    for (; c + 2 * lanes <= channels; c += 2 * lanes, sources.next(2 * lanes)) {
      depthwise_vectors<T, KERNEL, STEP, OUT, 2>(sources, weight(c), c, target);
    }
  }
  for (; c < channels; c += lanes, sources.next(lanes)) {
    depthwise_vectors<T, KERNEL, STEP, OUT, 1>(sources, weight(c), c, target);
  }
}

/* A row's pixels [begin, end), OUT at a time, then half as many. */
template <typename T, int KERNEL, int STEP, int OUT>
int64_t depthwise_row(const Convolution& conv, const T* image, const T* zeros, int64_t row, int64_t begin, int64_t end,
                      const T* weights, const DepthwiseTarget<T>& target) {
  constexpr int columns = (OUT - 1) * STEP + KERNEL;
  static_assert(columns <= Inside<T, KERNEL>::kMostColumns);
  const int64_t stride = conv.source_strides[2];
  const T* lines[KERNEL];  // nullptr: outside
  bool within = true;
#pragma GCC unroll 8
  for (int y = 0; y < KERNEL; ++y) {
    const int64_t source_row = conv.vertical.at(row, y);
    lines[y] = source_row < 0 ? nullptr : image + (source_row & conv.row_mask) * conv.source_strides[1];
    within = within && source_row >= 0;
  }
  int64_t at = begin;
  for (; at + OUT <= end; at += OUT) {
    const int64_t first = at * STEP + conv.horizontal.origin, done = at - begin;
    const DepthwiseTarget<T> here = {target.data + done * target.stride, target.stride, target.finish,
                                     target.pixel + done};
    if (within && first >= 0 && first + columns <= conv.horizontal.size) {
      Inside<T, KERNEL> sources;
      for (int y = 0; y < KERNEL; ++y) sources.rows[y] = reinterpret_cast<const char*>(lines[y] + first * stride);
      for (int64_t i = 0; i < Inside<T, KERNEL>::kMostColumns / 2; ++i) {
        sources.odd[i] = (2 * i + 1) * stride * static_cast<int64_t>(sizeof(T));
      }
      depthwise_pixels<T, KERNEL, STEP, OUT>(sources, weights, conv.groups, here);
      continue;
    }
    const T* pixels[KERNEL][columns];
    const int64_t left = maximum_of(0, -first), right = minimum_of(columns, conv.horizontal.size - first);
    for (int y = 0; y < KERNEL; ++y) {
#pragma GCC unroll 16
      for (int x = 0; x < columns; ++x) pixels[y][x] = zeros;
      if (lines[y] == nullptr) continue;
      for (int64_t x = left; x < right; ++x) pixels[y][x] = lines[y] + (first + x) * stride;
    }
    depthwise_pixels<T, KERNEL, STEP, OUT>(Anywhere<T, columns>{pixels, 0}, weights, conv.groups, here);
  }
  if constexpr (OUT > 1) {
    const int64_t done = at - begin;
    return depthwise_row<T, KERNEL, STEP, OUT / 2>(
        conv, image, zeros, row, at, end, weights,
        {target.data + done * target.stride, target.stride, target.finish, target.pixel + done});
  }
  return at;
}

/* The same for any window and any strides: sums grow in the target. */
template <typename T>
void depthwise_any(const Convolution& conv, const T* image, const T* zeros, T* copies, int64_t row, int64_t begin,
                   int64_t end, const T* weights, const DepthwiseTarget<T>& target) {
  constexpr int64_t lanes = kLanes<T>;
  const int64_t channels = depthwise_channels<T>(conv);
  const int64_t taps = conv.vertical.taps * conv.horizontal.taps;
  const bool in_place = conv.source_strides[3] == 1 && channels == conv.groups;
  for (int64_t at = begin; at < end; ++at) {
    T* const sums = target.data + (at - begin) * target.stride;
    memset(sums, 0, static_cast<size_t>(channels) * sizeof(T));
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t y = conv.vertical.at(row, tap / conv.horizontal.taps);
      const int64_t x = conv.horizontal.at(at, tap % conv.horizontal.taps);
      const T* from = zeros;
      if (y >= 0 && x >= 0) {
        from = image + (y & conv.row_mask) * conv.source_strides[1] + x * conv.source_strides[2];
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
    if constexpr (sizeof(T) == sizeof(float)) {
      for (int64_t c = 0; target.finish != nullptr && c < channels; c += lanes) {
        Vector<T> sum[1][1] = {{load(sums + c)}};
        finish_tile(*target.finish, target.pixel + at - begin, c, sum);
        store(sums + c, sum[0][0]);
      }
    }
  }
}

/* Is there a depthwise_row for the windows? */
template <typename T>
bool sums_in_registers(const Convolution& conv) {
  const WindowAxis& v = conv.vertical;
  const WindowAxis& h = conv.horizontal;
  return v.taps == h.taps && (v.taps == 3 || v.taps == 5) && h.tap_step == 1 && (h.step == 1 || h.step == 2) &&
         conv.source_strides[3] == 1 && depthwise_channels<T>(conv) == conv.groups;
}

}  // namespace

template <typename T>
void depthwise_sums(const Convolution& conv, const DepthwiseScratch& parts, const T* source, const T* weights,
                    int64_t line, int64_t begin, int64_t end, const DepthwiseTarget<T>& target, char* scratch) {
  const int64_t row = line % conv.height;
  const T* image = source + line / conv.height * conv.source_strides[0];
  const int64_t channels = depthwise_channels<T>(conv);
  T* zeros = reinterpret_cast<T*>(scratch);
  memset(zeros, 0, static_cast<size_t>(channels) * sizeof(T));
  const int64_t taps = conv.vertical.taps, step = conv.horizontal.step;
  if (!sums_in_registers<T>(conv)) {
    depthwise_any(conv, image, zeros, reinterpret_cast<T*>(scratch + parts.copies), row, begin, end, weights, target);
  } else if (taps == 3 && step == 1) {
    depthwise_row<T, 3, 1, 7>(conv, image, zeros, row, begin, end, weights, target);
  } else if (taps == 3) {
    depthwise_row<T, 3, 2, 4>(conv, image, zeros, row, begin, end, weights, target);
  } else if (step == 1) {
    depthwise_row<T, 5, 1, 7>(conv, image, zeros, row, begin, end, weights, target);
  } else {
    depthwise_row<T, 5, 2, 4>(conv, image, zeros, row, begin, end, weights, target);
  }
}

template <typename T>
void depthwise_block(const Convolution& conv, const DepthwiseScratch& parts, const T* source, const T* weights,
                     int64_t task, char* scratch, uint32_t* faults) {
  const int64_t cuts = depthwise_cuts(conv);
  const int64_t line = task / cuts;
  const int64_t begin = gemm::part_begin(conv.width, cuts, task % cuts);
  const int64_t end = gemm::part_begin(conv.width, cuts, task % cuts + 1);
  const int64_t pixel = line * conv.width + begin;
  const int64_t channels = depthwise_channels<T>(conv);
  const Destination& destination = conv.destination;
  if (destination.straight && sums_in_registers<T>(conv)) {
    const int64_t stride = destination.row_stride();
    T* const to = static_cast<T*>(destination.output.data) + pixel * stride;
    depthwise_sums<T>(conv, parts, source, weights, line, begin, end, {to, stride, destination.finish, pixel}, scratch);
    return;
  }
  T* const sums = reinterpret_cast<T*>(scratch + parts.sums);
  depthwise_sums<T>(conv, parts, source, weights, line, begin, end, {sums, channels, nullptr, pixel}, scratch);
  destination_write_flat(destination, sums, channels, pixel, end - begin, 0, conv.groups, scratch + parts.epilogue,
                         faults);
}

template void depthwise_sums(const Convolution&, const DepthwiseScratch&, const float*, const float*, int64_t, int64_t,
                             int64_t, const DepthwiseTarget<float>&, char*);
template void depthwise_sums(const Convolution&, const DepthwiseScratch&, const double*, const double*, int64_t,
                             int64_t, int64_t, const DepthwiseTarget<double>&, char*);
template void depthwise_block(const Convolution&, const DepthwiseScratch&, const float*, const float*, int64_t, char*,
                              uint32_t*);
template void depthwise_block(const Convolution&, const DepthwiseScratch&, const double*, const double*, int64_t, char*,
                              uint32_t*);

}  // namespace PF_ISA
}  // namespace pf
