#include "python/observer.h"

#include <time.h>

#include "python/arrays.h"
#include "python/host_backend.h"

namespace py = pybind11;

namespace pf {

namespace {

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

pf_code PythonObserver::before(void* self, int64_t, bool, const pf_call*, pf_error*) {
  static_cast<PythonObserver*>(self)->begin_ = now();
  return PF_OK;
}

pf_code PythonObserver::after(void* self, int64_t step, bool on_host, const pf_call* call, pf_error* error) {
  const int64_t end = now();
  auto& observer = *static_cast<PythonObserver*>(self);
  const PyGILState_STATE state = PyGILState_Ensure();
  pf_code code = PF_OK;
  try {
    py::tuple inputs, outputs;
    if (on_host) {
      inputs = view_arrays(call->inputs, call->step->ninputs, false);
      outputs = view_arrays(call->outputs, call->step->noutputs, false);
    }
    observer.function_(step, call->step->kernel, call->step->origin, inputs, outputs, observer.begin_, end);
  } catch (py::error_already_set& raised) {
    raised.restore();
    code = keep_exception(true, error);
  }
  PyGILState_Release(state);
  return code;
}

}  // namespace pf
