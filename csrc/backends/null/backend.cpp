// The smallest backend there is, to show what one is.
#include "backends/null/backend.h"

namespace pf {

namespace {

int32_t supports(void*, const pf_step*, char*, size_t) {
  return 1;
}

pf_code prepare(void*, const pf_segment*, void** prepared, pf_error*) {
  *prepared = nullptr;
  return PF_OK;
}

void unprepare(void*, void*) {}

pf_code bind(void*, void*, const pf_step_sizes*, void** bound, pf_needs* needs, pf_error*) {
  *bound = nullptr;
  *needs = {0, 0};
  return PF_OK;
}

void unbind(void*, void*) {}

pf_code run(void*, void*, const pf_run*, pf_error*) {
  return PF_OK;
}

}  // namespace

const pf_backend* null_backend() {
  static const pf_backend backend = {sizeof(pf_backend), PF_BACKEND_ABI, "null",  1,       nullptr,
                                     supports,           nullptr,        nullptr, nullptr, prepare,
                                     unprepare,          bind,           unbind,  run};
  return &backend;
}

}  // namespace pf
