// libpyflow for C++17, over pyflow.h: handles that release themselves, typed tensors, results that carry their status.
// Works with -fno-exceptions -fno-rtti; with exceptions, Result::value() throws pyflow::Error.
//
//   auto model = pyflow::Model::load("digits.plan").value();
//   auto state = model.new_state().value();
//   auto predict = state.new_context("predict").value();
//   pyflow::Status status = predict.run({pyflow::tensor(image, {1, 1, 8, 8})}, {pyflow::tensor(scores, {1, 10})});
#ifndef PYFLOW_PYFLOW_HPP
#define PYFLOW_PYFLOW_HPP

#include <initializer_list>
#include <memory>
#include <type_traits>
#include <utility>

#include "pyflow/pyflow.h"

#ifdef __cpp_exceptions
#include <stdexcept>
#endif

namespace pyflow {
inline namespace v1 {

#ifdef __cpp_exceptions
class Error : public std::runtime_error {
 public:
  Error(pf_code code, const char* message) : std::runtime_error(message), code_(code) {}
  pf_code code() const { return code_; }

 private:
  pf_code code_;
};
#endif

class [[nodiscard]] Status {
 public:
  Status() : status_{PF_OK, ""} {}
  explicit Status(const pf_status& status) : status_(status) {}

  bool ok() const { return status_.code == PF_OK; }
  explicit operator bool() const { return ok(); }
  pf_code code() const { return status_.code; }
  const char* message() const { return status_.message; }
#ifdef __cpp_exceptions
  // Throws Error unless all went well.
  void check() const {
    if (!ok()) throw Error(status_.code, status_.message);
  }
#endif

 private:
  pf_status status_;
};

// A value, or the status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(const Status& status) : status_(status) {}

  bool ok() const { return status_.ok(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }
  // Only of a result that is ok.
  T& operator*() { return value_; }
  T* operator->() { return &value_; }
#ifdef __cpp_exceptions
  // Throws Error if there is no value.
  T value() && {
    status_.check();
    return std::move(value_);
  }
#endif

 private:
  T value_;
  Status status_;
};

inline const pf_api* api() {
  return pf_get_api(PF_API_VERSION);
}

// The dtype of a C++ type.
template <typename T>
constexpr int32_t dtype_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, bool>) return PF_DTYPE_bool;
  if constexpr (std::is_same_v<U, int8_t>) return PF_DTYPE_int8;
  if constexpr (std::is_same_v<U, int16_t>) return PF_DTYPE_int16;
  if constexpr (std::is_same_v<U, int32_t>) return PF_DTYPE_int32;
  if constexpr (std::is_same_v<U, int64_t>) return PF_DTYPE_int64;
  if constexpr (std::is_same_v<U, uint8_t>) return PF_DTYPE_uint8;
  if constexpr (std::is_same_v<U, uint16_t>) return PF_DTYPE_uint16;
  if constexpr (std::is_same_v<U, uint32_t>) return PF_DTYPE_uint32;
  if constexpr (std::is_same_v<U, uint64_t>) return PF_DTYPE_uint64;
  if constexpr (std::is_same_v<U, float>) return PF_DTYPE_float32;
  if constexpr (std::is_same_v<U, double>) return PF_DTYPE_float64;
  return -1;
}

// A view of the caller's memory: row-major, without gaps. `data` may be nullptr for an output that stays in the
// context.
template <typename T>
pf_tensor tensor(T* data, std::initializer_list<int64_t> dims) {
  static_assert(dtype_of<T>() >= 0, "pyflow has no dtype for this type");
  pf_tensor result{};
  result.struct_size = sizeof(pf_tensor);
  result.dtype = dtype_of<T>();
  result.data = const_cast<std::remove_const_t<T>*>(data);
  result.bytes = sizeof(T);
  for (const int64_t dim : dims) {
    if (result.ndim < PF_MAX_NDIM) result.dims[result.ndim] = dim;
    ++result.ndim;
    result.bytes *= dim > 0 ? static_cast<size_t>(dim) : 0;
  }
  if (!data) result.bytes = 0;
  return result;
}

namespace detail {

struct Release {
  void operator()(pf_model* handle) const { api()->model_release(handle); }
  void operator()(pf_state* handle) const { api()->state_release(handle); }
  void operator()(pf_context* handle) const { api()->context_release(handle); }
};

template <typename T>
using Handle = std::unique_ptr<T, Release>;

}  // namespace detail

