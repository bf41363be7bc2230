#include "core/executor.h"

#include <time.h>

#include <algorithm>

#include "core/dtype.h"
#include "core/status.h"

namespace pf {

namespace {

constexpr size_t kKeptSizes = 8;
// Late buffers up to this size grow by more than they need, so that one that grows little by little rarely moves.
constexpr size_t kSpareBytes = size_t{1} << 28;

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

const pf_backend* allocator_of(const Request& request, const pf_backend* memory) {
  return memory ? memory : request.allocator;
}

// Numbers the steps of a segment over the whole plan before it tells the observer.
struct SegmentObserver {
  const StepObserver* observer;
  int64_t first;
  bool on_host;

  static pf_code before(void* self, int32_t step, const pf_call* call, pf_error* error) {
    auto* segment = static_cast<SegmentObserver*>(self);
    return segment->observer->before(segment->observer->self, segment->first + step, segment->on_host, call, error);
  }
  static pf_code after(void* self, int32_t step, const pf_call* call, pf_error* error) {
    auto* segment = static_cast<SegmentObserver*>(self);
    return segment->observer->after(segment->observer->self, segment->first + step, segment->on_host, call, error);
  }
};

// One walk over a bound root.
class Walk {
 public:
  // `checks`: those of an entry that late sizes must satisfy, nullptr for a prepare body.
  Walk(Binding& binding, const Request& request, Memory& scratch, std::vector<Memory>& late, const Entry* entry,
       const std::vector<uint32_t>* checks)
      : binding_(binding),
        model_(binding.model()),
        request_(request),
        scratch_(scratch),
        late_(late),
        entry_(entry),
        checks_(checks) {}

  // Steps of `body` after `last_cancellable` are neither cancelled nor timed out.
  void body(uint32_t body, int32_t last_cancellable) {
    const std::vector<Item>& items = model_.body(body).items;
    for (size_t index = 0; index < items.size(); ++index) {
      const Item& item = items[index];
      const bool cancellable = static_cast<int64_t>(item.first) <= last_cancellable;
      if (!item.waits.empty()) binding_.bind_late(body, index);
      for (uint32_t buffer : item.grows) grow(body, item.first, buffer);
      if (item.action == Action::Kernel) {
        segment(body, index, last_cancellable);
        continue;
      }
      if (cancellable) stop_if_asked(body, item.first);
      control(body, index, cancellable ? INT32_MAX : -1);
    }
  }

 private:
  // Makes the memory of a late buffer large enough. What it held is lost.
  void grow(uint32_t body, uint32_t step, uint32_t buffer) {
    const auto bytes = static_cast<size_t>(binding_.buffer_bytes(buffer));
    Memory& memory = late_[buffer];
    if (!memory.data() || memory.bytes() < bytes) {
      const size_t more = memory.bytes() < kSpareBytes ? memory.bytes() + memory.bytes() / 2 : 0;
      try {
        memory = Memory(allocator_of(request_, model_.memory_of(buffer)), std::max(bytes, more));
      } catch (const Error& error) {
        fail_step(model_, body, step, error.code(), error.message());
      }
    }
    binding_.buffers[buffer] = memory.data();
  }

  void stop_if_asked(uint32_t body, uint32_t step) const {
    if (request_.cancel && __atomic_load_n(request_.cancel, __ATOMIC_RELAXED)) {
      fail_step(model_, body, step, PF_CANCELLED, "the run was cancelled");
    }
    if (request_.deadline && now() >= request_.deadline) {
      fail_step(model_, body, step, PF_DEADLINE_EXCEEDED, "the run's deadline passed");
    }
  }

