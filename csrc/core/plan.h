// The plan of pyflow/plan.py, parsed from its bytes. Whoever holds a Plan may trust its indices, dtypes and nesting;
// sizes are checked when they are evaluated (core/binding.h).
#ifndef PYFLOW_CORE_PLAN_H
#define PYFLOW_CORE_PLAN_H

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/sizes.h"
#include "pyflow/backend.h"

namespace pf {

inline constexpr uint32_t kPlanVersion = 3;
inline constexpr uint32_t kOldestPlanVersion = 3;  // that is read
inline constexpr uint32_t kMaxBodyDepth = 64;

enum class Kind : uint8_t { Input, Output, Constant, Variable, Prepared, Temporary };
inline constexpr uint8_t kKinds = 6;
const char* kind_name(Kind kind);

struct Buffer {
  Kind kind;
  int32_t dtype;
  Row elements;
  std::string name;
  int32_t slot;
  std::string backend;
};

struct View {
  uint32_t buffer;
  int32_t dtype;
  std::vector<Row> dims;
  std::vector<Row> strides;
  Row offset;
};

struct Instr {
  std::string op;
  int32_t dtype;
  std::vector<int32_t> args;
  uint64_t imm;
};

struct Program {
  std::vector<int32_t> inputs;
  std::vector<Instr> instrs;
  std::vector<int32_t> outputs;
};

// What the executor does with a step: hand it to its backend, or run it itself.
enum class Action : uint8_t { Kernel, If, While, Call, Transfer };

struct Step {
  Action action;
  std::string kernel;
  std::string backend;
  std::vector<View> inputs;
  std::vector<View> outputs;
  std::vector<Row> ints;
  std::vector<double> floats;
  std::vector<Program> programs;
  std::vector<uint32_t> bodies;
  std::vector<uint32_t> defines;
  bool fallible;
  std::string text;
  std::string origin;
};

struct Port {
  std::string name;
  View view;
};

struct Check {
  Row left;
  Row right;
  // "{}" stands for the left, then for the right number.
  std::string message;
};

// The error that `check` failed with these two numbers.
[[noreturn]] void fail_check(const Check& check, int64_t left, int64_t right);

struct Solve {
  uint32_t symbol;
  uint32_t input;
  uint32_t axis;
  int64_t scale;
  int64_t shift;
};

struct Commit {
  uint32_t variable;
  View source;
};

struct Prepare {
  uint32_t body;
  std::vector<uint32_t> sources;
  std::vector<uint32_t> results;
};

struct Entry {
  std::string name;
  std::vector<Port> inputs;
  std::vector<Port> outputs;
  std::vector<Solve> solves;
  std::vector<Check> checks;
  std::vector<Commit> commits;
  std::vector<uint32_t> reads;
  std::vector<Prepare> prepares;
  uint32_t body;
  int32_t last_cancellable;
};

struct Plan {
  SizeTable sizes;
  uint32_t slots;
  std::string numerics;
  std::vector<Buffer> buffers;
  std::vector<std::vector<Step>> bodies;
  std::vector<Entry> entries;

  // `body` and every body that it reaches, each once, callees after callers.
  std::vector<uint32_t> reachable(uint32_t body) const;
};

// Throws Error: PF_DATA_LOSS for bytes that are no plan, PF_FAILED_PRECONDITION for a newer version.
Plan parse_plan(std::span<const uint8_t> bytes);

// The part of parse_plan that needs no bytes; called by it.
void validate_plan(Plan& plan);

}  // namespace pf

#endif
