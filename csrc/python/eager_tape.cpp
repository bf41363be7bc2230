// What calls leave behind for gradients, and the modes of a thread.
#include <pybind11/pybind11.h>
#include <structmember.h>

#include <atomic>

#include "python/eager.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

PyTypeObject *version_type = nullptr, *the_record_type = nullptr;

Record* record_of(PyObject* self) {
  return reinterpret_cast<Record*>(self);
}

// A tensor of what was saved.
py::object tensor_of(const Saved& saved) {
  Tensor* made = new_tensor(Py_NewRef(saved.array), saved.code);
  if (!made) throw py::error_already_set();
  made->version = Py_XNewRef(saved.version);
  return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(made));
}

bool save(Saved& to, Tensor* tensor) {
  PyObject* version = version_of(tensor);
  if (!version) return false;
  to = {Py_NewRef(tensor->array), Py_NewRef(version), reinterpret_cast<Version*>(version)->count, tensor->code};
  return true;
}

void drop(Saved& saved) {
  Py_CLEAR(saved.array);
  Py_CLEAR(saved.version);
}

PyObject* make_version(PyTypeObject* type, PyObject*, PyObject*) {
  return type->tp_alloc(type, 0);
}

PyMemberDef version_members[] = {{"count", T_LONGLONG, offsetof(Version, count), 0, "Times it was written."},
                                 {nullptr, 0, 0, 0, nullptr}};
PyType_Slot version_slots[] = {{Py_tp_doc, const_cast<char*>("How often a storage was written.")},
                               {Py_tp_new, reinterpret_cast<void*>(make_version)},
                               {Py_tp_members, version_members},
                               {0, nullptr}};
PyType_Spec version_spec = {"pyflow._core.Version", sizeof(Version), 0, Py_TPFLAGS_DEFAULT, version_slots};

// Record(derivative, inputs, outputs, extra=None)
PyObject* make_record(PyTypeObject*, PyObject* arguments, PyObject*) {
  PyObject *derivative, *inputs, *outputs, *extra = Py_None;
  if (!PyArg_ParseTuple(arguments, "OOO|O", &derivative, &inputs, &outputs, &extra)) return nullptr;
  std::vector<Tensor*> sides[2];
  std::vector<py::object> kept;
  for (int side = 0; side < 2; ++side) {
    auto sequence = py::reinterpret_steal<py::object>(PySequence_Fast(side ? outputs : inputs, "expected tensors"));
    if (!sequence) return nullptr;
    for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(sequence.ptr()); ++index) {
      PyObject* each = PySequence_Fast_GET_ITEM(sequence.ptr(), index);
      if (!is_tensor(each)) {
        PyErr_SetString(PyExc_TypeError, "a record is of tensors");
        return nullptr;
      }
      sides[side].push_back(reinterpret_cast<Tensor*>(each));
    }
    kept.push_back(std::move(sequence));
  }
  return new_record(derivative, sides[0], sides[1], extra);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Record* record = record_of(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(record->derivative);
  Py_VISIT(record->extra);
  Py_VISIT(record->hooks);
  Py_VISIT(record->origin);
  if (!record->given) return 0;
  for (int32_t index = 0; index < record->inputs; ++index) {
    Py_VISIT(record->given[index].array);
    Py_VISIT(record->edges[index].target);
  }
  for (int32_t index = 0; index < record->outputs; ++index) Py_VISIT(record->made[index].array);
  return 0;
}

int clear(PyObject* self) {
  Record* record = record_of(self);
  release(record);
  Py_CLEAR(record->hooks);
  return 0;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_TRASHCAN_BEGIN(self, destroy);
  Record* record = record_of(self);
  release(record);
  Py_CLEAR(record->derivative);
  Py_CLEAR(record->hooks);
  Py_CLEAR(record->origin);
  PyMem_Free(record->given);
  type->tp_free(self);
  Py_DECREF(type);
  Py_TRASHCAN_END;
}

template <typename Body>
PyObject* guarded(Body&& body) {
  try {
    return body().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  }
  return nullptr;
}

py::tuple all_saved(const Saved* saved, int32_t count) {
  py::tuple result(count);
  for (int32_t index = 0; index < count; ++index) result[index] = tensor_of(saved[index]);
  return result;
}

PyObject* get_given(PyObject* self, void*) {
  Record* record = record_of(self);
  return guarded([&] { return all_saved(record->given, record->released ? 0 : record->inputs); });
}

PyObject* get_made(PyObject* self, void*) {
  Record* record = record_of(self);
  return guarded([&] { return all_saved(record->made, record->released ? 0 : record->outputs); });
}

PyObject* get_sources(PyObject* self, void*) {
  Record* record = record_of(self);
  return guarded([&] {
    py::tuple result(record->released ? 0 : record->inputs);
    for (size_t index = 0; index < result.size(); ++index) {
      const Edge& edge = record->edges[index];
      if (edge.is_leaf) {
        result[index] = py::reinterpret_borrow<py::object>(edge.target);
        continue;
      }
      py::object made = tensor_of(record->given[index]);
      if (edge.target) {
        auto* tensor = reinterpret_cast<Tensor*>(made.ptr());
        tensor->record = Py_NewRef(edge.target);
        tensor->index = edge.index;
        tensor->requires_grad = true;
      }
      result[index] = made;
    }
    return result;
  });
}

