// From the sizes of what is fed to a bound entry: symbols solved, every size checked, ports and commits placed.
#include <algorithm>

#include "core/dtype.h"
#include "core/executor.h"
#include "core/status.h"

namespace pf {

namespace {

std::string range_of(const SizeTable& sizes, const Symbol& symbol) {
  return text(symbol.name, " from ", symbol.min, symbol.bound < 0 ? " up" : text(" to ", sizes.rows[symbol.bound].a));
}

[[noreturn]] void bad_dim(const Port& port, size_t axis, int64_t got, const std::string& expected) {
  throw Error(PF_INVALID_ARGUMENT,
              text("input '", port.name, "' has size ", got, " on axis ", axis, "; expected ", expected));
}

}  // namespace

std::vector<SymbolValue> solve_symbols(const Model& model, uint32_t index, std::span<const int64_t> dims) {
  const Plan& plan = model.plan();
  const Entry& entry = plan.entries[index];
  std::vector<size_t> first{0};
  for (const Port& port : entry.inputs) first.push_back(first.back() + port.view.dims.size());
  std::vector<SymbolValue> symbols(plan.sizes.symbols.size());
  for (const Solve& solve : entry.solves) {
    if (symbols[solve.symbol].known) continue;
    const Symbol& symbol = plan.sizes.symbols[solve.symbol];
    const Port& port = entry.inputs[solve.input];
    const int64_t got = dims[first[solve.input] + solve.axis];
    const __int128 rest = static_cast<__int128>(got) - solve.shift;
    const __int128 value = rest / solve.scale;
    const bool in_range =
        value >= symbol.min && value <= INT64_MAX && (symbol.bound < 0 || value <= plan.sizes.rows[symbol.bound].a);
    if (rest % solve.scale != 0 || !in_range) {
      bad_dim(port, solve.axis, got,
              text(plan.sizes.describe(port.view.dims[solve.axis]), " with ", range_of(plan.sizes, symbol)));
    }
    symbols[solve.symbol] = {static_cast<int64_t>(value), true};
  }
  SizeValues values(plan.sizes);
  values.evaluate(model.entry(index).root.rows, symbols);
  for (size_t input = 0; input < entry.inputs.size(); ++input) {
    const Port& port = entry.inputs[input];
    for (size_t axis = 0; axis < port.view.dims.size(); ++axis) {
      const int64_t got = dims[first[input] + axis];
      const Row row = port.view.dims[axis];
      if (values[row] == got) continue;
      const std::string number = std::to_string(values[row]);
      bad_dim(port, axis, got,
              plan.sizes.is_constant(row)
                  ? number
                  : text(plan.sizes.describe(row), " = ", number, " as the other inputs have it"));
    }
  }
  for (const Check& check : entry.checks) {
    if (plan.sizes.is_late(check.left) || plan.sizes.is_late(check.right)) continue;
    if (values[check.left] != values[check.right]) {
      fail_check(check, values[check.left], values[check.right]);
    }
  }
  return symbols;
}

BoundEntry::BoundEntry(const Model& model, uint32_t index, std::span<const int64_t> dims,
                       std::span<const SymbolValue> symbols)
    : input_dims(dims.begin(), dims.end()), binding(model, model.entry(index).root, symbols) {
  const Plan& plan = model.plan();
  const Entry& entry = plan.entries[index];
  const EntryInfo& info = model.entry(index);
  auto whole = [&](const Port& port) {
    const BoundView view = binding.view(port.view);
    if (!view.contiguous || view.offset != 0 || view.bytes != binding.buffer_bytes(port.view.buffer)) {
      throw Error(PF_DATA_LOSS, text("the plan is not valid: '", port.name, "' of entry '", entry.name,
                                     "' is not all of its buffer"));
    }
  };
  for (const Port& port : entry.inputs) whole(port);
  outputs.resize(entry.outputs.size());
  commits.resize(entry.commits.size());
  for (size_t each = 0; each < entry.outputs.size(); ++each) {
    if (info.direct[each]) whole(entry.outputs[each]);
  }
  place(index, false);
}

void BoundEntry::place(uint32_t index, bool late) {
  const Model& model = binding.model();
  const Plan& plan = model.plan();
  const Entry& entry = plan.entries[index];
  for (size_t each = 0; each < entry.outputs.size(); ++each) {
    const Port& port = entry.outputs[each];
    if (binding.is_late(port.view) != late) continue;
    outputs[each] = binding.view(port.view);
    if (!outputs[each].contiguous && model.memory_of(port.view.buffer)) {
      throw Error(PF_UNIMPLEMENTED, text("output '", port.name, "' is strided in another memory than the host's"));
    }
  }
  for (size_t each = 0; each < entry.commits.size(); ++each) {
    const Commit& commit = entry.commits[each];
    if (binding.is_late(commit.source) != late) continue;
    const BoundView& view = commits[each] = binding.view(commit.source);
    const int64_t bytes = binding.buffer_bytes(commit.variable);
    if (view.bytes != bytes) {
      throw Error(PF_INVALID_ARGUMENT, text("variable '", plan.buffers[commit.variable].name, "' holds ", bytes,
                                            " bytes; the value for it has ", view.bytes));
    }
    if (!view.contiguous && (model.memory_of(commit.source.buffer) || model.memory_of(commit.variable))) {
      throw Error(PF_UNIMPLEMENTED, text("the value of variable '", plan.buffers[commit.variable].name,
                                         "' is strided in another memory than the host's"));
    }
  }
}

}  // namespace pf
