/* Convolution as a product of gathered windows and packed weights, for the forward kernels and the input gradient.
 * A window's taps are ordered (kernel row, kernel column, channel); a tap that falls outside the source is an ordinary
 * factor of 0. */
#ifndef PYFLOW_BACKENDS_CPU_CONVOLVE_H
#define PYFLOW_BACKENDS_CPU_CONVOLVE_H

#include <stdint.h>

#include "backends/cpu/destination.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/windows.h"
#include "kernels/lanes.h"

namespace pf {
namespace PF_ISA {

/* Attributes of the conv kernels, in the order of their ints; and the edge of the windows of sums of which the largest
 * is kept, 1 or 2. */
struct ConvAttrs {
  int64_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups;
  int64_t pool = 1;
};

static inline ConvAttrs conv_attrs(const int64_t* ints) {
  return {ints[0], ints[1], ints[2], ints[3], ints[4], ints[5], ints[6]};
}

constexpr int64_t kTaskPixels = 72;  // of the target, about; fewer where there would not be kEnoughTasks
constexpr int64_t kLeastPixels = 24;
constexpr int64_t kEnoughTasks = 16;
constexpr int64_t kTaskPanels = 16;  // of weights

struct Convolution {
  WindowAxis vertical, horizontal;
  int64_t pool;              // edge of the windows of sums of which the target has the largest, 1 or 2
  int64_t height, width;     // of the sums
  int64_t pixels;            // of the sums, all images, a window after the other
  int64_t groups, channels;  // channels of the source per group
  int64_t columns;           // channels of the target per group
  int64_t depth, panels;     // of one group's weights
  int64_t source_strides[4];
  int64_t row_mask;  // row r of the source lies where row r & row_mask would: -1, or a ring of a power of two
  size_t element;
  bool plain;   // the source's pixels are the rows of the left operand, plain_stride apart
  bool merged;  // a kernel row is one run of memory
  bool direct;  // every tap of every window lies inside: windows are read where they are
  int64_t plain_stride;
  int64_t pixel_blocks, panel_groups;
  Destination destination;

  int64_t window() const { return pool * pool; }
  bool straight() const { return pool == 1 && destination.straight; }
  int64_t block_begin(int64_t block) const {
    return pool == 1 ? gemm::row_begin(pixels, pixel_blocks, block)
                     : gemm::part_begin(pixels / window(), pixel_blocks, block) * window();
  }
  int64_t block_pixels() const {
    return pool == 1 ? gemm::most_rows(pixels, gemm::kRows, pixel_blocks)
                     : ceildiv(pixels / window(), pixel_blocks) * window();
  }
  int64_t group_panels() const { return gemm::most_panels(panels, panel_groups); }
  int64_t tasks() const { return pixels == 0 || columns == 0 ? 0 : groups * pixel_blocks * panel_groups; }
};

/* `source` and the output of `call` are [N,H,W,C]; attributes are those of the forward convolution. Behind `own` inputs
 * come those of the epilogue. */
void convolution_init(Convolution* conv, const pf_call* call, const ConvAttrs& attrs, const pf_view& source,
                      int64_t kernel_h, int64_t kernel_w, int64_t groups, int64_t channels, bool backward,
                      int32_t own = 2);

/* Thread scratch: gathered windows, sums, offsets of pixels and of taps, the epilogue's own. */
struct ConvolutionScratch {
  size_t sums, offsets, epilogue;
};

static inline ConvolutionScratch convolution_scratch(const Convolution& conv) {
  const auto lines = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
  const int64_t rows = conv.block_pixels();
  const int64_t taps = conv.vertical.taps * conv.horizontal.taps;
  const size_t left =
      conv.plain || conv.direct ? 0 : static_cast<size_t>(rows * minimum_of(conv.depth, gemm::kDepth)) * conv.element;
  const int64_t sums = conv.straight() ? gemm::kPanel : conv.group_panels() * gemm::kPanel;
  ConvolutionScratch scratch;
  scratch.sums = lines(left);
  scratch.offsets = scratch.sums + lines(static_cast<size_t>(rows * sums) * conv.element);
  scratch.epilogue = scratch.offsets + lines(static_cast<size_t>(rows + taps) * sizeof(int64_t));
  return scratch;
}

/* A pixel of the sums, walked in order. */
struct Pixel {
  int64_t image, row, column;