  void segment(uint32_t body, size_t index, int32_t last_cancellable) {
    const Item& item = model_.body(body).items[index];
    if (binding_.scratch() > scratch_.bytes()) scratch_ = Memory(request_.allocator, binding_.scratch());
    SegmentObserver observed{request_.observer, model_.body(body).first_step + item.first,
                             item.backend->host_memory != 0};
    const pf_observer observer{&observed, SegmentObserver::before, SegmentObserver::after};
    const int64_t last = std::max<int64_t>(int64_t{last_cancellable} - item.first, -1);
    const pf_run run{binding_.buffers.data(),
                     scratch_.data(),
                     request_.executor,
                     request_.cancel,
                     request_.deadline,
                     static_cast<int32_t>(std::min<int64_t>(last, INT32_MAX)),
                     request_.observer ? &observer : nullptr};
    pf_error error;
    error.step = -1;
    error.message[0] = '\0';
    const pf_code code = item.backend->run(item.backend->self, binding_.item(body, index).handle, &run, &error);
    if (code != PF_OK) {
      const uint32_t step = error.step < 0 ? 0 : std::min(static_cast<uint32_t>(error.step), item.count - 1);
      fail_step(model_, body, item.first + step, code, error.message);
    }
    if (item.defines.empty()) return;
    binding_.take_defines(body, index);
    check_late();
  }

  void control(uint32_t body_index, size_t index, int32_t last_cancellable) {
    const Item& item = model_.body(body_index).items[index];
    const Step& step = model_.plan().bodies[body_index][item.first];
    switch (item.action) {
      case Action::Call:
        return body(step.bodies[0], last_cancellable);
      case Action::If:
        return body(step.bodies[condition(body_index, index) ? 0 : 1], last_cancellable);
      case Action::While:
        for (;;) {
          body(step.bodies[0], last_cancellable);
          if (!condition(body_index, index)) return;
          if (last_cancellable >= 0) stop_if_asked(body_index, item.first);
          body(step.bodies[1], last_cancellable);
        }
      default:
        return transfer(body_index, index);
    }
  }

  bool condition(uint32_t body, size_t index) {
    const pf_place& place = binding_.item(body, index).sizes[0].inputs[0];
    uint8_t value = 0;
    copy_memory(nullptr, &value, model_.memory_of(place.buffer), address(place), 1);
    return value != 0;
  }

  void* address(const pf_place& place) const {
    return static_cast<char*>(binding_.buffers[place.buffer]) + place.offset;
  }

  void transfer(uint32_t body, size_t index) {
    const Item& item = model_.body(body).items[index];
    const Step& step = model_.plan().bodies[body][item.first];
    const pf_step_sizes& sizes = binding_.item(body, index).sizes[0];
    const pf_place &from = sizes.inputs[0], &to = sizes.outputs[0];
    int64_t bytes = dtype_bytes(step.inputs[0].dtype);
    for (size_t axis = step.inputs[0].dims.size(); axis-- > 0;) {
      const bool contiguous = from.dims[axis] <= 1 || (from.strides[axis] == to.strides[axis] &&
                                                       from.strides[axis] * dtype_bytes(step.inputs[0].dtype) == bytes);
      if (from.dims[axis] != to.dims[axis] || (!contiguous && bytes != 0)) {
        fail_step(model_, body, item.first, PF_INVALID_ARGUMENT, "expected contiguous operands of equal dims");
      }
      bytes *= from.dims[axis];
    }
    const bool on_host = !model_.memory_of(from.buffer) && !model_.memory_of(to.buffer);
    const StepObserver* observer = request_.observer;
    const int64_t number = model_.body(body).first_step + item.first;
    const pf_operand operand{step.inputs[0].dtype, static_cast<int32_t>(step.inputs[0].dims.size())};
    const pf_view views[2] = {{address(from), from.dims, from.strides, operand.ndim, operand.dtype},
                              {address(to), to.dims, to.strides, operand.ndim, operand.dtype}};
    const pf_call call{&model_.body(body).steps[item.first], &views[0], &views[1], nullptr, nullptr, nullptr};
    auto tell = [&](pf_code (*told)(void*, int64_t, bool, const pf_call*, pf_error*)) {
      pf_error error{-1, ""};
      const pf_code code = told(observer->self, number, on_host, &call, &error);
      if (code != PF_OK) fail_step(model_, body, item.first, code, error.message);
    };
    if (observer) tell(observer->before);
    try {
      copy_memory(model_.memory_of(to.buffer), views[1].data, model_.memory_of(from.buffer), views[0].data, bytes);
    } catch (const Error& error) {
      fail_step(model_, body, item.first, error.code(), error.message());
    }
    if (observer) tell(observer->after);
  }

