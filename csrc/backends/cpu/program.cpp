#include "kernels/program.h"

#include <string.h>

#include "backends/cpu/casts.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/tile_ops.h"
#include "backends/cpu/tiles.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {
namespace {

struct Instruction {
  TileOp loop;  // NULL for a constant, which is filled once per block
  int32_t result;
  int32_t nargs;
  int32_t args[4];
};

struct Constant {
  uint64_t bits;
  int32_t reg;
  int32_t size;
};

// Registers behind the program's own, for what is between the stages of a cast.
constexpr int32_t kTemporaries = 2;
// Bytes of the largest element between two stages.
constexpr int64_t kTemporarySize = 8;

// A value's place in scratch is its slot. Inputs and constants keep theirs, others share by lifetime.
struct Compiled {
  int32_t ninputs, noutputs, nregisters, ninstructions, nconstants, nslots;
  int64_t tile;  // elements
  int64_t slot_bytes;
  double cost;
  int32_t output_registers[kMaxProgramOperands];
  // Non-zero: the instruction that makes this output may write straight to memory, because nothing after it reads an
  // input (which the output may overlap).
  int32_t writes_through[kMaxProgramOperands];
  int32_t output_sizes[kMaxProgramOperands];
  int32_t input_sizes[kMaxProgramOperands];
};

// The arrays behind a Compiled: instructions, constants, slots per register, last uses per register.
Instruction* instructions_of(Compiled* compiled) {
  return reinterpret_cast<Instruction*>(compiled + 1);
}
const Instruction* instructions_of(const Compiled* compiled) {
  return reinterpret_cast<const Instruction*>(compiled + 1);
}
Constant* constants_of(Compiled* compiled, int32_t ninstrs) {
  return reinterpret_cast<Constant*>(instructions_of(compiled) + kMaxCastStages * ninstrs);
}
int32_t* slots_of(Compiled* compiled, int32_t ninstrs) {
  return reinterpret_cast<int32_t*>(constants_of(compiled, ninstrs) + ninstrs);
}

bool is_constant(const pf_instr& instr) {
  return strcmp(instr.op, "const") == 0;
}
bool is_cast(const pf_instr& instr) {
  return strcmp(instr.op, "cast") == 0 || strcmp(instr.op, "cast_saturated") == 0;
}

// The stages of a cast; their number, or 0 and a reason.
int32_t stages_of(const pf_program* program, const pf_instr& instr, TileOp* stages, char* why, size_t why_size) {
  const bool saturate = strcmp(instr.op, "cast_saturated") == 0;
  const int32_t from = instr.nargs == 1 ? program->register_dtypes[instr.args[0]] : -1;
  const int32_t count = from < 0 ? 0 : find_cast(from, instr.dtype, saturate, stages);
  if (count == 0) refuse(why, why_size, "no cast from %s to %s", dtype_name(from), dtype_name(instr.dtype));
  return count;
}

// The loop of a choice between elements of any dtype, or NULL and a reason.
TileOp choice_of(const pf_program* program, const pf_instr& instr, char* why, size_t why_size) {
  if (instr.nargs != 3) {
    refuse(why, why_size, "where takes 3 arguments, got %d", instr.nargs);
    return nullptr;
  }
  for (int32_t i = 0; i < 3; ++i) {
    const int32_t dtype = program->register_dtypes[instr.args[i]];
    const int32_t expected = i == 0 ? static_cast<int32_t>(PF_DTYPE_bool) : instr.dtype;
    if (dtype == expected) continue;
    refuse(why, why_size, "argument %d of where is %s, expected %s", i, dtype_name(dtype), dtype_name(expected));
    return nullptr;
  }
  return find_where(element_size(instr.dtype));
}

// The loop of an instruction that is no cast, or NULL and a reason.
TileOp loop_for(const pf_program* program, const pf_instr& instr, char* why, size_t why_size, double* cost) {
  const int32_t* dtypes = program->register_dtypes;
  *cost = 0.15;
  if (strcmp(instr.op, "where") == 0) return choice_of(program, instr, why, why_size);
  const TileOpRow* row = find_tile_op(instr.op);
  if (row == nullptr) {
    refuse(why, why_size, "'%s' is no scalar function", instr.op);
    return nullptr;
  }
  if (instr.nargs != row->nargs) {
    refuse(why, why_size, "%s takes %d arguments, got %d", instr.op, row->nargs, instr.nargs);
    return nullptr;
  }
  const int32_t dtype = dtypes[instr.args[instr.nargs - 1]];
  for (int32_t i = 0; i < instr.nargs; ++i) {
    if (dtypes[instr.args[i]] != dtype) {
      refuse(why, why_size, "argument %d of %s is %s, expected %s", i, instr.op, dtype_name(dtypes[instr.args[i]]),
             dtype_name(dtype));
      return nullptr;
    }
  }
  const int32_t result = row->returns_bool ? static_cast<int32_t>(PF_DTYPE_bool) : dtype;
  const int32_t index = tile_dtype_index(dtype);
  const TileOp loop = index < 0 ? nullptr : row->loops[index];
  if (loop == nullptr) {
    refuse(why, why_size, "%s does not take %s", instr.op, dtype_name(dtype));
  } else if (instr.dtype != result) {
    refuse(why, why_size, "%s of %s gives %s, not %s", instr.op, dtype_name(dtype), dtype_name(result),
           dtype_name(instr.dtype));
    return nullptr;
  }
  *cost = row->cost;
  return loop;
}

// Gives slots: inputs and constants keep theirs, the rest share by lifetime. Returns the number of slots. `slots` and
// `last_use` have an entry per register.
int32_t give_slots(const pf_program* program, int32_t* slots, int32_t* last_use) {
  const int32_t ninputs = program->ninputs, nregisters = ninputs + program->ninstrs;
  int32_t count = 0;
  for (int32_t reg = 0; reg < nregisters; ++reg) {
    const bool pinned = reg < ninputs || is_constant(program->instrs[reg - ninputs]);
    slots[reg] = pinned ? count++ : -1;
  }
  for (int32_t reg = 0; reg < nregisters; ++reg) last_use[reg] = reg;
  for (int32_t i = 0; i < program->ninstrs; ++i)
    for (int32_t j = 0; j < program->instrs[i].nargs; ++j) last_use[program->instrs[i].args[j]] = ninputs + i;
  for (int32_t k = 0; k < program->noutputs; ++k) last_use[program->outputs[k]] = nregisters;
  const int32_t first_shared = count;
  for (int32_t reg = ninputs; reg < nregisters; ++reg) {
    if (slots[reg] >= 0) continue;
    for (int32_t slot = first_shared; slots[reg] < 0; ++slot) {
      bool free = true;
      for (int32_t other = ninputs; free && other < reg; ++other) free = slots[other] != slot || last_use[other] < reg;
      if (free) slots[reg] = slot;
      if (free && slot >= count) count = slot + 1;
    }
  }
  return count;
}

void fill(char* to, const Constant& constant, int64_t n) {
  const char* bits = reinterpret_cast<const char*>(&constant.bits);
  PF_BY_SIZE(gather, constant.size, to, bits, 1, n, 0, 0)
}

// The tiles of one block.
struct Tiler {
  const Compiled* compiled;
  const int32_t* slots;
  const Window* inputs;
  const Window* outputs;
  char* memory;
  const void** registers;  // where each register's tile is now
  uint32_t* faults;
  Gathered held[kMaxProgramOperands];

