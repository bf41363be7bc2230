// Lookup: what a function that takes tensors knows, by its arguments.
#include "python/eager_key.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

enum Tag : uint64_t { kInt = 3, kFloat, kObject, kInts, kNone, kArguments };

struct Lookup {
  PyObject_HEAD Table* table;
};

Table& table_of(PyObject* self) {
  return *reinterpret_cast<Lookup*>(self)->table;
}

// The key of a call, and its tensors. False if it has none.
bool read(PyObject* arguments, PyObject* keywords, Key& key, std::vector<Tensor*>& operands) {
  if (mode().capture || !PyTuple_Check(arguments) || !PyDict_Check(keywords)) return false;
  auto add = [&](PyObject* value) {
    if (!is_tensor(value)) return key.plain(value);
    auto* tensor = reinterpret_cast<Tensor*>(value);
    operands.push_back(tensor);
    return key.tensor(tensor);
  };
  if (!key.add(kArguments, static_cast<uint64_t>(PyTuple_GET_SIZE(arguments)))) return false;
  for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(arguments); ++index) {
    if (!add(PyTuple_GET_ITEM(arguments, index))) return false;
  }
  PyObject *name, *value;
  for (Py_ssize_t place = 0; PyDict_Next(keywords, &place, &name, &value);) {
    // The operands of a call by names are in the order of its positions, not of the names.
    if (is_tensor(value) || !key.text(name) || !key.plain(value)) return false;
  }
  return !operands.empty();
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self) reinterpret_cast<Lookup*>(self)->table = new Table;
  return self;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete reinterpret_cast<Lookup*>(self)->table;
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  const Table* table = reinterpret_cast<Lookup*>(self)->table;
  return table ? table->visit(visit, arg) : 0;
}

int clear(PyObject* self) {
  table_of(self).clear();
  return 0;
}

PyObject* call(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  Key key;
  std::vector<Tensor*> operands;
  if (count == 2 && read(given[0], given[1], key, operands)) {
    PyObject* found = table_of(self).find(key);
    if (found && is_entry(found)) {
      PyObject* made = call_entry(reinterpret_cast<Entry*>(found), operands);
      if (made || !PyErr_ExceptionMatches(PyExc_Exception)) return made;
      PyErr_Clear();
    }
  }
  Py_RETURN_NOTIMPLEMENTED;
}

PyObject* find(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  Key key;
  std::vector<Tensor*> operands;
  if (count != 2 || !read(given[0], given[1], key, operands)) Py_RETURN_NONE;
  PyObject* found = table_of(self).find(key);
  if (!found) Py_RETURN_NONE;
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(operands.size()));
  if (!list) return nullptr;
  for (size_t index = 0; index < operands.size(); ++index) {
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(index), Py_NewRef(reinterpret_cast<PyObject*>(operands[index])));
  }
  PyObject* pair = PyTuple_Pack(2, found, list);
  Py_DECREF(list);
  return pair;
}

PyObject* learn(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  Key key;
  std::vector<Tensor*> operands;
  if (count == 3 && read(given[0], given[1], key, operands)) {
    table_of(self).set(key, py::reinterpret_borrow<py::object>(given[2]));
  }
  Py_RETURN_NONE;
}

template <PyObject* (*Function)(PyObject*, PyObject* const*, Py_ssize_t)>
PyMethodDef method(const char* name, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Function)), METH_FASTCALL, doc};
}

PyMethodDef methods[] = {
    method<call>("call", "call(args, kwargs): what the entry for these gives, NotImplemented if none is known."),
    method<find>("find", "find(args, kwargs): (what is known for these, the tensors among them), or None."),
    method<learn>("learn", "learn(args, kwargs, value): it is known for such arguments, if they can be told apart."),
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>("What is known by the arguments of a call.")},
                       {Py_tp_new, reinterpret_cast<void*>(make)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {Py_tp_methods, methods},
                       {0, nullptr}};

PyType_Spec spec = {"pyflow._core.Lookup", sizeof(Lookup), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

bool Key::plain(PyObject* value) {
  if (PyUnicode_CheckExact(value)) return text(value);
  if (PyFloat_CheckExact(value)) {
    uint64_t bits;
    const double number = PyFloat_AS_DOUBLE(value);
    memcpy(&bits, &number, sizeof bits);
    return add(kFloat, bits);
  }
  auto integer = [&](PyObject* object) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow && add(kInt, static_cast<uint64_t>(number));
  };
  if (PyLong_CheckExact(value)) return integer(value);
  // One object each, which lives as long as the process.
  if (value == Py_None || PyBool_Check(value) || Py_TYPE(value) == hooks().dtype) {
    return add(kObject, reinterpret_cast<uintptr_t>(value));
  }
  if (!PyTuple_CheckExact(value) || !add(kInts, static_cast<uint64_t>(PyTuple_GET_SIZE(value)))) return false;
  for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(value); ++index) {
    PyObject* entry = PyTuple_GET_ITEM(value, index);
    if (!PyLong_CheckExact(entry) || !integer(entry)) return false;
  }
  return true;
}

void bind_lookup(py::module_& module) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  module.attr("Lookup") = type;
}

}  // namespace pf::eager
