// Entry: the plan of a traced call, run on the arrays of tensors, and what becomes of its results.
#include "core/dtype.h"
#include "python/arrays.h"
#include "python/eager.h"
#include "python/errors.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

// Above this a run goes the way of sessions, which can be interrupted.
constexpr double kLong = 20e6;

PyTypeObject* the_type = nullptr;

// Other threads may run Python, and find the entry's context taken.
class Elsewhere {
 public:
  explicit Elsewhere(EntryState& entry) : entry_(entry) {
    entry.busy = true;
    thread_ = PyEval_SaveThread();
  }
  ~Elsewhere() {
    PyEval_RestoreThread(thread_);
    entry_.busy = false;
  }
  Elsewhere(const Elsewhere&) = delete;
  Elsewhere& operator=(const Elsewhere&) = delete;

 private:
  EntryState& entry_;
  PyThreadState* thread_;
};

// Runs the plan in the entry's own context. False without a Python error if it must go the general way.
bool run_here(EntryState& entry, std::span<const Operand> operands, PyObject** results, void* const* over) {
  const Callable& callable = *entry.callable;
  const std::vector<Port>& ports = callable.entry().inputs;
  entry.inputs.clear();
  entry.dims.clear();
  for (size_t index = 0; index < operands.size(); ++index) {
    const auto [array, number] = operands[index];
    if (!array) {
      if (!ports[index].view.dims.empty()) return false;
      entry.inputs.push_back(const_cast<void*>(number));
      continue;
    }
    if (!is_plain_array(array, callable.input_dtype(index))) return false;
    const ArrayFields* fields = array_fields(array);
    if (fields->nd != static_cast<int>(ports[index].view.dims.size())) return false;
    entry.inputs.push_back(fields->data);
    entry.dims.insert(entry.dims.end(), fields->dimensions, fields->dimensions + fields->nd);
  }
  BoundEntry& bound = entry.context->bind(entry.dims);
  const double cost = bound.binding.cost();
  if (cost > kLong) return false;
  const std::vector<uint8_t>& direct = callable.direct();
  entry.addresses.assign(entry.results, nullptr);
  std::vector<py::object> made(entry.results);
  for (size_t index = 0; index < entry.results; ++index) {
    if (over && over[index]) {
      if (!direct[index]) return false;
      entry.addresses[index] = over[index];
      continue;
    }
    made[index] = py::reinterpret_steal<py::object>(
        new_eager_array(callable.entry().outputs[index].view.dtype, bound.outputs[index].dims));
    if (direct[index]) entry.addresses[index] = array_fields(made[index].ptr())->data;
  }
  Request request;
  request.inputs = entry.inputs.data();
  request.outputs = entry.addresses.data();
  if (cost <= callable.release_above()) {
    request.executor = entry.alone.executor();
    entry.context->run(bound, request);
  } else {
    request.executor = callable.executor();
    const Elsewhere elsewhere(entry);
    entry.context->run(bound, request);
  }
  for (size_t index = 0; index < made.size(); ++index) {
    if (!made[index]) continue;
    if (!direct[index]) entry.context->copy_output(bound, index, array_fields(made[index].ptr())->data);
    results[index] = made[index].release().ptr();
  }
  return true;
}

bool run_generally(EntryState& entry, std::span<const Operand> operands, PyObject** results, void* const* over) {
  std::vector<PyObject*> arrays;
  std::vector<py::object> numbers;
  for (size_t index = 0; index < operands.size(); ++index) {
    PyObject* array = operands[index].array;
    if (!array) {
      const int32_t dtype = entry.callable->entry().inputs[index].view.dtype;
      numbers.push_back(py::reinterpret_steal<py::object>(new_array(dtype, {})));
      array = numbers.back().ptr();
      memcpy(array_fields(array)->data, operands[index].number, dtype_bytes(dtype));
    }
    arrays.push_back(array);
  }
  const auto made =
      py::reinterpret_steal<py::object>(PyObject_Vectorcall(entry.run.ptr(), arrays.data(), arrays.size(), nullptr));
  if (!made) return false;
  if (!PyTuple_Check(made.ptr()) || static_cast<size_t>(PyTuple_GET_SIZE(made.ptr())) != entry.results) {
    PyErr_SetString(PyExc_SystemError, "an entry's plan gives another number of results than it has");
    return false;
  }
  for (size_t index = 0; index < entry.results; ++index) {
    PyObject* array = PyTuple_GET_ITEM(made.ptr(), index);
    if (!over || !over[index]) {
      results[index] = Py_NewRef(array);
      continue;
    }
    const ArrayFields* fields = array_fields(array);
    int64_t bytes = dtype_bytes(dtype_code(fields->descr));
    for (int axis = 0; axis < fields->nd; ++axis) bytes *= fields->dimensions[axis];
    memcpy(over[index], fields->data, bytes);
  }
  return true;
}

}  // namespace

