// Backends whose steps call a Python function: `host` (callbacks, prints) and `ref` (numpy).
#ifndef PYFLOW_PYTHON_HOST_BACKEND_H
#define PYFLOW_PYTHON_HOST_BACKEND_H

#include <pybind11/pybind11.h>

#include <string>

#include "pyflow/backend.h"

namespace pf {

// The exception that a Python function raised in a step of this thread's run, kept so that it can be chained.
struct StepException {
  pybind11::object value;
  bool raise_as_is = false;  // an observer's, or no Exception (KeyboardInterrupt)
};

// Keeps the current Python error and describes it in `error`. Needs the GIL.
pf_code keep_exception(bool raise_as_is, pf_error* error);
// Takes what was kept, if anything. Needs the GIL.
StepException take_exception();

void register_host_backend(const std::string& name, pybind11::object supports, pybind11::object run);

}  // namespace pf

#endif
