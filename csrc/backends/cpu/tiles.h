// How a tile comes from a strided window and goes back to one.
#ifndef PYFLOW_BACKENDS_CPU_TILES_H
#define PYFLOW_BACKENDS_CPU_TILES_H

#include <string.h>

#include "backends/cpu/kernels.h"
#include "kernels/program.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {

// Neighbours in memory are in one column: such a window is read by columns, in square tiles.
static inline bool lies_across(int64_t row_stride, int64_t col_stride) {
  return (row_stride == 1 || row_stride == -1) && col_stride != 0 && col_stride != 1 && col_stride != -1;
}

template <typename T>
static void gather(char* to, const char* from, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
  T* out = reinterpret_cast<T*>(to);
  if (lies_across(row_stride, col_stride)) {
    for (int64_t col = 0; col < cols; ++col) {
      const T* in = reinterpret_cast<const T*>(from) + col * col_stride;
      for (int64_t row = 0; row < rows; ++row) out[row * cols + col] = in[row * row_stride];
    }
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    const T* in = reinterpret_cast<const T*>(from) + row * row_stride;
    if (col_stride == 1) {
      memcpy(out, in, static_cast<size_t>(cols) * sizeof(T));
    } else if (col_stride == 0) {
      const T value = *in;
      for (int64_t col = 0; col < cols; ++col) out[col] = value;
    } else {
      for (int64_t col = 0; col < cols; ++col) out[col] = in[col * col_stride];
    }
    out += cols;
  }
}

template <typename T>
static void scatter(char* to, const char* from, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
  const T* in = reinterpret_cast<const T*>(from);
  for (int64_t row = 0; row < rows; ++row) {
    T* out = reinterpret_cast<T*>(to) + row * row_stride;
    if (col_stride == 1) {
      memcpy(out, in, static_cast<size_t>(cols) * sizeof(T));
    } else {
      for (int64_t col = 0; col < cols; ++col) out[col * col_stride] = in[col];
    }
    in += cols;
  }
}

#define PF_BY_SIZE(function, size, ...) \
  switch (size) {                       \
    case 1:                             \
      function<uint8_t>(__VA_ARGS__);   \
      break;                            \
    case 2:                             \
      function<uint16_t>(__VA_ARGS__);  \
      break;                            \
    case 4:                             \
      function<uint32_t>(__VA_ARGS__);  \
      break;                            \
    case 16:                            \
      function<Bytes16>(__VA_ARGS__);   \
      break;                            \
    default:                            \
      function<uint64_t>(__VA_ARGS__);  \
      break;                            \
  }

// Is a tile of the window without gaps?
static inline bool is_dense(const Window& window, int64_t rows, int64_t cols) {
  return (cols == 1 || window.col_stride == 1) && (rows == 1 || window.row_stride == cols);
}

// The first element of a tile.
static inline char* tile_begin(const Window& window, int64_t row, int64_t col, int64_t size) {
  return static_cast<char*>(window.data) + (row * window.row_stride + col * window.col_stride) * size;
}

// What a gathered input's memory holds: rows of `cols`, all from `from`.
struct Gathered {
  const char* from;
  int64_t rows, cols;
};

struct GatherBySize {
  static void gather_tile(int64_t size, char* to, const char* from, int64_t rows, int64_t cols, int64_t row_stride,
                          int64_t col_stride) {
    PF_BY_SIZE(gather, size, to, from, rows, cols, row_stride, col_stride)
  }
};

// A tile of an input: where it is if it is dense, else gathered to `memory`, unless that holds it.
template <typename By = GatherBySize>
static inline const char* load_tile(const Window& window, int32_t size, char* memory, Gathered& held, int64_t row,
                                    int64_t col, int64_t rows, int64_t cols) {
  const char* from = tile_begin(window, row, col, size);
  if (is_dense(window, rows, cols)) return from;
  if (window.row_stride == 0 && held.from == from && held.cols == cols && held.rows >= rows) return memory;
  By::gather_tile(size, memory, from, rows, cols, window.row_stride, window.col_stride);
  held = {from, rows, cols};
  return memory;
}

// How a block is cut into tiles of at most `tile` elements.
struct TileShape {
  int64_t rows, cols;
};
static inline TileShape tile_shape(const Window* inputs, int32_t ninputs, int64_t cols, int64_t tile) {
  bool square = false;
  for (int32_t k = 0; k < ninputs; ++k) square |= lies_across(inputs[k].row_stride, inputs[k].col_stride);
  const int64_t wide = minimum_of(cols, square ? 32 : tile);
  return {!square && wide < cols ? 1 : tile / wide, wide};
}

// The windows of an epilogue: the sums, the extras at the block's place, and the output.
static inline void epilogue_windows(const EpilogueBlock& block, const int32_t* input_sizes, int32_t ninputs,
                                    int32_t output_size, Window* inputs, Window* output) {
  inputs[0] = {const_cast<void*>(block.sums), block.sums_stride, 1};
  const auto window_at = [&block](const pf_view& view, int64_t size) {
    int64_t offset = 0;
    for (int32_t axis = 0; axis < view.ndim; ++axis)
      if (view.dims[axis] != 1) offset += block.index[axis] * view.strides[axis];
    const auto stride = [&view](int32_t axis) { return view.dims[axis] == 1 ? int64_t{0} : view.strides[axis]; };
    return Window{static_cast<char*>(view.data) + offset * size, stride(block.row_axis), stride(block.col_axis)};
  };
  for (int32_t k = 1; k < ninputs; ++k) inputs[k] = window_at(block.extras[k - 1], input_sizes[k]);
  *output = window_at(*block.output, output_size);
}

// The error that the faults of a run stand for.
static inline pf_code fail_faults(uint32_t faults, pf_error* error) {
  if ((faults & kFaultDivision) != 0)
    return fail(error, PF_INVALID_ARGUMENT, "integer division by zero; replace zero divisors with where() first");
  return fail(error, PF_INVALID_ARGUMENT,
              "an integer cannot be raised to a negative power; cast the base to a float first");
}

}  // namespace PF_ISA
}  // namespace pf

#endif
