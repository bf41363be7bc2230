#include "core/model.h"

#include <algorithm>

#include "core/dtype.h"
#include "core/instance.h"
#include "core/registry.h"
#include "core/status.h"

namespace pf {

namespace {

void sort_unique(std::vector<uint32_t>& items) {
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
}

void view_rows(const View& view, std::vector<Row>& rows) {
  rows.insert(rows.end(), view.dims.begin(), view.dims.end());
  rows.insert(rows.end(), view.strides.begin(), view.strides.end());
  rows.push_back(view.offset);
}

void step_rows(const Step& step, std::vector<Row>& rows) {
  for (const View& view : step.inputs) view_rows(view, rows);
  for (const View& view : step.outputs) view_rows(view, rows);
  rows.insert(rows.end(), step.ints.begin(), step.ints.end());
}

}  // namespace

StepTables::StepTables(const Step& source, const SizeTable& sizes) {
  for (const View& view : source.inputs) operands_.push_back({view.dtype, static_cast<int32_t>(view.dims.size())});
  for (const View& view : source.outputs) operands_.push_back({view.dtype, static_cast<int32_t>(view.dims.size())});
  std::vector<Row> closed = sizes.closure(source.ints);
  std::erase_if(closed, [&](Row row) { return !sizes.is_constant(row); });
  SizeValues values(sizes);
  values.evaluate(closed, {});
  for (Row row : source.ints) ints_.push_back(values.known(row) ? values[row] : PF_UNKNOWN);
  for (const Program& program : source.programs) {
    std::vector<int32_t>& registers = registers_.emplace_back(program.inputs);
    std::vector<pf_instr>& instrs = instrs_.emplace_back();
    for (const Instr& instr : program.instrs) {
      registers.push_back(instr.dtype);
      pf_instr& made = instrs.emplace_back();
      made = {instr.op.c_str(), instr.dtype, static_cast<int32_t>(instr.args.size()), {}, instr.imm};
      std::copy(instr.args.begin(), instr.args.end(), made.args);
    }
  }
  for (size_t index = 0; index < source.programs.size(); ++index) {
    const Program& program = source.programs[index];
    programs_.push_back({static_cast<int32_t>(program.inputs.size()), static_cast<int32_t>(program.instrs.size()),
                         static_cast<int32_t>(program.outputs.size()), instrs_[index].data(), program.outputs.data(),
                         registers_[index].data()});
  }
  step.kernel = source.kernel.c_str();
  step.text = source.text.c_str();
  step.origin = source.origin.c_str();
  step.ninputs = static_cast<int32_t>(source.inputs.size());
  step.noutputs = static_cast<int32_t>(source.outputs.size());
  step.nints = static_cast<int32_t>(ints_.size());
  step.nfloats = static_cast<int32_t>(source.floats.size());
  step.nprograms = static_cast<int32_t>(programs_.size());
  step.ndefines = static_cast<int32_t>(source.defines.size());
  step.inputs = operands_.data();
  step.outputs = operands_.data() + source.inputs.size();
  step.ints = ints_.data();
  step.floats = source.floats.data();
  step.programs = programs_.data();
}

Model::Model(Plan plan, std::span<const Constant> constants, std::shared_ptr<void> keep)
    : plan_(std::move(plan)), keep_(std::move(keep)) {
  place_buffers(constants);
  bodies_.resize(plan_.bodies.size());
  int64_t steps = 0;
  for (uint32_t body = 0; body < bodies_.size(); ++body) {
    bodies_[body].first_step = steps;
    steps += static_cast<int64_t>(plan_.bodies[body].size());
    cut(body);
  }
  for (const Entry& entry : plan_.entries) describe(entry);
  prepare();
}

Model::~Model() {
  unprepare();
}

void Model::place_buffers(std::span<const Constant> constants) {
  const size_t buffers = plan_.buffers.size();
  memory_.resize(buffers);
  space_.resize(buffers);
  constants_.resize(buffers);
  spaces_ = {nullptr};
  std::map<std::string, const pf_backend*> found;
  std::vector<Row> all(plan_.sizes.rows.size());
  for (Row row = 0; row < all.size(); ++row) all[row] = row;
  std::erase_if(all, [&](Row row) { return !plan_.sizes.is_constant(row); });
  SizeValues values(plan_.sizes);
  values.evaluate(all, {});
  size_t next = 0;
  for (uint32_t index = 0; index < buffers; ++index) {
    const Buffer& buffer = plan_.buffers[index];
    auto [backend, is_new] = found.try_emplace(buffer.backend, nullptr);
    if (is_new) backend->second = Registry::instance().get(buffer.backend);
    memory_[index] = backend->second->host_memory ? nullptr : backend->second;
    if (memory_[index] && (buffer.kind == Kind::Input || buffer.kind == Kind::Output)) {
      throw Error(PF_UNIMPLEMENTED,
                  text("buffer ", index, ": inputs and outputs are host memory, not ", buffer.backend));
    }
    auto space = std::find(spaces_.begin(), spaces_.end(), memory_[index]);
    space_[index] = static_cast<uint32_t>(space - spaces_.begin());
    if (space == spaces_.end()) spaces_.push_back(memory_[index]);
    if (buffer.kind != Kind::Constant) continue;
    if (next == constants.size()) {
      throw Error(PF_INVALID_ARGUMENT,
                  text("the plan has more constants than the ", constants.size(), " that came with it"));
    }
    const Constant& constant = constants[next++];
    int64_t bytes;
    if (constant.dtype != buffer.dtype ||
        __builtin_mul_overflow(values[buffer.elements], dtype_bytes(buffer.dtype), &bytes) ||
        bytes != static_cast<int64_t>(constant.bytes)) {
      throw Error(PF_INVALID_ARGUMENT,
                  text("constant ", next - 1, " is ", constant.bytes, " bytes of ", dtype_name(constant.dtype),
                       "; the plan expects ", values[buffer.elements], " elements of ", dtype_name(buffer.dtype)));
    }
    constants_[index] = const_cast<void*>(constant.data);
    if (memory_[index]) {
      Memory& copy = device_constants_.emplace_back(memory_[index], constant.bytes);
      copy_memory(memory_[index], copy.data(), nullptr, constant.data, constant.bytes);
      constants_[index] = copy.data();
    }
  }
  if (next != constants.size()) {
    throw Error(PF_INVALID_ARGUMENT, text("the plan has ", next, " constants; got ", constants.size()));
  }
}

void Model::cut(uint32_t index) {
  const std::vector<Step>& steps = plan_.bodies[index];
  Body& body = bodies_[index];
  body.tables.reserve(steps.size());
  for (const Step& step : steps) {
    body.tables.emplace_back(step, plan_.sizes);
    body.steps.push_back(body.tables.back().step);
  }
  for (uint32_t at = 0; at < steps.size();) {
    Item item{};
    item.action = steps[at].action;
    item.first = at++;
    if (item.action == Action::Kernel) {
      const std::string& name = steps[item.first].backend;
      item.backend = Registry::instance().get(name);
      while (steps[at - 1].defines.empty() && at < steps.size() && steps[at].action == Action::Kernel &&
             steps[at].backend == name && !redefines(steps, item.first, at)) {
        ++at;
      }
    }
    item.count = at - item.first;
    seal(steps, item);
    item.segment = {static_cast<int32_t>(item.count), body.steps.data() + item.first};
    body.items.push_back(std::move(item));
  }
}

bool Model::redefines(const std::vector<Step>& steps, uint32_t first, uint32_t at) const {
  if (steps[at].defines.empty()) return false;
  std::vector<Row> rows;
  for (uint32_t step = first; step < at; ++step) step_rows(steps[step], rows);
  const std::vector<uint32_t> used = plan_.sizes.late_symbols(plan_.sizes.closure(rows));
  return std::any_of(used.begin(), used.end(), [&](uint32_t symbol) {
    return std::find(steps[at].defines.begin(), steps[at].defines.end(), symbol) != steps[at].defines.end();
  });
}

void Model::seal(const std::vector<Step>& steps, Item& item) {
  std::vector<Row> rows;
  for (uint32_t step = item.first; step < item.first + item.count; ++step) step_rows(steps[step], rows);
  for (uint32_t step = item.first; step < item.first + item.count; ++step) {
    for (const View& view : steps[step].outputs) {
      if (is_late(view.buffer)) item.grows.push_back(view.buffer);
    }
  }
  sort_unique(item.grows);
  for (uint32_t buffer : item.grows) rows.push_back(plan_.buffers[buffer].elements);
  item.defines = steps[item.first + item.count - 1].defines;
  for (uint32_t symbol : item.defines) {
    const int32_t bound = plan_.sizes.symbols[symbol].bound;
    if (bound >= 0) rows.push_back(static_cast<Row>(bound));
  }
  item.rows = plan_.sizes.closure(rows);
  item.waits = plan_.sizes.late_symbols(item.rows);
  std::erase_if(item.waits, [&](uint32_t symbol) {
    return std::find(item.defines.begin(), item.defines.end(), symbol) != item.defines.end();
  });
}

void Model::prepare() {
  try {
    for (uint32_t index = 0; index < bodies_.size(); ++index) {
      for (Item& item : bodies_[index].items) {
        if (item.action != Action::Kernel) continue;
        for (uint32_t step = item.first; step < item.first + item.count; ++step) {
          std::string why;
          if (!backend_supports(item.backend, bodies_[index].steps[step], &why)) {
            fail_step(*this, index, step, PF_UNIMPLEMENTED, why);
          }
        }
        pf_error error{-1, ""};
        void* prepared = nullptr;
        const pf_code code = item.backend->prepare(item.backend->self, &item.segment, &prepared, &error);
        if (code != PF_OK) fail_step(*this, index, item.first + std::max(error.step, 0), code, error.message);
        item.prepared = prepared;
      }
    }
  } catch (...) {
    unprepare();
    throw;
  }
}

void Model::unprepare() {
  for (Body& body : bodies_) {
    for (Item& item : body.items) {
      if (item.prepared && item.backend->unprepare) item.backend->unprepare(item.backend->self, item.prepared);
      item.prepared = nullptr;
    }
  }
}

Root Model::root(uint32_t body) const {
  Root result;
  result.bodies = plan_.reachable(body);
  std::vector<Row> rows;
  for (uint32_t each : result.bodies) {
    for (const Item& item : bodies_[each].items) rows.insert(rows.end(), item.rows.begin(), item.rows.end());
    for (const Step& step : plan_.bodies[each]) {
      for (const View& view : step.inputs) result.buffers.push_back(view.buffer);
      for (const View& view : step.outputs) result.buffers.push_back(view.buffer);
    }
  }
  sort_unique(result.buffers);
  std::copy_if(result.buffers.begin(), result.buffers.end(), std::back_inserter(result.grows),
               [this](uint32_t buffer) { return is_late(buffer); });
  for (uint32_t buffer : result.buffers) rows.push_back(plan_.buffers[buffer].elements);
  result.rows = plan_.sizes.closure(rows);
  result.late = plan_.sizes.late_symbols(result.rows);
  return result;
}

void Model::describe(const Entry& entry) {
  EntryInfo info;
  info.root = root(entry.body);
  std::vector<uint32_t>& buffers = info.root.buffers;
  std::vector<Row> rows = info.root.rows, last;
  info.input_dims = 0;
  for (const Port& port : entry.inputs) {
    buffers.push_back(port.view.buffer);
    view_rows(port.view, rows);
    info.input_dims += port.view.dims.size();
  }
  std::vector<uint8_t> taken(plan_.buffers.size());
  for (const Port& port : entry.outputs) {
    buffers.push_back(port.view.buffer);
    view_rows(port.view, last);
    last.push_back(plan_.buffers[port.view.buffer].elements);
    info.direct.push_back(plan_.buffers[port.view.buffer].kind == Kind::Output && !taken[port.view.buffer]++);
  }
  for (const Commit& commit : entry.commits) {
    buffers.push_back(commit.variable);
    buffers.push_back(commit.source.buffer);
    view_rows(commit.source, last);
    last.push_back(plan_.buffers[commit.source.buffer].elements);
    info.written.push_back(commit.variable);
  }
  for (uint32_t index = 0; index < entry.checks.size(); ++index) {
    const Check& check = entry.checks[index];
    rows.insert(rows.end(), {check.left, check.right});
    if (plan_.sizes.is_late(check.left) || plan_.sizes.is_late(check.right)) info.late_checks.push_back(index);
  }
  for (uint32_t body : info.root.bodies) {
    for (const Step& step : plan_.bodies[body]) {
      for (const View& view : step.outputs) {
        if (plan_.buffers[view.buffer].kind == Kind::Variable) info.in_place.push_back(view.buffer);
      }
    }
  }
  info.written.insert(info.written.end(), info.in_place.begin(), info.in_place.end());
  sort_unique(info.in_place);
  sort_unique(info.written);
  sort_unique(buffers);
  for (uint32_t buffer : buffers) rows.push_back(plan_.buffers[buffer].elements);
  rows.insert(rows.end(), last.begin(), last.end());
  info.root.rows = plan_.sizes.closure(rows);
  info.root.late = plan_.sizes.late_symbols(info.root.rows);
  info.late_rows = plan_.sizes.closure(last);
  if (plan_.sizes.late_symbols(info.late_rows).empty() && info.late_checks.empty()) info.late_rows.clear();
  for (const Prepare& prepare : entry.prepares) info.prepares.push_back(root(prepare.body));
  entries_.push_back(std::move(info));
}

std::shared_ptr<Instance> Model::instance(const std::shared_ptr<State>& state) {
  std::lock_guard lock(mutex_);
  std::erase_if(instances_, [](const auto& each) { return each.second.expired(); });
  std::weak_ptr<Instance>& known = instances_[state.get()];
  std::shared_ptr<Instance> result = known.lock();
  if (!result) known = result = std::make_shared<Instance>(shared_from_this(), state);
  return result;
}

void fail_step(const Model& model, uint32_t body, uint32_t step, pf_code code, const std::string& message) {
  const Step& source = model.plan().bodies[body][step];
  std::string full = message.starts_with("[") ? message : text("[", source.kernel, "] ", message);
  if (!source.origin.empty()) {
    const size_t line = std::min(full.find('\n'), full.size());
    full.insert(line, text("   (", source.origin, ")"));
  }
  throw Error(code, full, model.body(body).first_step + step);
}

}  // namespace pf