  void check_late() {
    if (!checks_ || checks_->empty()) return;
    const SizeTable& sizes = model_.plan().sizes;
    for (uint32_t index : *checks_) {
      const Check& check = entry_->checks[index];
      const Row sides[] = {check.left, check.right};
      const std::vector<Row> rows = sizes.closure(sides);
      const std::vector<uint32_t> symbols = sizes.late_symbols(rows);
      if (!std::all_of(symbols.begin(), symbols.end(), [this](uint32_t symbol) { return binding_.knows(symbol); }))
        continue;
      binding_.evaluate(rows);
      const int64_t left = binding_.size(check.left), right = binding_.size(check.right);
      if (left != right) fail_check(check, left, right);
    }
  }

  Binding& binding_;
  const Model& model_;
  const Request& request_;
  Memory& scratch_;
  std::vector<Memory>& late_;
  const Entry* entry_;
  const std::vector<uint32_t>* checks_;
};

// Makes the temporaries' memory large enough and tells the binding where its buffers are.
void place_buffers(Binding& binding, const Instance& instance, const Request& request, std::vector<Memory>& spaces,
                   std::vector<Memory>& late) {
  const Model& model = binding.model();
  spaces.resize(model.spaces().size());
  late.resize(model.plan().buffers.size());
  for (uint32_t buffer : binding.root().grows) binding.buffers[buffer] = late[buffer].data();
  bool moved = binding.bases.size() != spaces.size();
  binding.bases.resize(spaces.size());
  for (size_t space = 0; space < spaces.size(); ++space) {
    const auto bytes = static_cast<size_t>(binding.space_bytes()[space]);
    if (!spaces[space].data() || spaces[space].bytes() < bytes) {
      spaces[space] = Memory();
      spaces[space] = Memory(allocator_of(request, model.spaces()[space]), bytes);
    }
    moved |= binding.bases[space] != spaces[space].data();
    binding.bases[space] = spaces[space].data();
  }
  if (!moved) return;
  for (uint32_t buffer : binding.root().buffers) {
    if (model.is_late(buffer)) continue;
    binding.buffers[buffer] =
        model.plan().buffers[buffer].kind == Kind::Temporary
            ? static_cast<char*>(spaces[model.space_of(buffer)].data()) + binding.buffer_offset(buffer)
            : instance.buffers()[buffer];
  }
}

}  // namespace

void run_prepare(const Instance& instance, const Root& root, const Request& request) {
  const std::vector<SymbolValue> symbols(instance.model().plan().sizes.symbols.size());
  Binding binding(instance.model(), root, symbols);
  std::vector<Memory> spaces, late;
  Memory scratch(request.allocator, binding.scratch());
  place_buffers(binding, instance, request, spaces, late);
  Walk(binding, request, scratch, late, nullptr, nullptr).body(root.bodies[0], INT32_MAX);
}

BoundEntry& Context::bind(std::span<const int64_t> dims) {
  for (auto each = bindings_.begin(); each != bindings_.end(); ++each) {
    if (std::equal(dims.begin(), dims.end(), each->input_dims.begin(), each->input_dims.end())) {
      if (each != bindings_.begin()) bindings_.splice(bindings_.begin(), bindings_, each);
      return bindings_.front();
    }
  }
  const Model& model = instance_->model();
  const std::vector<SymbolValue> symbols = solve_symbols(model, entry_, dims);
  bindings_.emplace_front(model, entry_, dims, symbols);
  if (bindings_.size() > kKeptSizes) bindings_.pop_back();
  ++binds_;
  return bindings_.front();
}

void Context::run(BoundEntry& bound, const Request& request) {
  instance_->prepare(entry_, request);
  Binding& binding = bound.binding;
  const Model& model = instance_->model();
  const Entry& entry = model.plan().entries[entry_];
  const EntryInfo& info = model.entry(entry_);
  place_buffers(binding, *instance_, request, spaces_, late_);
  for (size_t index = 0; index < entry.inputs.size(); ++index) {
    binding.buffers[entry.inputs[index].view.buffer] = request.inputs[index];
  }
  for (size_t index = 0; index < entry.outputs.size(); ++index) {
    if (info.direct[index]) binding.buffers[entry.outputs[index].view.buffer] = request.outputs[index];
  }
  if (!info.root.late.empty()) binding.forget_late();
  State& state = instance_->state();
  try {
    Walk(binding, request, scratch_, late_, &entry, &info.late_checks).body(entry.body, entry.last_cancellable);
    if (!info.late_rows.empty()) {
      binding.evaluate(info.late_rows);
      bound.place(entry_, true);
    }
    commit(bound);
  } catch (...) {
    // A step may have written a variable in place before it failed.
    for (uint32_t buffer : info.in_place) {
      Variable& variable = instance_->variable(buffer);
      if (variable.initialised) state.wrote(variable);
    }
    throw;
  }
  for (uint32_t buffer : info.written) state.wrote(instance_->variable(buffer));
}

void Context::commit(BoundEntry& bound) {
  const Model& model = instance_->model();
  const Entry& entry = model.plan().entries[entry_];
  for (size_t index = 0; index < entry.commits.size(); ++index) {
    const Variable& variable = instance_->variable(entry.commits[index].variable);
    if (static_cast<size_t>(bound.commits[index].bytes) != variable.bytes()) {
      throw Error(PF_INVALID_ARGUMENT, text("variable '", variable.name, "' holds ", variable.bytes(),
                                            " bytes; the value for it has ", bound.commits[index].bytes));
    }
  }
  for (size_t index = 0; index < entry.commits.size(); ++index) {
    const View& source = entry.commits[index].source;
    const BoundView& view = bound.commits[index];
    Variable& variable = instance_->variable(entry.commits[index].variable);
    const char* from = static_cast<const char*>(bound.binding.buffers[source.buffer]) + view.offset;
    if (view.contiguous) {
      copy_memory(variable.memory.backend(), variable.memory.data(), model.memory_of(source.buffer), from, view.bytes);
    } else {
      pack_view(variable.memory.data(), from, static_cast<int32_t>(view.dims.size()), view.dims.data(),
                view.strides.data(), dtype_bytes(source.dtype));
    }
  }
}

void Context::copy_output(const BoundEntry& bound, size_t index, void* to) const {
  const View& source = instance_->model().plan().entries[entry_].outputs[index].view;
  const BoundView& view = bound.outputs[index];
  const char* from = static_cast<const char*>(bound.binding.buffers[source.buffer]) + view.offset;
  if (view.contiguous) {
    copy_memory(nullptr, to, instance_->model().memory_of(source.buffer), from, view.bytes);
  } else {
    pack_view(to, from, static_cast<int32_t>(view.dims.size()), view.dims.data(), view.strides.data(),
              dtype_bytes(source.dtype));
  }
}

MemoryPlan Context::memory_plan(std::span<const int64_t> dims) {
  const Binding& binding = bind(dims).binding;
  const Model& model = instance_->model();
  MemoryPlan result;
  for (size_t space = 0; space < model.spaces().size(); ++space) {
    const pf_backend* backend = model.spaces()[space];
    result.spaces.emplace_back(backend ? backend->name : "host", binding.space_bytes()[space]);
  }
  result.scratch = static_cast<int64_t>(binding.scratch());
  for (uint32_t buffer : binding.root().buffers) {
    const bool late = model.is_late(buffer);
    result.buffers.push_back({buffer, late ? 0 : binding.buffer_bytes(buffer), binding.buffer_offset(buffer), late});
  }
  return result;
}

}  // namespace pf