  char* slot(int32_t reg) const { return memory + slots[reg] * compiled->slot_bytes; }

  char* destination(int32_t k, int64_t row, int64_t col) const {
    return tile_begin(outputs[k], row, col, compiled->output_sizes[k]);
  }

  void run(int64_t row, int64_t col, int64_t rows, int64_t cols) {
    for (int32_t k = 0; k < compiled->ninputs; ++k)
      registers[k] = load_tile(inputs[k], compiled->input_sizes[k], slot(k), held[k], row, col, rows, cols);
    bool written[kMaxProgramOperands];
    for (int32_t k = 0; k < compiled->noutputs; ++k) {
      written[k] = is_dense(outputs[k], rows, cols) && compiled->writes_through[k] != 0;
      const int32_t reg = compiled->output_registers[k];
      if (compiled->writes_through[k] != 0) registers[reg] = written[k] ? destination(k, row, col) : slot(reg);
    }
    const Instruction* instructions = instructions_of(compiled);
    for (int32_t i = 0; i < compiled->ninstructions; ++i) {
      const Instruction& instruction = instructions[i];
      const void* args[4];
      for (int32_t j = 0; j < instruction.nargs; ++j) args[j] = registers[instruction.args[j]];
      instruction.loop(const_cast<void*>(registers[instruction.result]), args, rows * cols, faults);
    }
    for (int32_t k = 0; k < compiled->noutputs; ++k) {
      if (written[k]) continue;
      const char* from = static_cast<const char*>(registers[compiled->output_registers[k]]);
      char* to = destination(k, row, col);
      if (to == from) continue;
      PF_BY_SIZE(scatter, compiled->output_sizes[k], to, from, rows, cols, outputs[k].row_stride, outputs[k].col_stride)
    }
  }
};

}  // namespace

