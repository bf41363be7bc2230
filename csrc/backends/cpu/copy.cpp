// copy: any strides, any element of 1 to 16 bytes; elements of 4 and 8 bytes move as float and double.
#include "backends/cpu/copy_plan.h"
#include "backends/cpu/operands.h"
#include "kernels/transpose.h"

namespace pf {
namespace PF_ISA {

// Elements that lanes hold.
template <class T>
constexpr bool kHasLanes = false;
template <>
constexpr bool kHasLanes<float> = true;
template <>
constexpr bool kHasLanes<double> = true;

// A block whose x has adjacent rows and whose y has adjacent columns. It goes through squares of whole cache lines, as
// lines that lie a power of two apart would push each other out of a cache before they are used up.
template <class T>
static void transpose(const T* x, int64_t x_stride, T* y, int64_t y_stride, int64_t rows, int64_t columns) {
  constexpr int64_t kSide = 64 / static_cast<int64_t>(sizeof(T));
  alignas(64) T square[kSide * kSide];
  for (int64_t row = 0; row < rows; row += kSide) {
    const int64_t height = minimum_of(kSide, rows - row);
    for (int64_t column = 0; column < columns; column += kSide) {
      const int64_t width = minimum_of(kSide, columns - column);
      const T* from = x + row + column * x_stride;
      if constexpr (kHasLanes<T>) {
        transpose_block(width, height, from, x_stride, square, kSide);
      } else {
        for (int64_t c = 0; c < width; ++c) {
          for (int64_t r = 0; r < height; ++r) square[r * kSide + c] = from[r + c * x_stride];
        }
      }
      for (int64_t r = 0; r < height; ++r) {
        T* to = y + (row + r) * y_stride + column;
        if (width == kSide) {
          __builtin_memcpy(to, square + r * kSide, kSide * sizeof(T));
        } else {
          for (int64_t c = 0; c < width; ++c) to[c] = square[r * kSide + c];
        }
      }
    }
  }
}

template <class T>
static void copy_block(const CopyWalk& walk, const T* x, T* y, int64_t rows, int64_t columns) {
  const int64_t x_step = walk.column_strides[0];
  const int64_t y_step = walk.column_strides[1];
  if (y_step == 1 && x_step != 1 && walk.row_strides[0] == 1 && rows > 1) {
    transpose(x, x_step, y, walk.row_strides[1], rows, columns);
    return;
  }
  for (int64_t row = 0; row < rows; ++row, x += walk.row_strides[0], y += walk.row_strides[1]) {
    if (y_step == 1 && x_step == 1) {
      __builtin_memcpy(y, x, static_cast<size_t>(columns) * sizeof(T));
    } else if (y_step == 1 && x_step == 0) {
      const T value = *x;
      for (int64_t column = 0; column < columns; ++column) y[column] = value;
    } else {
      for (int64_t column = 0; column < columns; ++column) y[column * y_step] = x[column * x_step];
    }
  }
}

template <class T>
static pf_code run_sized(const pf_call* call, const pf_task* task) {
  CopyWalk walk;
  plan_walk(call->inputs[0], call->outputs[0], &walk);
  const T* const x = static_cast<const T*>(call->inputs[0].data);
  T* const y = static_cast<T*>(call->outputs[0].data);
  const int64_t end = minimum_of(walk.count, task->end * walk.blocks_per_task);
  for (int64_t block = task->begin * walk.blocks_per_task; block < end; ++block) {
    const int64_t column = block % walk.column_blocks * walk.block_columns;
    const int64_t row = block / walk.column_blocks % walk.row_blocks * walk.block_rows;
    const Position<2> position(walk.blocks, block / walk.column_blocks / walk.row_blocks);
    copy_block(walk, x + position.offset[0] + row * walk.row_strides[0] + column * walk.column_strides[0],
               y + position.offset[1] + row * walk.row_strides[1] + column * walk.column_strides[1],
               minimum_of(walk.block_rows, walk.rows - row), minimum_of(walk.block_columns, walk.columns - column));
  }
  return PF_OK;
}

static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  switch (element_size(call->inputs[0].dtype)) {
    case 1:
      return run_sized<uint8_t>(call, task);
    case 2:
      return run_sized<uint16_t>(call, task);
    case 4:
      return run_sized<float>(call, task);
    case 8:
      return run_sized<double>(call, task);
    case 16:
      return run_sized<Bytes16>(call, task);
  }
  return fail(error, PF_UNIMPLEMENTED, "copy does not take %s", dtype_name(call->inputs[0].dtype));
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& x = call->inputs[0];
  if (!same_dims(x, call->outputs[0], error)) return PF_INVALID_ARGUMENT;
  CopyWalk walk;
  plan_walk(x, call->outputs[0], &walk);
  const bool runs = walk.column_strides[0] == 1 && walk.column_strides[1] == 1;
  const double elements = static_cast<double>(count_elements(x));
  return one_phase_of(partition, walk.count, walk.blocks_per_task,
                      20.0 + elements * (runs ? 0.06 * static_cast<double>(element_size(x.dtype)) : 0.6));
}

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 1, 0, 0, why, why_size) && dtype_in(step, step->inputs[0], kAllDtypes, why, why_size) &&
         same_dtype(step, step->inputs[0], step->outputs[0], why, why_size) &&
         same_rank(step, step->inputs[0], step->outputs[0], why, why_size);
}

static const pf_kernel kCopyKernels[] = {
    {"copy", supports, nullptr, nullptr, partition, run},
};

static pf_code run_float32(const pf_call* call, const pf_task* task, pf_error*) {
  return run_sized<float>(call, task);
}

PF_FLOAT32(copy, nullptr, nullptr, partition, run_float32)

const pf_kernel* copy_kernels(int32_t* count) {
  *count = sizeof(kCopyKernels) / sizeof(kCopyKernels[0]);
  return kCopyKernels;
}

}  // namespace PF_ISA
}  // namespace pf
