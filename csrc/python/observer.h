// A Python callable that is told of every step: (step, kernel, origin, inputs, outputs, begin, end).
#ifndef PYFLOW_PYTHON_OBSERVER_H
#define PYFLOW_PYTHON_OBSERVER_H

#include <pybind11/pybind11.h>

#include "core/executor.h"

namespace pf {

// The arrays are views of the run's memory, right only during the call; times are CLOCK_MONOTONIC nanoseconds. What it
// raises stops the run and is raised as it is.
class PythonObserver {
 public:
  explicit PythonObserver(pybind11::object function) : function_(std::move(function)), observer_{this, before, after} {}
  PythonObserver(const PythonObserver&) = delete;
  PythonObserver& operator=(const PythonObserver&) = delete;

  const StepObserver* get() const { return &observer_; }

 private:
  static pf_code before(void* self, int64_t step, bool on_host, const pf_call* call, pf_error* error);
  static pf_code after(void* self, int64_t step, bool on_host, const pf_call* call, pf_error* error);

  pybind11::object function_;
  StepObserver observer_;
  int64_t begin_ = 0;
};

}  // namespace pf

#endif