  Pixel(const Convolution& conv, int64_t index)
      : image(index / (conv.height * conv.width)), row(index / conv.width % conv.height), column(index % conv.width) {
    if (conv.pool == 1) return;
    const int64_t place = index % conv.window(), across = conv.width / conv.pool;
    index /= conv.window();
    row = index / across % (conv.height / conv.pool) * conv.pool + place / conv.pool;
    column = index % across * conv.pool + place % conv.pool;
  }
  void next(const Convolution& conv) {
    if (conv.pool == 2) {
      if ((column ^= 1) & 1) return;
      if ((row ^= 1) & 1) return;
    }
    next_window(conv);
  }
  /* From the first of a window. */
  void next_window(const Convolution& conv) {
    if ((column += conv.pool) < conv.width) return;
    column = 0;
    if ((row += conv.pool) < conv.height) return;
    row = 0;
    ++image;
  }
};

template <typename T>
static inline void copy_run(T* to, const T* from, int64_t count) {
  constexpr int64_t lanes = kLanes<T>;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
  for (; i < count; ++i) to[i] = from[i];
}

/* Taps [k0, k0 + depth) of `count` windows from `pixel` on, one row of `to` each; channels are adjacent. */
template <typename T>
static void gather_rows(const Convolution& conv, const T* source, int64_t pixel, int64_t count, int64_t k0,
                        int64_t depth, T* to) {
  const int64_t* strides = conv.source_strides;
  const int64_t taps = conv.merged ? conv.horizontal.taps : 1;  // taps in a run
  const int64_t length = taps * conv.channels;
  const int64_t first_run = k0 / length;
  const int64_t first_element = k0 % length;
  Pixel at(conv, pixel);
  for (int64_t r = 0; r < count; ++r, at.next(conv)) {
    T* out = to + r * depth;
    const T* image = source + at.image * strides[0];
    int64_t run = first_run;
    int64_t begin = first_element;
    for (int64_t left = depth; left > 0; ++run, begin = 0) {
      const int64_t end = minimum_of(length, begin + left);
      const int64_t y = conv.vertical.at(at.row, conv.merged ? run : run / conv.horizontal.taps);
      int64_t x, low = 0, high = length;  // elements [low, high) of the run lie inside
      if (conv.merged) {
        x = at.column * conv.horizontal.step + conv.horizontal.origin;
        low = x < 0 ? -x * conv.channels : 0;
        high = minimum_of(taps, conv.horizontal.size - x) * conv.channels;
      } else {
        x = conv.horizontal.at(at.column, run % conv.horizontal.taps);
        if (x < 0) high = 0;
      }
      if (y < 0) high = 0;
      low = minimum_of(maximum_of(low, begin), end);
      high = minimum_of(maximum_of(high, low), end);
      for (int64_t e = begin; e < low; ++e) out[e - begin] = T(0);
      if (low < high) copy_run(out + low - begin, image + (y * strides[1] + x * strides[2] + low), high - low);
      for (int64_t e = high; e < end; ++e) out[e - begin] = T(0);
      out += end - begin;
      left -= end - begin;
    }
  }
}

/* The same for any channel stride. */
template <typename T>
static void gather_channels(const Convolution& conv, const T* source, int64_t pixel, int64_t count, int64_t k0,
                            int64_t depth, T* to) {
  const int64_t* strides = conv.source_strides;
  const auto place = [&](const Pixel& at, int64_t tap) {
    const int64_t y = conv.vertical.at(at.row, tap / conv.horizontal.taps);
    const int64_t x = conv.horizontal.at(at.column, tap % conv.horizontal.taps);
    return y < 0 || x < 0 ? nullptr : source + at.image * strides[0] + y * strides[1] + x * strides[2];
  };
  for (int64_t k = k0; k < k0 + depth;) {
    const int64_t tap = k / conv.channels;
    const int64_t channel = k % conv.channels;
    const int64_t channels = minimum_of(conv.channels - channel, k0 + depth - k);
    Pixel at(conv, pixel);
    for (int64_t r = 0, run; r < count; r += run) {  // pixels that lie a stride apart, or all outside
      const T* from = place(at, tap);
      const T* last = from;
      int64_t stride = 0;
      for (run = 1, at.next(conv); r + run < count; ++run, at.next(conv)) {
        const T* next = place(at, tap);
        if ((next == nullptr) != (from == nullptr)) break;
        if (from != nullptr && run > 1 && next - last != stride) break;
        if (from != nullptr) stride = next - last;
        last = next;
      }
      T* out = to + r * depth + k - k0;
      if (from != nullptr) {
        gemm::pack_left(run, channels, from + channel * strides[3], stride, strides[3], out, depth);
        continue;
      }
      for (int64_t i = 0; i < run; ++i) {
        for (int64_t c = 0; c < channels; ++c) out[i * depth + c] = T(0);
      }
    }
    k += channels;
  }
}

/* What a task multiplies into: a block of pixels by a group of panels. */
template <typename T>
struct ConvolutionBlock {
  int64_t pixel, rows;                  // of the target
  int64_t panels, column;               // of the target's channels
  int64_t straight, buffered, columns;  // of them: stored in place, summed beside, both
  int64_t sums_stride, panel_stride;
  const T* source;   // of the group
  const T* weights;  // of its first panel
  T* out;
  T* sums;

