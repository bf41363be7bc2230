// What a parsed plan must satisfy before anything is prepared for it: indices, shapes of steps, nesting, who may write.
#include <algorithm>

#include "core/dtype.h"
#include "core/plan.h"
#include "core/status.h"

namespace pf {

namespace {

[[noreturn]] void bad(const std::string& where, const std::string& what) {
  throw Error(PF_DATA_LOSS, text("the plan is not valid: ", where, " ", what));
}

struct ActionRow {
  const char* kernel;
  Action action;
  size_t bodies;
};

constexpr ActionRow kActions[] = {
    {"if", Action::If, 2}, {"while", Action::While, 2}, {"call", Action::Call, 1}, {"transfer", Action::Transfer, 0}};

class Validator {
 public:
  explicit Validator(Plan& plan) : plan_(plan) {}

  void run() {
    plan_.sizes.validate();
    buffers();
    for (size_t body = 0; body < plan_.bodies.size(); ++body) {
      for (size_t index = 0; index < plan_.bodies[body].size(); ++index) {
        step(text("step ", index, " of body ", body), plan_.bodies[body][index]);
      }
    }
    nesting();
    for (const Entry& each : plan_.entries) entry(text("entry '", each.name, "'"), each);
  }

 private:
  void buffers() {
    if (plan_.slots > plan_.buffers.size()) {
      bad("the head", text("has ", plan_.slots, " slots for ", plan_.buffers.size(), " buffers"));
    }
    std::vector<const std::string*> memory(plan_.slots);
    for (size_t index = 0; index < plan_.buffers.size(); ++index) {
      const Buffer& buffer = plan_.buffers[index];
      const std::string where = text("buffer ", index);
      if (buffer.slot < -1) bad(where, "has a negative slot");
      if (buffer.slot >= 0) {
        if (buffer.kind != Kind::Temporary) bad(where, text("is ", kind_name(buffer.kind), " and has a slot"));
        if (static_cast<size_t>(buffer.slot) >= memory.size())
          bad(where, text("has slot ", buffer.slot, " of ", plan_.slots));
        const std::string*& owner = memory[buffer.slot];
        if (owner && *owner != buffer.backend) bad(where, "shares a slot with a buffer of another backend's memory");
        owner = &buffer.backend;
      }
      if (plan_.sizes.is_late(buffer.elements)) {
        if (buffer.kind != Kind::Temporary) bad(where, text("is ", kind_name(buffer.kind), " and of a late size"));
        if (buffer.slot >= 0) bad(where, "is of a late size and has a slot");
      }
      if (buffer.kind == Kind::Variable && buffer.name.empty()) bad(where, "is a variable without a name");
      const bool fixed =
          buffer.kind == Kind::Constant || buffer.kind == Kind::Variable || buffer.kind == Kind::Prepared;
      if (fixed && !plan_.sizes.is_constant(buffer.elements)) {
        bad(where, text("is ", kind_name(buffer.kind), " and its size ", plan_.sizes.describe(buffer.elements),
                        " depends on what is fed"));
      }
    }
  }

  const Buffer& view(const std::string& where, const View& view) {
    if (view.buffer >= plan_.buffers.size())
      bad(where, text("names buffer ", view.buffer, " of ", plan_.buffers.size()));
    const Buffer& buffer = plan_.buffers[view.buffer];
    if (view.dims.size() > PF_MAX_NDIM)
      bad(where, text("has ", view.dims.size(), " dims; at most ", PF_MAX_NDIM, " are known"));
    if (view.dims.size() != view.strides.size()) bad(where, "has another number of dims than of strides");
    // Parts of complex numbers are views of their own; what they reach is checked in bytes, at binding.
    if (buffer.kind != Kind::Temporary && dtype_bytes(buffer.dtype) % dtype_bytes(view.dtype) != 0) {
      bad(where, text("reads ", dtype_name(view.dtype), " from a ", kind_name(buffer.kind), " buffer of ",
                      dtype_name(buffer.dtype)));
    }
    return buffer;
  }

  void program(const std::string& where, const Program& program) {
    const size_t inputs = program.inputs.size();
    for (size_t index = 0; index < program.instrs.size(); ++index) {
      const Instr& instr = program.instrs[index];
      if (instr.op.empty()) bad(where, text("has an instruction ", index, " without a name"));
      if (instr.args.size() > std::size(pf_instr{}.args))
        bad(where, text("has an instruction ", index, " of too many arguments"));
      for (int32_t arg : instr.args) {
        if (arg < 0 || static_cast<size_t>(arg) >= inputs + index) {
          bad(where, text("has an instruction ", index, " that reads register ", arg, " before it is written"));
        }
      }
    }
    for (int32_t output : program.outputs) {
      if (output < 0 || static_cast<size_t>(output) >= inputs + program.instrs.size()) {
        bad(where, text("gives register ", output, ", which is not there"));
      }
    }
  }