int32_t program_supported(const pf_program* program, char* why, size_t why_size) {
  if (program->ninputs > kMaxProgramOperands || program->noutputs > kMaxProgramOperands)
    return refuse(why, why_size, "a program has at most %d inputs and outputs", kMaxProgramOperands);
  const int32_t nregisters = program->ninputs + program->ninstrs;
  for (int32_t reg = 0; reg < nregisters; ++reg)
    if (element_size(program->register_dtypes[reg]) == 0) return refuse(why, why_size, "register %d has no dtype", reg);
  for (int32_t k = 0; k < program->noutputs; ++k)
    if (program->outputs[k] < 0 || program->outputs[k] >= nregisters)
      return refuse(why, why_size, "output %d is no register", k);
  for (int32_t i = 0; i < program->ninstrs; ++i) {
    const pf_instr& instr = program->instrs[i];
    if (instr.nargs < 0 || instr.nargs > 4)
      return refuse(why, why_size, "instruction %d has %d arguments", i, instr.nargs);
    for (int32_t j = 0; j < instr.nargs; ++j)
      if (instr.args[j] < 0 || instr.args[j] >= program->ninputs + i)
        return refuse(why, why_size, "instruction %d reads register %d before it is written", i, instr.args[j]);
    double cost;
    TileOp stages[kMaxCastStages];
    if (is_constant(instr)) {
      if (element_size(instr.dtype) > static_cast<int64_t>(sizeof(instr.imm)))
        return refuse(why, why_size, "a constant of %s does not fit an instruction", dtype_name(instr.dtype));
    } else if (is_cast(instr)) {
      if (stages_of(program, instr, stages, why, why_size) == 0) return 0;
    } else if (loop_for(program, instr, why, why_size, &cost) == nullptr) {
      return 0;
    }
  }
  return 1;
}

size_t program_state_size(const pf_program* program) {
  const size_t ninstrs = static_cast<size_t>(program->ninstrs);
  return sizeof(Compiled) + ninstrs * (kMaxCastStages * sizeof(Instruction) + sizeof(Constant)) +
         (ninstrs + static_cast<size_t>(program->ninputs)) * 2 * sizeof(int32_t);
}

pf_code program_prepare(const pf_program* program, void* state, pf_error* error) {
  if (!program_supported(program, error->message, sizeof(error->message))) return PF_UNIMPLEMENTED;
  Compiled* compiled = static_cast<Compiled*>(state);
  memset(compiled, 0, sizeof(Compiled));
  compiled->ninputs = program->ninputs;
  compiled->noutputs = program->noutputs;
  compiled->nregisters = program->ninputs + program->ninstrs;
  Instruction* instructions = instructions_of(compiled);
  Constant* constants = constants_of(compiled, program->ninstrs);
  // Constants are at the head of their array and instructions close up: the slots behind both are found by ninstrs.
  int32_t last_reader_of_inputs = -1;
  int64_t largest = 1;
  for (int32_t i = 0; i < program->ninstrs; ++i) {
    const pf_instr& instr = program->instrs[i];
    const int32_t reg = program->ninputs + i;
    if (is_constant(instr)) {
      constants[compiled->nconstants++] = {instr.imm, reg, static_cast<int32_t>(element_size(instr.dtype))};
      continue;
    }
    for (int32_t j = 0; j < instr.nargs; ++j)
      if (instr.args[j] < program->ninputs) last_reader_of_inputs = reg;
    if (is_cast(instr)) {
      TileOp stages[kMaxCastStages];
      const int32_t count = stages_of(program, instr, stages, error->message, sizeof(error->message));
      int32_t from = instr.args[0];
      for (int32_t stage = 0; stage < count; ++stage) {
        const int32_t to = stage + 1 == count ? reg : compiled->nregisters + stage;
        instructions[compiled->ninstructions++] = {stages[stage], to, 1, {from, 0, 0, 0}};
        from = to;
        compiled->cost += 0.15;
      }
      if (count > 1) largest = kTemporarySize;
      continue;
    }
    Instruction& instruction = instructions[compiled->ninstructions++];
    double cost = 0;
    instruction.loop = loop_for(program, instr, error->message, sizeof(error->message), &cost);
    instruction.result = reg;
    instruction.nargs = instr.nargs;
    for (int32_t j = 0; j < instr.nargs; ++j) instruction.args[j] = instr.args[j];
    compiled->cost += cost;
  }
  int32_t* slots = slots_of(compiled, program->ninstrs);
  compiled->nslots = give_slots(program, slots, slots + compiled->nregisters);
  bool copies_input = false;
  for (int32_t k = 0; k < program->noutputs; ++k) copies_input |= program->outputs[k] < program->ninputs;
  for (int32_t reg = 0; reg < compiled->nregisters; ++reg)
    largest = maximum_of(largest, element_size(program->register_dtypes[reg]));
  for (int32_t k = 0; k < program->ninputs; ++k)
    compiled->input_sizes[k] = static_cast<int32_t>(element_size(program->register_dtypes[k]));
  for (int32_t k = 0; k < program->noutputs; ++k) {
    const int32_t reg = program->outputs[k];
    compiled->output_registers[k] = reg;
    compiled->output_sizes[k] = static_cast<int32_t>(element_size(program->register_dtypes[reg]));
    bool first = reg >= last_reader_of_inputs && reg >= program->ninputs && !copies_input;
    if (first) first = !is_constant(program->instrs[reg - program->ninputs]);
    for (int32_t earlier = 0; earlier < k; ++earlier) first = first && program->outputs[earlier] != reg;
    compiled->writes_through[k] = first;
  }
  // All tiles together should leave room in a first-level cache.
  compiled->tile = 1024;
  while (compiled->tile > 128 && compiled->tile * largest * compiled->nslots > 20 * 1024) compiled->tile /= 2;
  compiled->slot_bytes = compiled->tile * largest;
  return PF_OK;
}