  /* Pixels [first, first + count) by panels [panel, panel + wide) of a group. */
  ConvolutionBlock(const Convolution& conv, const T* from, const T* packed, int64_t group, int64_t first, int64_t count,
                   int64_t panel, int64_t wide, char* beside)
      : pixel(first), rows(count), panels(wide) {
    column = group * conv.columns + panel * gemm::kPanel;
    columns = minimum_of(panels * gemm::kPanel, conv.columns - panel * gemm::kPanel);
    panel_stride = conv.depth * gemm::kPanel;
    const Destination& destination = conv.destination;
    straight = conv.straight() ? columns / kLanes<T> * kLanes<T> : 0;
    buffered = columns - straight;
    sums_stride = conv.straight() ? gemm::kPanel : panels * gemm::kPanel;
    source = from + group * conv.channels * conv.source_strides[3];
    weights = packed + (group * conv.panels + panel) * panel_stride;
    sums = reinterpret_cast<T*>(beside);
    out = static_cast<T*>(destination.output.data);
    if (straight > 0) out += pixel * destination.row_stride() + column;
  }
};

/* The block of a task. */
template <typename T>
static inline ConvolutionBlock<T> block_of_task(const Convolution& conv, const ConvolutionScratch& parts,
                                                const T* source, const T* weights, int64_t task, char* scratch) {
  const int64_t block = task % conv.pixel_blocks;
  const int64_t rest = task / conv.pixel_blocks;
  const int64_t panel_group = rest % conv.panel_groups;
  const int64_t pixel = conv.block_begin(block);
  const int64_t panel = gemm::panel_begin(conv.panels, conv.panel_groups, panel_group);
  const int64_t panels = gemm::panel_begin(conv.panels, conv.panel_groups, panel_group + 1) - panel;
  return {conv,
          source,
          weights,
          rest / conv.panel_groups,
          pixel,
          conv.block_begin(block + 1) - pixel,
          panel,
          panels,
          scratch + parts.sums};
}

/* Taps [k0, k0 + depth) of the block, whose left operand is `left`. */
template <typename T>
static inline void multiply_taps(const Convolution& conv, const ConvolutionBlock<T>& block, const gemm::Left<T>& left,
                                 int64_t k0, int64_t depth) {
  constexpr int64_t lanes = kLanes<T>;
  const Destination& destination = conv.destination;
  const bool last = k0 + depth == conv.depth;
  const int64_t ahead =
      last ? block.panel_stride - k0 * gemm::kPanel : depth * gemm::kPanel - (block.panels - 1) * block.panel_stride;
  gemm::Right<T> right = {block.weights + k0 * gemm::kPanel, gemm::kPanel, block.panel_stride, ahead};
  if (block.straight > 0) {
    gemm::multiply_columns(block.rows, block.straight, depth, left, right, block.out, destination.row_stride(),
                           {k0 > 0, last ? destination.finish : nullptr, block.pixel, block.column});
  }
  if (block.buffered > 0) {
    right.data += block.straight / gemm::kPanel * block.panel_stride + block.straight % gemm::kPanel;
    gemm::multiply_columns(block.rows, ceildiv(block.buffered, lanes) * lanes, depth, left, right, block.sums,
                           block.sums_stride, {k0 > 0, nullptr, 0, 0});
  }
}

/* Calls multiply(left, k0, depth) for the taps of windows in turn: `count` runs of `length` elements, run i where
 * place(i) says from each of `rows` on, several at a time if they are short. `runs` has room for all their places. */
template <typename T, typename Place, typename Multiply>
static inline void over_runs(int64_t count, int64_t length, const T* const* rows, int64_t* runs, const Place& place,
                             const Multiply& multiply) {
  const int64_t pieces = maximum_of(1, ceildiv(length, gemm::kDepth));           // of a run
  const int64_t together = maximum_of(1, gemm::kDepth / maximum_of(1, length));  // runs
  gemm::Left<T> left = {nullptr, 0, rows, runs, 0, 0};
  for (int64_t run = 0; run < count; run += left.run_count) {
    left.run_count = minimum_of(together, count - run);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t begin = gemm::part_begin(length, pieces, piece);
      left.run_length = gemm::part_begin(length, pieces, piece + 1) - begin;
      for (int64_t i = 0; i < left.run_count; ++i) runs[i] = place(run + i) + begin;
      multiply(left, run * length + begin, left.run_count * left.run_length);
    }
  }
}

/* Multiplies windows where they are: their taps are runs of memory, several at a time if they are short. */
template <typename T>
static void multiply_direct(const Convolution& conv, const ConvolutionBlock<T>& block, int64_t* offsets) {
  const int64_t* strides = conv.source_strides;
  const T** rows = reinterpret_cast<const T**>(offsets);
  int64_t* runs = offsets + block.rows;
  const int64_t across = conv.merged ? 1 : conv.horizontal.taps;
  const int64_t count = conv.vertical.taps * across;
  const int64_t length = conv.depth / count;
  const int64_t step = conv.horizontal.step * strides[2], down = conv.vertical.step * strides[1];
  Pixel at(conv, block.pixel);
  for (int64_t r = 0, count; r < block.rows; r += count * conv.window(), at.next_window(conv)) {
    const T* from = block.source + at.image * strides[0] + conv.vertical.at(at.row, 0) * strides[1] +
                    conv.horizontal.at(at.column, 0) * strides[2];
    count = minimum_of((conv.width - at.column) / conv.pool, (block.rows - r) / conv.window());
    for (int64_t i = 0; i < count; ++i) {
      if (conv.pool == 1) {
        rows[r + i] = from + i * step;
        continue;
      }
      for (int64_t j = 0; j < 4; ++j) rows[r + 4 * i + j] = from + (2 * i + j % 2) * step + j / 2 * down;
    }
    at.column += (count - 1) * conv.pool;
  }
  const auto place = [&](int64_t run) {
    return run / across * conv.vertical.tap_step * strides[1] + run % across * conv.horizontal.tap_step * strides[2];
  };
  over_runs(count, length, rows, runs, place,
            [&](const gemm::Left<T>& left, int64_t k0, int64_t depth) { multiply_taps(conv, block, left, k0, depth); });
}

/* Multiplies windows in stretches of taps [k0, k0 + depth), of which left(k0, depth) is the operand. */
template <typename T, typename Operand>
static inline void over_depth(const Convolution& conv, const ConvolutionBlock<T>& block, const Operand& left) {
  const int64_t parts = maximum_of(1, ceildiv(conv.depth, gemm::kDepth));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t k0 = gemm::part_begin(conv.depth, parts, part);
    const int64_t depth = gemm::part_begin(conv.depth, parts, part + 1) - k0;
    multiply_taps(conv, block, left(k0, depth), k0, depth);
  }
}