PyObject* get_flows(PyObject* self, void*) {
  Record* record = record_of(self);
  return guarded([&] {
    py::tuple result(record->released ? 0 : record->inputs);
    for (size_t index = 0; index < result.size(); ++index) {
      result[index] = py::bool_(record->edges[index].target != nullptr);
    }
    return result;
  });
}

PyObject* check(PyObject* self, PyObject* arguments) {
  PyObject* sides[2];
  if (!PyArg_ParseTuple(arguments, "OO", &sides[0], &sides[1])) return nullptr;
  Record* record = record_of(self);
  try {
    for (int side = 0; side < 2; ++side) {
      for (const py::handle& each : py::reinterpret_borrow<py::iterable>(sides[side])) {
        const auto index = each.cast<int32_t>();
        if (record->released || index < 0 || index >= (side ? record->outputs : record->inputs)) {
          throw py::index_error("the record has no such operand");
        }
        if (!check_unchanged(record, (side ? record->made : record->given)[index])) return nullptr;
      }
    }
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_IndexError, error.what());
  }
  return nullptr;
}

PyMemberDef record_members[] = {
    {"derivative", T_OBJECT, offsetof(Record, derivative), READONLY, "What knows the gradient of the call."},
    {"extra", T_OBJECT, offsetof(Record, extra), READONLY, "What it keeps of the call beside tensors."},
    {"hooks", T_OBJECT, offsetof(Record, hooks), 0, "By output: functions that see its gradient; or None."},
    {"origin", T_OBJECT, offsetof(Record, origin), READONLY, "The line of the call, in anomaly mode."},
    {nullptr, 0, 0, 0, nullptr}};
