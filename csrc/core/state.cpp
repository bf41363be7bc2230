#include "core/state.h"

#include "core/dtype.h"
#include "core/status.h"

namespace pf {

namespace {

thread_local StateLock* innermost = nullptr;

std::string type_text(int32_t dtype, std::span<const int64_t> dims) {
  std::string result = text(dtype_name(dtype), "[");
  for (size_t axis = 0; axis < dims.size(); ++axis) result += (axis ? "," : "") + std::to_string(dims[axis]);
  return result + "]";
}

size_t bytes_of(const std::string& name, int32_t dtype, std::span<const int64_t> dims) {
  int64_t bytes = dtype_bytes(dtype);
  for (int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
      throw Error(PF_INVALID_ARGUMENT,
                  text("variable '", name, "': ", type_text(dtype, dims), " is no size in memory"));
    }
  }
  return static_cast<size_t>(bytes);
}

}  // namespace

size_t Variable::bytes() const {
  return bytes_of(name, dtype, dims);
}

std::shared_ptr<Variable> State::declare(const std::string& name, int32_t dtype, std::span<const int64_t> dims,
                                         const pf_backend* backend) {
  if (!is_dtype(dtype))
    throw Error(PF_INVALID_ARGUMENT, text("variable '", name, "': dtype code ", dtype, " is unknown"));
  std::lock_guard lock(table_mutex_);
  auto found = table_.find(name);
  if (found != table_.end()) {
    const Variable& variable = *found->second;
    if (variable.dtype != dtype || !std::equal(dims.begin(), dims.end(), variable.dims.begin(), variable.dims.end())) {
      throw Error(PF_INVALID_ARGUMENT, text("variable '", name, "' is ", type_text(variable.dtype, variable.dims),
                                            "; got ", type_text(dtype, dims), "; use another name or another State"));
    }
    return found->second;
  }
  auto variable = std::make_shared<Variable>();
  variable->name = name;
  variable->dtype = dtype;
  variable->dims.assign(dims.begin(), dims.end());
  variable->memory = Memory(backend, bytes_of(name, dtype, dims));
  return table_[name] = std::move(variable);
}

std::shared_ptr<Variable> State::find(const std::string& name) const {
  std::lock_guard lock(table_mutex_);
  auto found = table_.find(name);
  return found == table_.end() ? nullptr : found->second;
}

std::vector<std::string> State::names() const {
  std::lock_guard lock(table_mutex_);
  std::vector<std::string> result;
  for (const auto& [name, variable] : table_) result.push_back(name);
  return result;
}

void State::set(Variable& variable, const void* data) {
  copy_memory(variable.memory.backend(), variable.memory.data(), nullptr, data, variable.bytes());
  wrote(variable);
}

void State::get(const Variable& variable, void* data) const {
  if (!variable.initialised) {
    throw Error(PF_FAILED_PRECONDITION, text("variable '", variable.name,
                                             "' has no value yet; run pf.global_variables_initializer(), restore a "
                                             "checkpoint, or use Session(auto_init=True)"));
  }
  copy_memory(nullptr, data, variable.memory.backend(), variable.memory.data(), variable.bytes());
}

void State::wrote(Variable& variable) {
  variable.initialised = true;
  ++variable.writes;
  epoch_.fetch_add(1, std::memory_order_acq_rel);
}

StateLock::StateLock(State& state, bool writes) : state_(state), writes_(writes) {
  for (StateLock* lock = innermost; lock; lock = lock->outer_) {
    if (&lock->state_ == &state) {
      throw Error(PF_FAILED_PRECONDITION,
                  "a step of a run cannot use the State of that run; pass the value to the step as "
                  "an input, or give the inner run its own State");
    }
  }
  owns_ = writes ? state.mutex_.try_lock() : state.mutex_.try_lock_shared();
  if (owns_) held();
}

void StateLock::wait() {
  if (owns_) return;
  if (writes_) {
    state_.mutex_.lock();
  } else {
    state_.mutex_.lock_shared();
  }
  owns_ = true;
  held();
}

void StateLock::held() {
  outer_ = innermost;
  innermost = this;
}

StateLock::~StateLock() {
  if (!owns_) return;
  innermost = outer_;
  if (writes_) {
    state_.mutex_.unlock();
  } else {
    state_.mutex_.unlock_shared();
  }
}

}  // namespace pf