/* Multiplies windows that are rows of the source, or are GATHERED first. */
template <bool GATHERED, typename T>
static void multiply_gathered(const Convolution& conv, const ConvolutionBlock<T>& block, T* gathered) {
  over_depth(conv, block, [&](int64_t k0, int64_t depth) {
    if (conv.plain) {
      return gemm::Left<T>{block.source + block.pixel * conv.plain_stride + k0, conv.plain_stride};
    }
    if constexpr (GATHERED) {
      if (depth > 0 && conv.source_strides[3] == 1) {
        gather_rows(conv, block.source, block.pixel, block.rows, k0, depth, gathered);
      } else if (depth > 0) {
        gather_channels(conv, block.source, block.pixel, block.rows, k0, depth, gathered);
      }
    }
    return gemm::Left<T>{gathered, depth};
  });
}

/* What was summed beside to the destination. */
template <typename T>
static inline void write_buffered(const Convolution& conv, const ConvolutionBlock<T>& block, char* scratch,
                                  uint32_t* faults) {
  if (block.buffered == 0) return;
  destination_write_flat(conv.destination, block.sums, block.sums_stride, block.pixel, block.rows,
                         block.column + block.straight, block.buffered, scratch, faults);
}

/* Of ROWS windows of sums in a vector of columns the largest, NaN if there is one, finished as rows from `row` on. */
template <int ROWS, typename T>
static inline void largest_of(const T* from, int64_t stride, const Finish* finish, int64_t row, int64_t column, T* to,
                              int64_t to_stride) {
  Vector<T> kept[ROWS][1];
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i, from += 4 * stride) {
    kept[i][0] = load(from);
#pragma GCC unroll 4
    for (int j = 1; j < 4; ++j) kept[i][0] = Max::apply(kept[i][0], load(from + j * stride));
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    if (finish != nullptr) finish_tile(*finish, row, column, kept);
  }
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i, to += to_stride) store(to, kept[i][0]);
}

