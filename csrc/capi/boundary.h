// What every function of the C API does first and last: pointers, struct sizes and tensors checked, errors as codes.
#ifndef PYFLOW_CAPI_BOUNDARY_H
#define PYFLOW_CAPI_BOUNDARY_H

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "capi/loaded.h"
#include "core/status.h"
#include "pyflow/pyflow.h"

struct pf_model {
  std::shared_ptr<const pf::Loaded> loaded;
};

struct pf_state {
  std::shared_ptr<const pf::Loaded> loaded;
  std::shared_ptr<pf::State> state;
};

namespace pf {

inline pf_code report(pf_status* status, pf_code code, const char* message) {
  if (status) {
    status->code = code;
    std::snprintf(status->message, sizeof(status->message), "%s", message);
  }
  return code;
}

// Runs `body` and turns what it throws into a code.
template <typename Body>
pf_code guarded(pf_status* status, Body&& body) {
  try {
    body();
    return report(status, PF_OK, "");
  } catch (const Error& error) {
    return report(status, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return report(status, PF_RESOURCE_EXHAUSTED, "no memory left; use smaller sizes");
  } catch (const std::exception& error) {
    return report(status, PF_INTERNAL, error.what());
  } catch (...) {
    return report(status, PF_INTERNAL, "a function of the host threw; nothing may be thrown through libpyflow");
  }
}

inline void require(const void* pointer, const char* what) {
  if (!pointer) throw Error(PF_INVALID_ARGUMENT, text("expected ", what, ", got NULL"));
}

// Callers built with an older header give shorter structs; a struct of no size was never filled in.
template <typename Options>
Options options_of(const Options* given, const char* what) {
  Options result{};
  if (!given) return result;
  if (given->struct_size < sizeof(uint32_t) || given->struct_size > 4096) {
    throw Error(PF_INVALID_ARGUMENT, text(what, ".struct_size is ", given->struct_size, "; set it to sizeof"));
  }
  std::memcpy(&result, given, std::min<size_t>(given->struct_size, sizeof(Options)));
  return result;
}

// Throws Error for a tensor of another layout.
void check_tensor(const pf_tensor& tensor, const std::string& what);
// The bytes of an array that is given; throws Error unless they are there and aligned.
size_t check_data(const pf_tensor& tensor, const std::string& what);
void fill(pf_tensor* tensor, int32_t dtype, const std::vector<int64_t>& dims, size_t bytes);
// "float32[2,3]"
std::string shown(int32_t dtype, const int64_t* dims, int32_t ndim);

// The rows of the table that are about contexts.
void add_context_functions(pf_api* api);

}  // namespace pf

#endif