  void step(const std::string& where, Step& step) {
    if (step.kernel.empty()) bad(where, "names no kernel");
    size_t bodies = 0;
    for (const ActionRow& row : kActions) {
      if (step.kernel == row.kernel) step.action = row.action, bodies = row.bodies;
    }
    const std::string full = text(where, " (", step.kernel, ")");
    for (const View& input : step.inputs) view(full, input);
    for (const View& output : step.outputs) {
      const Kind kind = view(full, output).kind;
      if (kind == Kind::Input || kind == Kind::Constant) bad(full, text("writes an ", kind_name(kind), " buffer"));
    }
    for (const Program& each : step.programs) program(full, each);
    for (uint32_t symbol : step.defines) {
      if (!plan_.sizes.symbols[symbol].late)
        bad(full, text("defines '", plan_.sizes.symbols[symbol].name, "', which is fed"));
    }
    if (step.bodies.size() != bodies) bad(full, text("has ", step.bodies.size(), " bodies; expected ", bodies));
    for (uint32_t body : step.bodies) {
      if (body >= plan_.bodies.size()) bad(full, text("names body ", body, " of ", plan_.bodies.size()));
    }
    if (step.action == Action::Kernel) return;
    if (!step.defines.empty()) bad(full, "defines a size");
    if (step.action == Action::If || step.action == Action::While) condition(full, step);
    if (step.action == Action::Transfer) transfer(full, step);
  }

  void condition(const std::string& where, const Step& step) {
    if (step.inputs.empty()) bad(where, "has no condition");
    const View& condition = step.inputs[0];
    if (condition.dtype != PF_DTYPE_bool || !condition.dims.empty()) bad(where, "has a condition that is not one bool");
    if (plan_.sizes.is_late(condition.offset)) bad(where, "has a condition whose place is not known before the run");
  }

  void transfer(const std::string& where, const Step& step) {
    if (step.inputs.size() != 1 || step.outputs.size() != 1) bad(where, "copies one input to one output");
    const View &from = step.inputs[0], &to = step.outputs[0];
    if (from.dtype != to.dtype || from.dims.size() != to.dims.size()) bad(where, "copies between different types");
  }

  // Bodies must not reach themselves, and not too deep: the executor recurses.
  void nesting() {
    std::vector<uint32_t> depth(plan_.bodies.size());
    enum Colour : uint8_t { White, Grey, Black };
    std::vector<Colour> colour(plan_.bodies.size(), White);
    struct Frame {
      uint32_t body;
      std::vector<uint32_t> callees;
      size_t next;
    };
    for (uint32_t root = 0; root < plan_.bodies.size(); ++root) {
      if (colour[root] != White) continue;
      std::vector<Frame> stack;
      auto enter = [&](uint32_t body) {
        colour[body] = Grey;
        depth[body] = 1;
        stack.push_back({body, callees(body), 0});
      };
      enter(root);
      while (!stack.empty()) {
        Frame& top = stack.back();
        if (top.next == top.callees.size()) {
          const uint32_t finished = top.body;
          colour[finished] = Black;
          stack.pop_back();
          if (!stack.empty()) depth[stack.back().body] = std::max(depth[stack.back().body], depth[finished] + 1);
          continue;
        }
        const uint32_t callee = top.callees[top.next++];
        if (colour[callee] == Grey) bad(text("body ", callee), "reaches itself");
        if (colour[callee] == Black) {
          depth[top.body] = std::max(depth[top.body], depth[callee] + 1);
        } else {
          enter(callee);
        }
      }
    }
    for (uint32_t body = 0; body < depth.size(); ++body) {
      if (depth[body] > kMaxBodyDepth) bad(text("body ", body), text("nests more than ", kMaxBodyDepth, " deep"));
    }
  }

  std::vector<uint32_t> callees(uint32_t body) const {
    std::vector<uint32_t> result;
    for (const Step& step : plan_.bodies[body]) result.insert(result.end(), step.bodies.begin(), step.bodies.end());
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }

  void variable(const std::string& where, uint32_t buffer) const {
    if (buffer >= plan_.buffers.size() || plan_.buffers[buffer].kind != Kind::Variable) {
      bad(where, text("names buffer ", buffer, " as a variable, which it is not"));
    }
  }