PyGetSetDef record_properties[] = {
    {"given", get_given, nullptr, "Tensors of the call's inputs.", nullptr},
    {"made", get_made, nullptr, "Tensors of the call's outputs.", nullptr},
    {"sources", get_sources, nullptr, "The inputs as tensors through which gradients flow on.", nullptr},
    {"flows", get_flows, nullptr, "Per input: does a gradient flow on?", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMethodDef record_methods[] = {
    {"check", check, METH_VARARGS, "check(inputs, outputs): raises if one of these was changed since the call."},
    {nullptr, nullptr, 0, nullptr}};
PyType_Slot record_slots[] = {
    {Py_tp_doc, const_cast<char*>("Record(derivative, inputs, outputs, extra=None): one call, for its gradient.")},
    {Py_tp_new, reinterpret_cast<void*>(make_record)},
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_members, record_members},
    {Py_tp_getset, record_properties},
    {Py_tp_methods, record_methods},
    {0, nullptr}};
PyType_Spec record_spec = {"pyflow._core.Record", sizeof(Record), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                           record_slots};

// The mode, as an object with attributes.
PyObject* get_recording(PyObject*, void*) {
  return PyBool_FromLong(mode().recording);
}
PyObject* get_anomaly(PyObject*, void*) {
  return PyBool_FromLong(mode().anomaly);
}
PyObject* get_capture(PyObject*, void*) {
  return Py_NewRef(mode().capture ? mode().capture : Py_None);
}
int set_recording(PyObject*, PyObject* value, void*) {
  mode().recording = value && PyObject_IsTrue(value) == 1;
  return 0;
}
int set_anomaly(PyObject*, PyObject* value, void*) {
  mode().anomaly = value && PyObject_IsTrue(value) == 1;
  return 0;
}
int set_capture(PyObject*, PyObject* value, void*) {
  PyObject* before = mode().capture;
  mode().capture = value && value != Py_None ? Py_NewRef(value) : nullptr;
  Py_XDECREF(before);
  return 0;
}
PyGetSetDef mode_properties[] = {
    {"recording", get_recording, set_recording, "Are calls recorded?", nullptr},
    {"anomaly", get_anomaly, set_anomaly, "With the lines they stand in?", nullptr},
    {"capture", get_capture, set_capture, "That of the function which is being traced, or None.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyType_Slot mode_slots[] = {
    {Py_tp_doc, const_cast<char*>("Of the thread that asks.")}, {Py_tp_getset, mode_properties}, {0, nullptr}};
PyType_Spec mode_spec = {"pyflow._core.Mode", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, mode_slots};

}  // namespace

Mode& mode() {
  static thread_local Mode of_thread;
  return of_thread;
}

PyTypeObject* record_type() {
  return the_record_type;
}

PyObject* version_of(Tensor* tensor) {
  if (!tensor->version) tensor->version = version_type->tp_alloc(version_type, 0);
  return tensor->version;
}

void raise_failure(Record* record, const char* kind, const Saved* saved) {
  try {
    const long long now = saved ? reinterpret_cast<Version*>(saved->version)->count - saved->count : 0;
    const py::object shown = saved ? tensor_of(*saved) : py::none();
    const py::object error =
        py::handle(hooks().failure)(py::handle(reinterpret_cast<PyObject*>(record)), kind, shown, now);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  } catch (py::error_already_set& error) {
    error.restore();
  }
}

bool check_unchanged(Record* record, const Saved& saved) {
  if (reinterpret_cast<Version*>(saved.version)->count == saved.count) return true;
  raise_failure(record, "changed", &saved);
  return false;
}

void release(Record* record) {
  record->released = true;
  if (record->given) {
    for (int32_t index = 0; index < record->inputs; ++index) {
      drop(record->given[index]);
      Py_CLEAR(record->edges[index].target);
    }
    for (int32_t index = 0; index < record->outputs; ++index) drop(record->made[index]);
  }
  Py_CLEAR(record->extra);
}

bool take_edge(Edge& edge, Tensor* tensor) {
  edge.index = tensor->index;
  if (!tensor->record) {
    edge.is_leaf = tensor->requires_grad;
    if (edge.is_leaf) edge.target = Py_NewRef(reinterpret_cast<PyObject*>(tensor));
    return true;
  }
  edge.target = Py_NewRef(tensor->record);
  Record* before = record_of(tensor->record);
  if (!before->is_window || before->released) return true;
  const Saved& window = before->made[0];
  if (reinterpret_cast<Version*>(window.version)->count == window.count) return true;
  raise_failure(before, "window", &window);
  return false;
}

PyObject* new_record(PyObject* derivative, std::span<Tensor* const> inputs, std::span<Tensor* const> outputs,
                     PyObject* extra) {
  static std::atomic<uint64_t> number{0};
  bool is_window = false;
  if (!is_entry(derivative)) {
    PyObject* flag = PyObject_GetAttrString(derivative, "is_window");
    if (!flag) return nullptr;
    is_window = flag == Py_True;
    Py_DECREF(flag);
  }
  PyObject* self = the_record_type->tp_alloc(the_record_type, 0);
  if (!self) return nullptr;
  Record* record = record_of(self);
  record->number = number++;
  record->is_window = is_window;
  record->derivative = Py_NewRef(derivative);
  record->extra = Py_NewRef(extra);
  record->inputs = static_cast<int32_t>(inputs.size());
  record->outputs = static_cast<int32_t>(outputs.size());
  const size_t saved = inputs.size() + outputs.size();
  void* block = PyMem_Calloc(1, saved * sizeof(Saved) + inputs.size() * sizeof(Edge) + 1);
  if (!block) {
    Py_DECREF(self);
    PyErr_NoMemory();
    return nullptr;
  }
  record->given = static_cast<Saved*>(block);
  record->made = record->given + inputs.size();
  record->edges = reinterpret_cast<Edge*>(record->made + outputs.size());
  bool good = true;
  for (size_t index = 0; good && index < inputs.size(); ++index) {
    good = save(record->given[index], inputs[index]) && take_edge(record->edges[index], inputs[index]);
  }
  for (size_t index = 0; good && index < outputs.size(); ++index) good = save(record->made[index], outputs[index]);
  if (good && mode().anomaly) {
    record->origin = PyObject_CallNoArgs(hooks().origin);
    good = record->origin != nullptr;
  }
  if (good) return self;
  Py_DECREF(self);
  return nullptr;
}

void attach(PyObject* record, std::span<Tensor* const> outputs) {
  for (size_t index = 0; index < outputs.size(); ++index) {
    Tensor* output = outputs[index];
    if (!hooks().inexact[static_cast<size_t>(output->code)]) continue;
    output->requires_grad = true;
    Py_XSETREF(output->record, Py_NewRef(record));
    output->index = static_cast<int32_t>(index);
  }
}

void bind_tape(py::module_& module) {
  auto add = [&](PyType_Spec& spec, const char* name) {
    const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
    if (!type) throw py::error_already_set();
    module.attr(name) = type;
    return reinterpret_cast<PyTypeObject*>(type.ptr());
  };
  version_type = add(version_spec, "Version");
  the_record_type = add(record_spec, "Record");
  PyTypeObject* mode_type = add(mode_spec, "Mode");
  const auto of_thread = py::reinterpret_steal<py::object>(mode_type->tp_alloc(mode_type, 0));
  if (!of_thread) throw py::error_already_set();
  module.attr("mode") = of_thread;
  module.def(
      "attach",
      [](const py::object& record, const py::sequence& outputs) {
        std::vector<Tensor*> tensors;
        for (const py::handle& each : outputs) {
          if (!is_tensor(each.ptr())) throw py::type_error("outputs are tensors");
          tensors.push_back(reinterpret_cast<Tensor*>(each.ptr()));
        }
        attach(record.ptr(), tensors);
      },
      "attach(record, outputs): the outputs of floating dtypes are what the recorded call gave.");
}

}  // namespace pf::eager
