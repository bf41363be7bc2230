#include "python/errors.h"

#include "python/host_backend.h"

namespace py = pybind11;

namespace pf {

namespace {

struct Row {
  pf_code code;
  const char* name;
};

constexpr Row kClasses[] = {{PF_INVALID_ARGUMENT, "InvalidArgumentError"},
                            {PF_OUT_OF_RANGE, "OutOfRangeError"},
                            {PF_FAILED_PRECONDITION, "FailedPreconditionError"},
                            {PF_NOT_FOUND, "NotFoundError"},
                            {PF_UNIMPLEMENTED, "UnimplementedError"},
                            {PF_RESOURCE_EXHAUSTED, "ResourceExhaustedError"},
                            {PF_DEADLINE_EXCEEDED, "DeadlineExceededError"},
                            {PF_CANCELLED, "CancelledError"},
                            {PF_DATA_LOSS, "DataLossError"},
                            {PF_INTERNAL, "InternalError"}};

const char* class_name(pf_code code) {
  for (const Row& row : kClasses) {
    if (row.code == code) return row.name;
  }
  return "InternalError";
}

}  // namespace

py::object make_exception(const Error& error, py::object cause) {
  const py::object made = py::module_::import("pyflow.errors").attr(class_name(error.code()))(error.message());
  if (cause) {
    PyException_SetCause(made.ptr(), cause.inc_ref().ptr());
  }
  return made;
}

pf_code code_of_exception(PyObject* exception) {
  const py::object errors = py::module_::import("pyflow.errors");
  for (const Row& row : kClasses) {
    if (PyObject_IsInstance(exception, errors.attr(row.name).ptr()) == 1) return row.code;
  }
  const std::pair<PyObject*, pf_code> builtins[] = {
      {PyExc_IndexError, PF_OUT_OF_RANGE},           {PyExc_KeyError, PF_NOT_FOUND},
      {PyExc_ValueError, PF_INVALID_ARGUMENT},       {PyExc_TypeError, PF_INVALID_ARGUMENT},
      {PyExc_NotImplementedError, PF_UNIMPLEMENTED}, {PyExc_MemoryError, PF_RESOURCE_EXHAUSTED},
      {PyExc_TimeoutError, PF_DEADLINE_EXCEEDED},    {PyExc_StopIteration, PF_OUT_OF_RANGE}};
  for (const auto& [type, code] : builtins) {
    if (PyErr_GivenExceptionMatches(exception, type)) return code;
  }
  return PF_FAILED_PRECONDITION;
}

void set_exception(const py::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
}

void raise_error(const Error& error) {
  const StepException kept = take_exception();
  set_exception(kept.value && kept.raise_as_is ? kept.value : make_exception(error, kept.value));
}

void register_errors() {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise_error(error);
    }
  });
}

}  // namespace pf