std::vector<py::object> outputs_of(const EntryState& entry, PyObject* const* results) {
  std::vector<py::object> made;
  for (size_t index = 0; index < entry.codes.size(); ++index) {
    py::object array = py::reinterpret_borrow<py::object>(results[entry.places[index]]);
    if (entry.shares && is_array(array.ptr())) array = array.attr("copy")();
    made.push_back(py::reinterpret_steal<py::object>(
        reinterpret_cast<PyObject*>(new_tensor(array.release().ptr(), entry.codes[index]))));
    if (!made.back()) throw py::error_already_set();
  }
  return made;
}

namespace {

PyObject* call_all(Entry* self, std::span<Tensor* const> operands, PyObject* const* results) {
  const EntryState& entry = *self->state;
  const std::vector<py::object> made = outputs_of(entry, results);
  if (needs_record(operands)) {
    py::tuple drawn(entry.places.size() - entry.codes.size());
    for (size_t index = 0; index < drawn.size(); ++index) {
      drawn[index] = py::reinterpret_borrow<py::object>(results[entry.places[entry.codes.size() + index]]);
    }
    std::vector<Tensor*> outputs;
    for (const py::object& each : made) outputs.push_back(reinterpret_cast<Tensor*>(each.ptr()));
    const auto record = py::reinterpret_steal<py::object>(
        new_record(reinterpret_cast<PyObject*>(self), operands, outputs, drawn.ptr()));
    if (!record) throw py::error_already_set();
    attach(record.ptr(), outputs);
  }
  if (!entry.build) return py::object(made[0]).release().ptr();
  py::list list;
  for (const py::object& each : made) list.append(each);
  return entry.build(list).release().ptr();
}

// What the call gives of its results, whose references it takes.
PyObject* finished(Entry* self, std::span<Tensor* const> operands, std::span<PyObject* const> results) {
  PyObject* made = nullptr;
  try {
    made = call_all(self, operands, results.data());
  } catch (py::error_already_set& error) {
    error.restore();
  }
  for (PyObject* each : results) Py_DECREF(each);
  return made;
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  return self;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete reinterpret_cast<Entry*>(self)->state;
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (const EntryState* state = reinterpret_cast<Entry*>(self)->state) {
    Py_VISIT(state->run.ptr());
    Py_VISIT(state->build.ptr());
    for (const Gradient& each : state->gradients) Py_VISIT(each.entry.ptr());
  }
  return 0;
}

int clear(PyObject* self) {
  if (EntryState* state = reinterpret_cast<Entry*>(self)->state) state->gradients.clear();
  return 0;
}

// _set(run, build or None, dtype codes, places, results, shares, over)
PyObject* set(PyObject* self, PyObject* arguments) {
  PyObject *run, *build, *codes, *places, *over;
  Py_ssize_t results;
  int shares;
  if (!PyArg_ParseTuple(arguments, "OOOOnpO", &run, &build, &codes, &places, &results, &shares, &over)) {
    return nullptr;
  }
  try {
    auto state =
        std::make_unique<EntryState>(py::reinterpret_borrow<py::object>(run),
                                     build == Py_None ? py::object() : py::reinterpret_borrow<py::object>(build));
    for (const py::handle& each : py::reinterpret_borrow<py::iterable>(over)) {
      state->over.push_back(each.cast<int32_t>());
    }
    for (const py::handle& each : py::reinterpret_borrow<py::iterable>(codes)) {
      state->codes.push_back(each.cast<int16_t>());
    }
    for (const py::handle& each : py::reinterpret_borrow<py::iterable>(places)) {
      state->places.push_back(each.cast<int32_t>());
    }
    state->results = static_cast<size_t>(results);
    state->shares = shares != 0;
    delete reinterpret_cast<Entry*>(self)->state;
    reinterpret_cast<Entry*>(self)->state = state.release();
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  }
  return nullptr;
}

// Tensors of a sequence; false with a Python error set.
bool read_tensors(PyObject* sequence, std::vector<Tensor*>& tensors) {
  if (!PyList_Check(sequence)) {
    PyErr_SetString(PyExc_TypeError, "expected a list of tensors");
    return false;
  }
  for (Py_ssize_t index = 0; index < PyList_GET_SIZE(sequence); ++index) {
    PyObject* each = PyList_GET_ITEM(sequence, index);
    if (!is_tensor(each)) {
      PyErr_Format(PyExc_TypeError, "operands are tensors, not %s", Py_TYPE(each)->tp_name);
      return false;
    }
    tensors.push_back(reinterpret_cast<Tensor*>(each));
  }
  return true;
}

PyObject* call(PyObject* self, PyObject* given) {
  std::vector<Tensor*> operands;
  if (!read_tensors(given, operands)) return nullptr;
  return call_entry(reinterpret_cast<Entry*>(self), operands);
}

// call_onto(operands, targets)
PyObject* call_onto(PyObject* self, PyObject* arguments) {
  PyObject *given, *targets;
  if (!PyArg_ParseTuple(arguments, "OO", &given, &targets)) return nullptr;
  std::vector<Tensor*> operands, onto;
  if (!read_tensors(given, operands) || !read_tensors(targets, onto)) return nullptr;
  EntryState& entry = *reinterpret_cast<Entry*>(self)->state;
  const size_t first = entry.codes.size() - onto.size();
  std::vector<void*> over(entry.results);
  std::vector<PyObject*> results(entry.results);
  for (size_t index = 0; index < onto.size() && entry.callable; ++index) {
    const int32_t input = entry.over[first + index], place = entry.places[first + index];
    Tensor* target = onto[index];
    if (input < 0 || operands[input] != target || !takes_results(*target)) continue;
    bool good = true;
    for (Tensor* each : operands) good = good && (each == target || are_apart(*each, *target));
    if (good) over[place] = array_fields(target->array)->data;
  }
  std::vector<Operand> arrays;
  for (Tensor* each : operands) arrays.push_back({each->array, nullptr});
  if (!run_entry(entry, arrays, results.data(), over.data())) return nullptr;
  for (size_t index = 0; index < onto.size(); ++index) {
    const int32_t place = entry.places[first + index];
    if (over[place]) results[place] = Py_NewRef(onto[index]->array);
  }
  return finished(reinterpret_cast<Entry*>(self), operands, results);
}

PyMethodDef methods[] = {
    {"_set", set, METH_VARARGS, "What the native half must know."},
    {"call", call, METH_O, "call(operands): what the call gives for these tensors."},
    {"call_onto", call_onto, METH_VARARGS,
     "call_onto(operands, targets): the same; the last outputs are for the memory of these tensors, "
     "and have it already where the plan may write them over an operand."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>("A traced call and its plan.")},
                       {Py_tp_new, reinterpret_cast<void*>(make)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {Py_tp_methods, methods},
                       {0, nullptr}};

PyType_Spec spec = {"pyflow._core.EntryBase", sizeof(Entry), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

EntryState::EntryState(py::object run_, py::object build_) : run(std::move(run_)), build(std::move(build_)) {
  callable = as_callable(run.ptr());
  if (callable && !callable->stands_alone()) callable = nullptr;
  if (callable) context = callable->new_context();
}

PyTypeObject* entry_type() {
  return the_type;
}

bool are_apart(const Tensor& a, const Tensor& b) {
  if (!is_array(a.array) || !is_array(b.array)) return true;
  const char* ends[2][2];
  for (int side = 0; side < 2; ++side) {
    const Tensor& tensor = side ? b : a;
    const ArrayFields* fields = array_fields(tensor.array);
    ends[side][0] = fields->data;
    ends[side][1] = fields->data + dtype_bytes(tensor.code);
    for (int axis = 0; axis < fields->nd; ++axis) {
      if (fields->dimensions[axis] == 0) return true;
      const Py_intptr_t reach = (fields->dimensions[axis] - 1) * fields->strides[axis];
      ends[side][reach > 0] += reach;
    }
  }
  return ends[0][1] <= ends[1][0] || ends[1][1] <= ends[0][0];
}

bool takes_results(const Tensor& tensor) {
  return is_array(tensor.array) && is_plain_array(tensor.array, numpy_dtype(tensor.code)) &&
         (array_fields(tensor.array)->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_);
}

bool run_entry(EntryState& entry, std::span<const Operand> operands, PyObject** results, void* const* over) {
  try {
    if (entry.callable && !entry.busy && operands.size() == entry.callable->entry().inputs.size()) {
      try {
        if (run_here(entry, operands, results, over)) return true;
      } catch (const Error&) {
        // The general way fails alike, and says it better.
      }
    }
    return run_generally(entry, operands, results, over);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return false;
}

PyObject* call_entry(Entry* self, std::span<Tensor* const> operands) {
  EntryState& entry = *self->state;
  constexpr size_t kFew = 16;
  Operand few[kFew];
  std::vector<Operand> many;
  Operand* given = few;
  if (operands.size() > kFew) {
    many.resize(operands.size());
    given = many.data();
  }
  for (size_t index = 0; index < operands.size(); ++index) given[index] = {operands[index]->array, nullptr};
  if (!entry.build && entry.results == 1 && entry.codes.size() == 1) {
    PyObject* array = nullptr;
    if (!run_entry(entry, {given, operands.size()}, &array)) return nullptr;
    Tensor* result = new_tensor(array, entry.codes[0]);
    if (!result || !needs_record(operands)) return reinterpret_cast<PyObject*>(result);
    static PyObject* nothing = PyTuple_New(0);
    PyObject* record = new_record(reinterpret_cast<PyObject*>(self), operands, {&result, 1}, nothing);
    if (!record) {
      Py_DECREF(result);
      return nullptr;
    }
    attach(record, {&result, 1});
    Py_DECREF(record);
    return reinterpret_cast<PyObject*>(result);
  }
  std::vector<PyObject*> results(entry.results);
  if (!run_entry(entry, {given, operands.size()}, results.data())) return nullptr;
  return finished(self, operands, results);
}

void bind_entry(py::module_& module) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  the_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  module.attr("EntryBase") = type;
}

}  // namespace pf::eager
