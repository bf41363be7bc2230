// Eager calls: tensors, the entries that calls are found by, and the records that gradients need. All need the GIL.
#ifndef PYFLOW_PYTHON_EAGER_H
#define PYFLOW_PYTHON_EAGER_H

#include <pybind11/pybind11.h>

#include <memory>
#include <span>
#include <vector>

#include "python/callable.h"

namespace pf::eager {

// How often a storage was written; tensors that share memory share it.
struct Version {
  PyObject_HEAD long long count;
};

// The base of pyflow.Tensor. All references may be null but `array`.
struct Tensor {
  PyObject_HEAD PyObject* array;  // a numpy array, or what a variant holds
  PyObject* version;              // a Version, when someone asked for it
  PyObject* record;               // the Record whose output `index` this is
  PyObject* grad;
  PyObject* hooks;
  PyObject* dict;
  PyObject* weak;
  int32_t index;
  int16_t code;  // of the dtype
  bool requires_grad;
};

// A value that a gradient may read, with the version that it had.
struct Saved {
  PyObject* array;
  PyObject* version;
  long long count;
  int16_t code;
};

// Where the gradient of an input goes: to a leaf, or to output `index` of another record; nowhere if `target` is null.
struct Edge {
  PyObject* target;
  int32_t index;
  bool is_leaf;
};

// One call, for its gradient.
struct Record {
  PyObject_HEAD PyObject* derivative;
  PyObject* extra;
  PyObject* hooks;   // dict from output to list of functions, or null
  PyObject* origin;  // in anomaly mode
  uint64_t number;
  Saved* given;
  Saved* made;
  Edge* edges;
  int32_t inputs, outputs;
  bool is_window;  // its result shares its operand's memory
  bool released;   // backward forgot what it saved
};

// What a gradient's entry is fed, and which of its results go where.
struct Gradient {
  uint64_t needs, has;          // bit per input that needs one, per output that has one
  pybind11::object entry;       // None: there is none; null: Python's vjp knows
  std::vector<int32_t> reads;   // of the inputs: those whose content matters
  std::vector<int32_t> fed;     // outputs of the call that are fed
  std::vector<int32_t> places;  // by input: place among the results, -1
};

// A traced call; the native half of pyflow's Entry.
struct EntryState {
  EntryState(pybind11::object run, pybind11::object build);

  // How the plan is run.
  pybind11::object run;
  Callable* callable = nullptr;  // if the plan is run right here
  std::unique_ptr<Context> context;
  Gang alone{1};
  bool busy = false;  // another thread is in `context`
  std::vector<void*> inputs, addresses;
  std::vector<int64_t> dims;

  // What becomes of the results.
  pybind11::object build;       // null: the one output itself
  std::vector<int16_t> codes;   // by output
  std::vector<int32_t> places;  // by output, then what was drawn: which result
  size_t results = 0;
  bool shares = false;        // outputs have a result in common
  std::vector<int32_t> over;  // by output: the input that it may be written over, -1
  std::vector<Gradient> gradients;
};

struct Entry {
  PyObject_HEAD EntryState* state;
};

// An operand of a run: an array, or one number of the entry's dtype.
struct Operand {
  PyObject* array;
  const void* number;
};

// Of this thread.
struct Mode {
  bool recording = true;
  bool anomaly = false;
  PyObject* capture = nullptr;  // of the function that is being traced
};
Mode& mode();

// What Python gives at start. All are called rarely: they are the ways of calls that are not found.
struct Hooks {
  PyTypeObject* tensor = nullptr;
  PyObject* binary = nullptr;    // (op, x, y)
  PyObject* in_place = nullptr;  // (op, x, y)
  PyObject* unary = nullptr;     // (op, x)
  PyObject* getitem = nullptr;   // (x, key)
  PyObject* origin = nullptr;    // (): the user's line
  PyObject* failure = nullptr;   // (record, kind, tensor or None, times written): the exception
  PyObject* number = nullptr;    // (dtype, value): an array of no axes
  PyTypeObject* dtype = nullptr;
  std::vector<PyObject*> dtypes;  // by code
  std::vector<uint8_t> inexact, objects;
};
Hooks& hooks();

PyTypeObject* tensor_base();
PyTypeObject* entry_type();
PyTypeObject* record_type();

inline bool is_tensor(PyObject* object) {
  return Py_TYPE(object) == hooks().tensor || PyObject_TypeCheck(object, tensor_base());
}
inline bool is_entry(PyObject* object) {
  return PyObject_TypeCheck(object, entry_type());
}

// New references; nullptr with a Python error set.
Tensor* new_tensor(PyObject* array, int16_t code);  // takes the reference
PyObject* version_of(Tensor* tensor);               // borrowed
PyObject* new_record(PyObject* derivative, std::span<Tensor* const> inputs, std::span<Tensor* const> outputs,
                     PyObject* extra);
// Where the gradient by a tensor goes. False with a Python error set.
bool take_edge(Edge& edge, Tensor* tensor);
// The outputs of floating dtypes are from now on those of the record.
void attach(PyObject* record, std::span<Tensor* const> outputs);
// Raises if the value was written since the call.
bool check_unchanged(Record* record, const Saved& saved);
void raise_failure(Record* record, const char* kind, const Saved* saved);
void release(Record* record);

inline bool needs_record(std::span<Tensor* const> tensors) {
  for (const Tensor* each : tensors) {
    if (each->requires_grad) return mode().recording;
  }
  return false;
}

// Runs the plan; `results` gets new references. `over`, if given: per result memory that it is written to, or null;
// such results are not set.
bool run_entry(EntryState& entry, std::span<const Operand> operands, PyObject** results, void* const* over = nullptr);
// May one be written while the other is read?
bool are_apart(const Tensor& a, const Tensor& b);
// Can a result of the tensor's shape be written to its memory?
bool takes_results(const Tensor& tensor);
// What the call gives; leaves a record where it must.
PyObject* call_entry(Entry* entry, std::span<Tensor* const> operands);

// The results of a run as tensors, one per output. Throws error_already_set.
std::vector<pybind11::object> outputs_of(const EntryState& entry, PyObject* const* results);

// An array of its own memory: of numpy's if it is small, else of a cache of large blocks.
PyObject* new_eager_array(int32_t dtype, std::span<const int64_t> dims);

// x + y.
PyObject* add(PyObject* x, PyObject* y);

void set_number_slots(std::vector<PyType_Slot>& slots);
void bind_tensor(pybind11::module_& module);
void bind_entry(pybind11::module_& module);
void bind_lookup(pybind11::module_& module);
void bind_operators(pybind11::module_& module);
void bind_tape(pybind11::module_& module);
void bind_backward(pybind11::module_& module);

}  // namespace pf::eager

#endif
