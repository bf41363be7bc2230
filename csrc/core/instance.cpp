#include "core/instance.h"

#include "core/dtype.h"
#include "core/executor.h"
#include "core/status.h"

namespace pf {

namespace {

// The dims of a variable that nobody declared: those of the first view that is all of it, else flat.
std::vector<int64_t> dims_in_plan(const Plan& plan, const SizeValues& values, uint32_t buffer) {
  const int64_t elements = values[plan.buffers[buffer].elements];
  std::vector<int64_t> result{elements};
  bool found = false;
  auto look = [&](const View& view) {
    if (found || view.buffer != buffer || !values.known(view.offset) || values[view.offset] != 0) return;
    std::vector<int64_t> dims(view.dims.size());
    int64_t expected = 1;
    for (size_t axis = dims.size(); axis-- > 0;) {
      if (!values.known(view.dims[axis]) || !values.known(view.strides[axis])) return;
      dims[axis] = values[view.dims[axis]];
      if (dims[axis] != 1 && values[view.strides[axis]] != expected) return;
      if (__builtin_mul_overflow(expected, dims[axis], &expected)) return;
    }
    if (expected != elements) return;
    result = std::move(dims);
    found = true;
  };
  for (const auto& steps : plan.bodies) {
    for (const Step& step : steps) {
      for (const View& view : step.inputs) look(view);
      for (const View& view : step.outputs) look(view);
    }
  }
  return result;
}

}  // namespace

Instance::Instance(std::shared_ptr<const Model> model, std::shared_ptr<State> state)
    : model_(std::move(model)),
      state_(std::move(state)),
      variables_(model_->plan().buffers.size()),
      buffers_(model_->plan().buffers.size()),
      made_(model_->plan().bodies.size()),
      epochs_(model_->plan().entries.size()) {
  const Plan& plan = model_->plan();
  std::vector<Row> fixed;
  for (Row row = 0; row < plan.sizes.rows.size(); ++row) {
    if (plan.sizes.is_constant(row)) fixed.push_back(row);
  }
  SizeValues values(plan.sizes);
  values.evaluate(fixed, {});
  for (uint32_t index = 0; index < plan.buffers.size(); ++index) {
    const Buffer& buffer = plan.buffers[index];
    if (buffer.kind == Kind::Constant) buffers_[index] = model_->constant(index);
    if (buffer.kind != Kind::Variable && buffer.kind != Kind::Prepared) continue;
    int64_t bytes;
    if (__builtin_mul_overflow(values[buffer.elements], dtype_bytes(buffer.dtype), &bytes) || bytes < 0) {
      throw Error(PF_DATA_LOSS, text("the plan is not valid: buffer ", index, " has no size in memory"));
    }
    if (buffer.kind == Kind::Prepared) {
      buffers_[index] = prepared_.emplace_back(model_->memory_of(index), bytes).data();
      continue;
    }
    std::shared_ptr<Variable> variable = state_->find(buffer.name);
    if (!variable) {
      variable =
          state_->declare(buffer.name, buffer.dtype, dims_in_plan(plan, values, index), model_->memory_of(index));
    }
    if (variable->dtype != buffer.dtype || variable->bytes() != static_cast<size_t>(bytes)) {
      throw Error(PF_INVALID_ARGUMENT,
                  text("variable '", buffer.name, "' is ", variable->bytes(), " bytes of ", dtype_name(variable->dtype),
                       "; the plan expects ", values[buffer.elements], " elements of ", dtype_name(buffer.dtype)));
    }
    if (variable->memory.backend() != model_->memory_of(index)) {
      throw Error(PF_INVALID_ARGUMENT,
                  text("variable '", buffer.name, "' lives in another memory than ", buffer.backend, "'s"));
    }
    buffers_[index] = variable->memory.data();
    variables_[index] = std::move(variable);
  }
}

void Instance::require(uint32_t buffer) const {
  const Variable& variable = *variables_[buffer];
  if (variable.initialised) return;
  throw Error(PF_FAILED_PRECONDITION, text("variable '", variable.name,
                                           "' has no value yet; run pf.global_variables_initializer(), restore a "
                                           "checkpoint, or use Session(auto_init=True)"));
}

bool Instance::is_current(const Prepare& prepare) const {
  const Made& made = made_[prepare.body];
  if (!made.done) return false;
  for (size_t index = 0; index < prepare.sources.size(); ++index) {
    if (made.writes[index] != variables_[prepare.sources[index]]->writes) return false;
  }
  return true;
}

bool Instance::is_stale(uint32_t entry) const {
  return !model_->plan().entries[entry].prepares.empty() && epochs_[entry].load() != state_->epoch();
}

void Instance::prepare(uint32_t index, const Request& request) {
  const uint64_t epoch = state_->epoch();
  if (epochs_[index].load() == epoch) return;
  const Entry& entry = model_->plan().entries[index];
  for (uint32_t buffer : entry.reads) require(buffer);
  if (!entry.prepares.empty()) {
    std::lock_guard lock(mutex_);
    for (size_t each = 0; each < entry.prepares.size(); ++each) {
      const Prepare& prepare = entry.prepares[each];
      if (is_current(prepare)) continue;
      for (uint32_t buffer : prepare.sources) require(buffer);
      run_prepare(*this, model_->entry(index).prepares[each], request);
      Made& made = made_[prepare.body];
      made.writes.clear();
      for (uint32_t buffer : prepare.sources) made.writes.push_back(variables_[buffer]->writes);
      made.done = true;
    }
  }
  epochs_[index].store(epoch);
}

}  // namespace pf