/* The largest of all windows of a block to the destination. */
template <typename T>
static void write_largest(const Convolution& conv, const ConvolutionBlock<T>& block, char* scratch, uint32_t* faults) {
  constexpr int64_t lanes = kLanes<T>;
  const Destination& destination = conv.destination;
  const int64_t stride = block.sums_stride, windows = block.rows / 4, first = block.pixel / 4;
  const bool straight = destination.straight && block.columns % lanes == 0;
  const Finish* finish = straight ? destination.finish : nullptr;
  const int64_t to_stride = straight ? destination.row_stride() : stride;
  T* const to = straight ? block.out + first * to_stride + block.column : block.sums;
  for (int64_t w = 0, count; w < windows; w += count) {
    count = windows - w >= 4 ? 4 : 1;
    const auto make = count == 4 ? largest_of<4, T> : largest_of<1, T>;
    for (int64_t c = 0; c < block.columns; c += lanes) {
      make(block.sums + 4 * w * stride + c, stride, finish, first + w, block.column + c, to + w * to_stride + c,
           to_stride);
    }
  }
  if (straight) return;
  destination_write_flat(destination, block.sums, stride, first, windows, block.column, block.columns, scratch, faults);
}

/* One task. `source` is the data of the source view, of which GATHERED windows may lie partly outside. */
template <bool GATHERED, typename T>
static void convolve_block(const Convolution& conv, const ConvolutionScratch& parts, const T* source, const T* weights,
                           int64_t task, char* scratch, uint32_t* faults) {
  const ConvolutionBlock<T> block = block_of_task<T>(conv, parts, source, weights, task, scratch);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch + parts.offsets);
  if (conv.direct && !conv.plain && conv.depth > 0) {
    multiply_direct(conv, block, offsets);
  } else {
    multiply_gathered<GATHERED>(conv, block, reinterpret_cast<T*>(scratch));
  }
  if constexpr (!GATHERED) {
    if (conv.pool > 1) return write_largest(conv, block, scratch + parts.epilogue, faults);
  }
  write_buffered(conv, block, scratch + parts.epilogue, faults);
}

/* Packs panel `index` of [groups][panels] from w[KH,KW,C/groups,O]. Its columns are the output channels, or with
 * `transposed` the input channels and its depth (kernel row, kernel column, output channel). */
template <typename T>
static void pack_weights(const pf_view& w, int64_t groups, bool transposed, int64_t index, T* to) {
  const int64_t outputs = w.dims[3] / groups;
  const int64_t columns = transposed ? w.dims[2] : outputs;
  const int64_t depth = transposed ? outputs : w.dims[2];
  const int64_t column_stride = w.strides[transposed ? 2 : 3];
  const int64_t depth_stride = w.strides[transposed ? 3 : 2];
  const int64_t panels = ceildiv(columns, gemm::kPanel);
  const int64_t column = index % panels * gemm::kPanel;
  const T* from = static_cast<const T*>(w.data) + index / panels * outputs * w.strides[3] + column * column_stride;
  to += index * w.dims[0] * w.dims[1] * depth * gemm::kPanel;
  for (int64_t y = 0; y < w.dims[0]; ++y) {
    for (int64_t x = 0; x < w.dims[1]; ++x, to += depth * gemm::kPanel) {
      gemm::pack_panel(depth, minimum_of(gemm::kPanel, columns - column), from + y * w.strides[0] + x * w.strides[1],
                       depth_stride, column_stride, to);
    }
  }
}

static inline double convolution_cost(const Convolution& conv) {
  const double products = static_cast<double>(conv.pixels) * static_cast<double>(conv.columns * conv.groups) *
                          static_cast<double>(conv.depth);
  return 50.0 + products / (conv.element == 4 ? 35.0 : 17.0);
}

}  // namespace PF_ISA
}  // namespace pf

#endif