// One caller's memory for one entry; used by one thread at a time.
class Context {
 public:
  Context() = default;
  explicit Context(pf_context* handle) : handle_(handle) {}

  // Outputs land in the caller's memory; one whose data is nullptr stays here, with its dims filled in.
  Status run(const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs, int32_t noutputs,
             const pf_run_options* options = nullptr) {
    pf_status status;
    api()->context_run(handle_.get(), inputs, ninputs, outputs, noutputs, options, &status);
    return Status(status);
  }
  template <size_t N, size_t M>
  Status run(const pf_tensor (&inputs)[N], pf_tensor (&&outputs)[M], const pf_run_options* options = nullptr) {
    return run(inputs, N, outputs, M, options);
  }
  template <size_t N, size_t M>
  Status run(const pf_tensor (&inputs)[N], pf_tensor (&outputs)[M], const pf_run_options* options = nullptr) {
    return run(inputs, N, outputs, M, options);
  }
  // The outputs' dtypes, dims and bytes at the inputs' dims.
  Status bind(const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs, int32_t noutputs) {
    pf_status status;
    api()->context_bind(handle_.get(), inputs, ninputs, outputs, noutputs, &status);
    return Status(status);
  }
  // Copies an output that stayed here.
  Status output(int32_t index, void* data, size_t bytes) const {
    pf_status status;
    api()->context_output(handle_.get(), index, data, bytes, &status);
    return Status(status);
  }
  size_t bytes() const { return api()->context_bytes(handle_.get()); }
  pf_context* get() const { return handle_.get(); }

 private:
  detail::Handle<pf_context> handle_;
};

// The values of variables.
class State {
 public:
  State() = default;
  explicit State(pf_state* handle) : handle_(handle) {}

  Result<Context> new_context(const char* entry, const pf_context_options* options = nullptr) const {
    pf_status status;
    pf_context* context = nullptr;
    if (api()->context_create(handle_.get(), entry, options, &context, &status) != PF_OK) return Status(status);
    return Context(context);
  }
  Status reset() {
    pf_status status;
    api()->state_reset(handle_.get(), &status);
    return Status(status);
  }
  Status get(const char* variable, pf_tensor* tensor) const {
    pf_status status;
    api()->state_get(handle_.get(), variable, tensor, &status);
    return Status(status);
  }
  Status set(const char* variable, const pf_tensor& tensor) {
    pf_status status;
    api()->state_set(handle_.get(), variable, &tensor, &status);
    return Status(status);
  }
  Status save(const char* path) const {
    pf_status status;
    api()->state_save(handle_.get(), path, &status);
    return Status(status);
  }
  Status load(const char* path) {
    pf_status status;
    api()->state_load(handle_.get(), path, &status);
    return Status(status);
  }
  pf_state* get() const { return handle_.get(); }

 private:
  detail::Handle<pf_state> handle_;
};

// A saved plan: immutable, shared between threads.
class Model {
 public:
  Model() = default;
  explicit Model(pf_model* handle) : handle_(handle) {}

  static Result<Model> load(const char* path) {
    pf_status status;
    pf_model* model = nullptr;
    if (api()->model_load(path, &model, &status) != PF_OK) return Status(status);
    return Model(model);
  }
  static Result<Model> from_memory(const void* data, size_t bytes) {
    pf_status status;
    pf_model* model = nullptr;
    if (api()->model_from_memory(data, bytes, &model, &status) != PF_OK) return Status(status);
    return Model(model);
  }
  Result<State> new_state() const {
    pf_status status;
    pf_state* state = nullptr;
    if (api()->state_create(handle_.get(), &state, &status) != PF_OK) return Status(status);
    return State(state);
  }
  int32_t entries() const { return api()->model_entries(handle_.get()); }
  const pf_entry* entry(int32_t index) const { return api()->model_entry(handle_.get(), index); }
  const pf_entry* entry(const char* name) const { return api()->model_find_entry(handle_.get(), name); }
  int32_t variables() const { return api()->model_variables(handle_.get()); }
  const pf_port* variable(int32_t index) const { return api()->model_variable(handle_.get(), index); }
  pf_model* get() const { return handle_.get(); }

 private:
  detail::Handle<pf_model> handle_;
};

}  // namespace v1
}  // namespace pyflow

#endif
