// Programs as generated loops: what kernels/program.h promises, for programs of a generated library. Their first
// instruction is the head of a pf_loops, which has a compiled loop for the whole program. It takes the place of
// program.cpp, and with it of every scalar function that the library does not use.
#include "pyflow/loops.h"

#include "backends/cpu/kernels.h"
#include "backends/cpu/tiles.h"
#include "kernels/program.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int64_t kTileBytes = 4096;

struct Loops {
  pf_loop loop;
  int32_t ninputs, noutputs;
  double cost;
  int32_t input_sizes[kMaxProgramOperands];
  int32_t output_sizes[kMaxProgramOperands];
};

// Where a generated library has the loops of each ISA.
enum class Isa { portable, avx2, avx512 };

// Bytes of the largest element, elements of a tile.
constexpr int64_t kMostBytes = 8;
constexpr int64_t kTile = kTileBytes / kMostBytes;

}  // namespace

int32_t program_supported(const pf_program* program, char* why, size_t why_size) {
  if (program->ninputs > kMaxProgramOperands || program->noutputs > kMaxProgramOperands)
    return refuse(why, why_size, "a program has at most %d inputs and outputs", kMaxProgramOperands);
  return 1;
}

size_t program_state_size(const pf_program*) {
  return sizeof(Loops);
}

pf_code program_prepare(const pf_program* program, void* state, pf_error* error) {
  if (!program_supported(program, error->message, sizeof(error->message))) return PF_UNIMPLEMENTED;
  const pf_loops* made = reinterpret_cast<const pf_loops*>(program->instrs);
  Loops* loops = static_cast<Loops*>(state);
  loops->loop = made->loops[static_cast<int>(Isa::PF_ISA)];
  loops->cost = made->cost;
  loops->ninputs = program->ninputs;
  loops->noutputs = program->noutputs;
  for (int32_t k = 0; k < program->ninputs; ++k)
    loops->input_sizes[k] = static_cast<int32_t>(element_size(program->register_dtypes[k]));
  for (int32_t k = 0; k < program->noutputs; ++k)
    loops->output_sizes[k] = static_cast<int32_t>(element_size(program->register_dtypes[program->outputs[k]]));
  return PF_OK;
}

size_t program_scratch(const void* state) {
  const Loops* loops = static_cast<const Loops*>(state);
  return static_cast<size_t>((loops->ninputs + loops->noutputs) * kTileBytes);
}

double program_cost(const void* state) {
  return static_cast<const Loops*>(state)->cost;
}

pf_code program_fault(uint32_t faults, pf_error* error) {
  return fail_faults(faults, error);
}

void program_block(const void* state, int64_t rows, int64_t cols, const Window* inputs, const Window* outputs,
                   void* scratch, uint32_t* faults) {
  if (rows <= 0 || cols <= 0) return;
  const Loops* loops = static_cast<const Loops*>(state);
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
        from[k] = load_tile(inputs[k], loops->input_sizes[k], memory + k * kTileBytes, held[k], row, col, tile_rows,
                            tile_cols);
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
        PF_BY_SIZE(scatter, loops->output_sizes[k], tile_begin(window, row, col, loops->output_sizes[k]),
                   static_cast<const char*>(to[k]), tile_rows, tile_cols, window.row_stride, window.col_stride)
      }
    }
  }
}

void epilogue_block(const void* state, const EpilogueBlock& block, void* scratch, uint32_t* faults) {
  const Loops* loops = static_cast<const Loops*>(state);
  Window inputs[kMaxProgramOperands], output;
  epilogue_windows(block, loops->input_sizes, loops->ninputs, loops->output_sizes[0], inputs, &output);
  program_block(state, block.rows, block.cols, inputs, &output, scratch, faults);
}

// What a generated library names, so that this file is linked in program.cpp's place.
extern const char loops_anchor;
const char loops_anchor = 0;

}  // namespace PF_ISA
}  // namespace pf