  void entry(const std::string& where, const Entry& entry) {
    std::vector<uint8_t> fed(plan_.buffers.size()), given(plan_.buffers.size()), prepared(plan_.buffers.size());
    for (const Port& port : entry.inputs) {
      const Buffer& buffer = view(text(where, " input '", port.name, "'"), port.view);
      if (buffer.kind != Kind::Input || fed[port.view.buffer]++) {
        bad(where, text("has an input '", port.name, "' that is no input buffer of its own"));
      }
    }
    for (const Port& port : entry.outputs) {
      const Buffer& buffer = view(text(where, " output '", port.name, "'"), port.view);
      if (buffer.kind == Kind::Output) given[port.view.buffer] = 1;
    }
    for (const Solve& solve : entry.solves) {
      if (solve.input >= entry.inputs.size() || solve.axis >= entry.inputs[solve.input].view.dims.size()) {
        bad(where, "solves a symbol from a dim that is not there");
      }
      if (solve.scale == 0 || plan_.sizes.symbols[solve.symbol].late) bad(where, "solves a symbol that no feed tells");
    }
    for (const Commit& commit : entry.commits) {
      variable(where, commit.variable);
      view(text(where, " commit"), commit.source);
      if (commit.source.dtype != plan_.buffers[commit.variable].dtype) bad(where, "commits a value of another dtype");
    }
    for (uint32_t buffer : entry.reads) variable(where, buffer);
    if (entry.body >= plan_.bodies.size()) bad(where, text("names body ", entry.body, " of ", plan_.bodies.size()));
    for (const Prepare& prepare : entry.prepares) {
      if (prepare.body >= plan_.bodies.size())
        bad(where, text("prepares by body ", prepare.body, ", which is not there"));
      for (uint32_t buffer : prepare.sources) variable(where, buffer);
      for (uint32_t buffer : prepare.results) {
        if (buffer >= plan_.buffers.size() || plan_.buffers[buffer].kind != Kind::Prepared) {
          bad(where, text("prepares buffer ", buffer, ", which is no prepared buffer"));
        }
        prepared[buffer] = 1;
      }
      reach(text(where, " prepare"), prepare.body, {}, {}, prepared, prepare.results, false);
    }
    reach(where, entry.body, fed, given, prepared, {}, true);
    for (const Port& port : entry.outputs) {
      const Kind kind = plan_.buffers[port.view.buffer].kind;
      if (kind == Kind::Input && !fed[port.view.buffer]) bad(where, "gives an input that is not its own");
      if (kind == Kind::Prepared && !prepared[port.view.buffer]) bad(where, "gives a buffer that nothing prepares");
    }
    for (const Commit& commit : entry.commits) {
      const Kind kind = plan_.buffers[commit.source.buffer].kind;
      if ((kind == Kind::Input && !fed[commit.source.buffer]) ||
          (kind == Kind::Output && !given[commit.source.buffer])) {
        bad(where, text("commits an ", kind_name(kind), " that is not its own"));
      }
      if (kind == Kind::Prepared && !prepared[commit.source.buffer])
        bad(where, "commits a buffer that nothing prepares");
    }
  }

  // Every buffer that a body touches must have memory in this entry, and may be written only where that is meant.
  void reach(const std::string& where, uint32_t root, const std::vector<uint8_t>& fed,
             const std::vector<uint8_t>& given, const std::vector<uint8_t>& prepared,
             const std::vector<uint32_t>& results, bool writes_variables) {
    auto check = [&](uint32_t body, const View& view, bool write) {
      const Buffer& buffer = plan_.buffers[view.buffer];
      const std::string what = text("touches the ", kind_name(buffer.kind), " buffer ", view.buffer, " in body ", body);
      if (buffer.kind == Kind::Input && (fed.empty() || !fed[view.buffer])) bad(where, what + ", which is not its own");
      if (buffer.kind == Kind::Output && (given.empty() || !given[view.buffer]))
        bad(where, what + ", which is not its own");
      if (buffer.kind == Kind::Variable && write && !writes_variables) bad(where, what + " and writes it");
      if (buffer.kind == Kind::Prepared) {
        if (!prepared[view.buffer]) bad(where, what + ", which nothing prepares");
        if (write && std::find(results.begin(), results.end(), view.buffer) == results.end())
          bad(where, what + " and writes it");
      }
    };
    for (uint32_t body : plan_.reachable(root)) {
      for (const Step& step : plan_.bodies[body]) {
        for (const View& input : step.inputs) check(body, input, false);
        for (const View& output : step.outputs) check(body, output, true);
      }
    }
  }

  Plan& plan_;
};

}  // namespace

void validate_plan(Plan& plan) {
  Validator(plan).run();
}

std::vector<uint32_t> Plan::reachable(uint32_t body) const {
  std::vector<uint8_t> seen(bodies.size());
  std::vector<uint32_t> result{body};
  seen[body] = 1;
  for (size_t index = 0; index < result.size(); ++index) {
    for (const Step& step : bodies[result[index]]) {
      for (uint32_t callee : step.bodies) {
        if (!seen[callee]) seen[callee] = 1, result.push_back(callee);
      }
    }
  }
  return result;
}

}  // namespace pf
