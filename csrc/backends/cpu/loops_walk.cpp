// The walk of loops_walk.h, once for all ISAs: what is fast is in the loops.
#include "backends/cpu/loops_walk.h"

#include "backends/cpu/kernels.h"
#include "backends/cpu/tiles.h"

namespace pf {
namespace plain {
namespace {

constexpr int64_t kTileBytes = 4096;

// Bytes of the largest element (elements have 1, 4 or 8: pyflow/aot/loops.py), elements of a tile.
constexpr int64_t kMostBytes = 8;
constexpr int64_t kTile = kTileBytes / kMostBytes;

constexpr int64_t kLongRow = 32;  // elements from which on short code for a copy of bytes pays

template <typename T>
void copy_elements(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    reinterpret_cast<T*>(to)[i * to_stride] = reinterpret_cast<const T*>(from)[i * from_stride];
}

// From a window to another, in short code.
struct Copy {
  char* to;
  int64_t to_row, to_col;
  const char* from;
  int64_t from_row, from_col;

  void run(int64_t size, int64_t rows, int64_t cols) {
    if (cols == 1 || lies_across(from_row, from_col)) {
      swap(to_row, to_col);
      swap(from_row, from_col);
      swap(rows, cols);
    }
    for (int64_t row = 0; row < rows; ++row) {
      if (to_col == 1 && from_col == 1 && cols >= kLongRow) {
        memcpy(to, from, static_cast<size_t>(cols * size));
      } else if (size == 8) {
        copy_elements<uint64_t>(to, to_col, from, from_col, cols);
      } else if (size == 4) {
        copy_elements<uint32_t>(to, to_col, from, from_col, cols);
      } else {
        copy_elements<uint8_t>(to, to_col, from, from_col, cols);
      }
      to += to_row * size;
      from += from_row * size;
    }
  }

  static void swap(int64_t& a, int64_t& b) {
    const int64_t was = a;
    a = b;
    b = was;
  }
  static void gather_tile(int64_t size, char* to, const char* from, int64_t rows, int64_t cols, int64_t row_stride,
                          int64_t col_stride) {
    Copy{to, cols, 1, from, row_stride, col_stride}.run(size, rows, cols);
  }
};

}  // namespace

int32_t loops_supported(const pf_program* program, char* why, size_t why_size) {
  if (program->ninputs > kMaxProgramOperands || program->noutputs > kMaxProgramOperands)
    return refuse(why, why_size, "a program has at most %d inputs and outputs", kMaxProgramOperands);
  return 1;
}

pf_code loops_prepare(const pf_program* program, int isa, ProgramLoop* loops, pf_error* error) {
  if (!loops_supported(program, error->message, sizeof(error->message))) return PF_UNIMPLEMENTED;
  const pf_loops* made = reinterpret_cast<const pf_loops*>(program->instrs);
  loops->loop = made->loops[isa];
  loops->cost = made->cost;
  loops->ninputs = program->ninputs;
  loops->noutputs = program->noutputs;
  for (int32_t k = 0; k < program->ninputs; ++k)
    loops->input_sizes[k] = static_cast<int32_t>(element_size(program->register_dtypes[k]));
  for (int32_t k = 0; k < program->noutputs; ++k)
    loops->output_sizes[k] = static_cast<int32_t>(element_size(program->register_dtypes[program->outputs[k]]));
  return PF_OK;
}

size_t loops_scratch(const ProgramLoop& program) {
  return static_cast<size_t>((program.ninputs + program.noutputs) * kTileBytes);
}

pf_code loops_fault(uint32_t faults, pf_error* error) {
  return fail_faults(faults, error);
}

void loops_block(const void* state, int64_t rows, int64_t cols, const Window* inputs, const Window* outputs,
                 void* scratch, uint32_t* faults) {
  if (rows <= 0 || cols <= 0) return;
  const ProgramLoop* loops = static_cast<const ProgramLoop*>(state);
  char* memory = static_cast<char*>(scratch);
  Gathered held[kMaxProgramOperands];
  for (int32_t k = 0; k < loops->ninputs; ++k) held[k] = {nullptr, 0, 0};
  const TileShape shape = tile_shape(inputs, loops->ninputs, cols, kTile);
  for (int64_t row = 0; row < rows; row += shape.rows) {
    for (int64_t col = 0; col < cols; col += shape.cols) {
      const int64_t tile_rows = minimum_of(shape.rows, rows - row), tile_cols = minimum_of(shape.cols, cols - col);
      const void* from[kMaxProgramOperands];
      void* to[kMaxProgramOperands];
      for (int32_t k = 0; k < loops->ninputs; ++k) {
        from[k] = load_tile<Copy>(inputs[k], loops->input_sizes[k], memory + k * kTileBytes, held[k], row, col,
                                  tile_rows, tile_cols);
      }
      for (int32_t k = 0; k < loops->noutputs; ++k) {
        const bool dense = is_dense(outputs[k], tile_rows, tile_cols);
        to[k] = dense ? tile_begin(outputs[k], row, col, loops->output_sizes[k])
                      : memory + (loops->ninputs + k) * kTileBytes;
      }
      loops->loop(to, from, tile_rows * tile_cols, faults);
      for (int32_t k = 0; k < loops->noutputs; ++k) {
        const Window& window = outputs[k];
        if (is_dense(window, tile_rows, tile_cols)) continue;
        const int64_t size = loops->output_sizes[k];
        Copy{tile_begin(window, row, col, size), window.row_stride, window.col_stride,
             static_cast<char*>(to[k]),          tile_cols,         1}
            .run(size, tile_rows, tile_cols);
      }
    }
  }
}

void loops_epilogue(const void* state, const EpilogueBlock& block, void* scratch, uint32_t* faults) {
  const ProgramLoop* loops = static_cast<const ProgramLoop*>(state);
  Window inputs[kMaxProgramOperands], output;
  epilogue_windows(block, loops->input_sizes, loops->ninputs, loops->output_sizes[0], inputs, &output);
  loops_block(state, block.rows, block.cols, inputs, &output, scratch, faults);
}

}  // namespace plain
}  // namespace pf
