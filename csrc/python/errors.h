// Error -> the classes of pyflow.errors.
#ifndef PYFLOW_PYTHON_ERRORS_H
#define PYFLOW_PYTHON_ERRORS_H

#include <pybind11/pybind11.h>

#include "core/status.h"

namespace pf {

// A new exception of the code's class. `cause`, if any, becomes its __cause__.
pybind11::object make_exception(const Error& error, pybind11::object cause = {});

// The code that best says what a Python exception is.
pf_code code_of_exception(PyObject* exception);

void set_exception(const pybind11::object& exception);

// Raises an Error in Python, with what a Python function of the run raised as its cause.
void raise_error(const Error& error);

void register_errors();

}  // namespace pf

#endif
