// The Python type of Callable, by slots.
#include <pybind11/pybind11.h>
#include <structmember.h>

#include "python/callable.h"
#include "python/errors.h"

namespace py = pybind11;

namespace pf {

namespace {

struct Object {
  PyObject_HEAD vectorcallfunc vectorcall;
  Callable* callable;
};

Callable& callable_of(PyObject* self) {
  return *reinterpret_cast<Object*>(self)->callable;
}

// Runs `body`; turns what it throws into a Python error and nullptr.
template <typename Body>
PyObject* guarded(Body&& body) {
  try {
    return body().release().ptr();
  } catch (const Error& error) {
    raise_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* vectorcall(PyObject* self, PyObject* const* arguments, size_t flags, PyObject* names) {
  if (names && PyTuple_GET_SIZE(names) != 0) {
    PyErr_SetString(PyExc_TypeError, "Callable takes its inputs by position; use run() for options");
    return nullptr;
  }
  return callable_of(self).call(arguments, static_cast<size_t>(PyVectorcall_NARGS(flags)), nullptr);
}

PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  constexpr const char* kNames[] = {"model", "entry", "state", "threads", "coerce", "fail", "options", nullptr};
  PyObject *model, *state, *threads, *coerce = Py_None, *fail = Py_None, *options = Py_None;
  unsigned int entry;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OIOO|OOO", const_cast<char**>(kNames), &model, &entry, &state,
                                   &threads, &coerce, &fail, &options)) {
    return nullptr;
  }
  return guarded([&] {
    double release_above_us = 20;
    if (options != Py_None) {
      for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(options)) {
        if (name.cast<std::string>() != "release_gil_above_us") {
          throw py::type_error("Callable knows the option release_gil_above_us, not " + name.cast<std::string>());
        }
        release_above_us = value.cast<double>();
      }
    }
    auto made = std::make_unique<Callable>(
        py::handle(model).cast<std::shared_ptr<Model>>(), entry, py::handle(state).cast<std::shared_ptr<State>>(),
        py::handle(threads).cast<std::shared_ptr<Threads>>(), py::reinterpret_borrow<py::object>(coerce),
        py::reinterpret_borrow<py::object>(fail), release_above_us);
    PyObject* self = type->tp_alloc(type, 0);
    if (!self) throw py::error_already_set();
    auto* object = reinterpret_cast<Object*>(self);
    object->vectorcall = vectorcall;
    object->callable = made.release();
    return py::reinterpret_steal<py::object>(self);
  });
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete reinterpret_cast<Object*>(self)->callable;
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (Callable* callable = reinterpret_cast<Object*>(self)->callable) {
    for (PyObject* each : callable->references()) Py_VISIT(each);
  }
  return 0;
}

int clear(PyObject* self) {
  if (Callable* callable = reinterpret_cast<Object*>(self)->callable) callable->clear();
  return 0;
}

PyObject* run(PyObject* self, PyObject* arguments, PyObject* keywords) {
  constexpr const char* kNames[] = {"inputs", "out", "cancel", "deadline_ns", "observer", nullptr};
  PyObject *inputs, *out = Py_None, *cancel = Py_None, *observer = Py_None;
  long long deadline = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|OOLO", const_cast<char**>(kNames), &inputs, &out, &cancel,
                                   &deadline, &observer)) {
    return nullptr;
  }
  return guarded([&] {
    const auto sequence =
        py::reinterpret_steal<py::object>(PySequence_Fast(inputs, "inputs must be a sequence of arrays"));
    if (!sequence) throw py::error_already_set();
    CallOptions options;
    options.out = py::reinterpret_borrow<py::object>(out);
    options.observer = py::reinterpret_borrow<py::object>(observer);
    options.deadline = deadline;
    if (cancel != Py_None) {
      py::object address = py::reinterpret_borrow<py::object>(cancel);
      if (!PyLong_Check(cancel)) address = address.attr("address");
      options.cancel = reinterpret_cast<volatile int32_t*>(address.cast<uintptr_t>());
    }
    PyObject* result = callable_of(self).call(PySequence_Fast_ITEMS(sequence.ptr()),
                                              static_cast<size_t>(PySequence_Fast_GET_SIZE(sequence.ptr())), &options);
    if (!result) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
  });
}

PyObject* stats(PyObject* self, void*) {
  return guarded([&] { return callable_of(self).stats(); });
}

PyObject* memory_plan(PyObject* self, PyObject* dims) {
  return guarded([&] { return callable_of(self).memory_plan(py::reinterpret_borrow<py::sequence>(dims)); });
}

PyMethodDef methods[] = {
    {"run", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(run)), METH_VARARGS | METH_KEYWORDS,
     "run(inputs, out=None, cancel=None, deadline_ns=0, observer=None) -> tuple of arrays\n\n"
     "out: per output an array to write into, or None. cancel: a Cancel, or the address of an int32. deadline_ns: on "
     "the\n"
     "clock of time.monotonic_ns. observer(step, kernel, origin, inputs, outputs, begin_ns, end_ns) after every step; "
     "its\n"
     "arrays are right only during the call."},
    {"memory_plan", memory_plan, METH_O,
     "memory_plan(dims of every input) -> dict: peak and scratch bytes, spaces, and a row per buffer."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef properties[] = {{"stats", stats, nullptr, "dict: runs, binds.", nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(Object, vectorcall), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

constexpr char kDoc[] =
    "Callable(model, entry, state, threads, coerce=None, fail=None, options=None)\n\n"
    "Called with one array per input it returns a tuple of new arrays. coerce(index, object) makes the array for an "
    "input\n"
    "that is not a C-contiguous array of the right dtype and ndim. fail(exception) may give another exception to "
    "raise.\n"
    "options: release_gil_above_us, the estimated run time above which the GIL is let go (20).";

PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(kDoc)},
                       {Py_tp_new, reinterpret_cast<void*>(make)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, properties},
                       {Py_tp_members, members},
                       {0, nullptr}};

PyType_Spec spec = {"pyflow._core.Callable", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, slots};

PyTypeObject* the_type = nullptr;

}  // namespace

Callable* as_callable(PyObject* object) {
  return Py_TYPE(object) == the_type ? &callable_of(object) : nullptr;
}

void bind_callable(py::module_& module) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  the_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  module.attr("Callable") = type;
}

}  // namespace pf
