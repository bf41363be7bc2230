// numpy arrays as the core sees them. All need the GIL.
#ifndef PYFLOW_PYTHON_ARRAYS_H
#define PYFLOW_PYTHON_ARRAYS_H

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <span>
#include <string>
#include <vector>

#include "pyflow/backend.h"

namespace pf {

using ArrayFields = pybind11::detail::PyArray_Proxy;

// numpy's dtype object of what a pyflow dtype is in memory, borrowed; from pyflow.dtypes.
PyObject* numpy_dtype(int32_t code);
// The pyflow dtype of a numpy dtype object, -1 if it has none or another byte order.
int32_t dtype_code(PyObject* numpy_dtype);

inline ArrayFields* array_fields(PyObject* array) {
  return reinterpret_cast<ArrayFields*>(array);
}
bool is_array(PyObject* object);
// Exact class, this dtype, aligned and C-contiguous: what a feed must be.
bool is_plain_array(PyObject* object, PyObject* numpy_dtype);

// A new array of its own memory, and one on a view's memory; they throw error_already_set.
PyObject* new_array(int32_t dtype, std::span<const int64_t> dims);
pybind11::object view_array(const pf_view& view, bool writeable);
pybind11::tuple view_arrays(const pf_view* views, int32_t count, bool writeable);

// What came, for messages: `float32[4,8]`.
std::string describe_object(PyObject* object);

// Programs as Python sees them: (input dtype codes, [(op, dtype code, args, imm)], output registers) each.
pybind11::list encode_programs(const pf_step& step);

}  // namespace pf

#endif