// Where the tiles begin in scratch: behind a pointer per register.
static int64_t pointer_bytes(const Compiled* compiled) {
  return ((compiled->nregisters + kTemporaries) * static_cast<int64_t>(sizeof(void*)) + 63) / 64 * 64;
}

size_t program_scratch(const void* state) {
  const Compiled* compiled = static_cast<const Compiled*>(state);
  return static_cast<size_t>(pointer_bytes(compiled) + (compiled->nslots + kTemporaries) * compiled->slot_bytes);
}

double program_cost(const void* state) {
  return 0.1 + static_cast<const Compiled*>(state)->cost;
}

pf_code program_fault(uint32_t faults, pf_error* error) {
  return fail_faults(faults, error);
}

void program_block(const void* state, int64_t rows, int64_t cols, const Window* inputs, const Window* outputs,
                   void* scratch, uint32_t* faults) {
  if (rows <= 0 || cols <= 0) return;
  const Compiled* compiled = static_cast<const Compiled*>(state);
  Compiled* arrays = const_cast<Compiled*>(compiled);
  const int32_t ninstrs = compiled->nregisters - compiled->ninputs;
  const int32_t* slots = slots_of(arrays, ninstrs);
  Tiler tiler;
  tiler.compiled = compiled;
  tiler.slots = slots;
  tiler.inputs = inputs;
  tiler.outputs = outputs;
  tiler.registers = static_cast<const void**>(scratch);
  tiler.memory = static_cast<char*>(scratch) + pointer_bytes(compiled);
  tiler.faults = faults;
  for (int32_t k = 0; k < compiled->ninputs; ++k) tiler.held[k] = {nullptr, 0, 0};
  for (int32_t reg = compiled->ninputs; reg < compiled->nregisters; ++reg) tiler.registers[reg] = tiler.slot(reg);
  for (int32_t t = 0; t < kTemporaries; ++t)
    tiler.registers[compiled->nregisters + t] = tiler.memory + (compiled->nslots + t) * compiled->slot_bytes;
  const Constant* constants = constants_of(arrays, ninstrs);
  const int64_t filled = minimum_of(compiled->tile, rows * cols);
  for (int32_t i = 0; i < compiled->nconstants; ++i) fill(tiler.slot(constants[i].reg), constants[i], filled);

  const TileShape shape = tile_shape(inputs, compiled->ninputs, cols, compiled->tile);
  for (int64_t row = 0; row < rows; row += shape.rows)
    for (int64_t col = 0; col < cols; col += shape.cols)
      tiler.run(row, col, minimum_of(shape.rows, rows - row), minimum_of(shape.cols, cols - col));
}

void epilogue_block(const void* state, const EpilogueBlock& block, void* scratch, uint32_t* faults) {
  const Compiled* compiled = static_cast<const Compiled*>(state);
  Window inputs[kMaxProgramOperands], output;
  epilogue_windows(block, compiled->input_sizes, compiled->ninputs, compiled->output_sizes[0], inputs, &output);
  program_block(state, block.rows, block.cols, inputs, &output, scratch, faults);
}

}  // namespace PF_ISA
}  // namespace pf
