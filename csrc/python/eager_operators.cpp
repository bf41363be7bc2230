// Python's operators: each finds its entry by the operands and runs it.
#include <cmath>

#include "core/dtype.h"
#include "python/eager_key.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

// Ops of two operands that have an operator; the comparisons in the order of Python's codes.
constexpr const char* kBinary[] = {"less",          "less_equal",   "equal",    "not_equal", "greater",
                                   "greater_equal", "add",          "subtract", "multiply",  "divide",
                                   "mod",           "floor_divide", "pow",      "matmul"};
constexpr const char* kUnary[] = {"negative", "identity", "abs"};
enum : size_t { kAdd = 6, kSubtract, kMultiply, kDivide, kMod, kFloorDivide, kPow, kMatmul };

struct Operator {
  PyObject* name = nullptr;
  Table entries;
};

Operator& binary_operator(size_t op) {
  static auto* all = new Operator[std::size(kBinary)];
  if (!all[op].name) all[op].name = PyUnicode_InternFromString(kBinary[op]);
  return all[op];
}

Operator& unary_operator(size_t op) {
  static auto* all = new Operator[std::size(kUnary)];
  if (!all[op].name) all[op].name = PyUnicode_InternFromString(kUnary[op]);
  return all[op];
}

Operator* named(const std::string& name) {
  for (size_t op = 0; op < std::size(kBinary); ++op) {
    if (name == kBinary[op]) return &binary_operator(op);
  }
  for (size_t op = 0; op < std::size(kUnary); ++op) {
    if (name == kUnary[op]) return &unary_operator(op);
  }
  return nullptr;
}

bool is_number(PyObject* object) {
  return PyFloat_CheckExact(object) || PyLong_CheckExact(object);
}

// A Python number as an element of a dtype.
union Element {
  float f32;
  double f64;
  int64_t i64;
  int32_t i32;
};

// False if the dtype is another, or does not hold it.
bool convert(PyObject* number, int16_t code, Element& element) {
  if (code == PF_DTYPE_float32 || code == PF_DTYPE_float64) {
    const double value = PyFloat_CheckExact(number) ? PyFloat_AS_DOUBLE(number) : PyLong_AsDouble(number);
    if (value == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    if (code == PF_DTYPE_float64) {
      element.f64 = value;
    } else {
      element.f32 = static_cast<float>(value);
      if (std::isinf(element.f32) && !std::isinf(value)) return false;  // NumPy warns
    }
    return true;
  }
  if ((code != PF_DTYPE_int64 && code != PF_DTYPE_int32) || !PyLong_CheckExact(number)) return false;
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  if (overflow || (code == PF_DTYPE_int32 && value != static_cast<int32_t>(value))) return false;
  if (code == PF_DTYPE_int64) {
    element.i64 = value;
  } else {
    element.i32 = static_cast<int32_t>(value);
  }
  return true;
}

// The operands of an operator, found.
struct Found {
  Entry* entry = nullptr;
  PyObject* arguments[2];
  Tensor* tensors[2] = {nullptr, nullptr};  // null: a number
  Element element;

  Found(Operator& of, PyObject* x, PyObject* y) : arguments{x, y} {
    Key key;
    if (mode().capture || !read(key)) return;
    PyObject* known = of.entries.find(key);
    if (known && is_entry(known)) entry = reinterpret_cast<Entry*>(known);
  }

  bool read(Key& key) {
    for (int side = 0; side < 2; ++side) {
      if (is_tensor(arguments[side])) tensors[side] = reinterpret_cast<Tensor*>(arguments[side]);
    }
    for (int side = 0; side < 2; ++side) {
      if (tensors[side]) {
        if (!key.tensor(tensors[side])) return false;
      } else {
        Tensor* other = tensors[1 - side];
        if (!other || !is_number(arguments[side]) || !key.add(100, PyFloat_CheckExact(arguments[side]))) return false;
      }
    }
    return true;
  }

  // The number beside a tensor, in its dtype, as a tensor. New reference.
  Tensor* number(int side) {
    PyObject* const given[] = {hooks().dtypes[static_cast<size_t>(tensors[1 - side]->code)], arguments[side]};
    PyObject* array = PyObject_Vectorcall(hooks().number, given, 2, nullptr);
    return array ? new_tensor(array, tensors[1 - side]->code) : nullptr;
  }

  PyObject* call() {
    EntryState& state = *entry->state;
    for (int side = 0; side < 2; ++side) {
      if (tensors[side]) continue;
      Tensor* other = tensors[1 - side];
      if (state.callable && !state.build && !needs_record({&other, 1}) &&
          convert(arguments[side], other->code, element)) {
        Operand operands[2];
        operands[side] = {nullptr, &element};
        operands[1 - side] = {other->array, nullptr};
        PyObject* array = nullptr;
        if (!run_entry(state, operands, &array)) return nullptr;
        return reinterpret_cast<PyObject*>(new_tensor(array, state.codes[0]));
      }
      Tensor* made = number(side);
      if (!made) return nullptr;
      Tensor* operands[2];
      operands[side] = made;
      operands[1 - side] = other;
      PyObject* result = call_entry(entry, operands);
      Py_DECREF(made);
      return result;
    }
    return call_entry(entry, tensors);
  }

  // Writes the result over the first operand. 0 if this is not the way.
  int write() {
    Tensor* target = tensors[0];
    if (!entry || !target || !entry->state->callable || entry->state->results != 1) return 0;
    if (entry->state->over[0] != 0 || entry->state->codes[0] != target->code || !takes_results(*target)) return 0;
    Operand operands[2] = {{target->array, nullptr}, {nullptr, &element}};
    if (!tensors[1]) {
      if (needs_record({&target, 1}) || !convert(arguments[1], target->code, element)) return 0;
    } else {
      if (needs_record(tensors) || !fits(*target, *tensors[1])) return 0;
      operands[1] = {tensors[1]->array, nullptr};
    }
    void* const over = array_fields(target->array)->data;
    PyObject* version = version_of(target);
    if (!version || !run_entry(*entry->state, operands, nullptr, &over)) return -1;
    ++reinterpret_cast<Version*>(version)->count;
    return 1;
  }

  // Is the result of the shape of `target`, and may `other` be read while that is written?
  static bool fits(const Tensor& target, const Tensor& other) {
    const ArrayFields *to = array_fields(target.array), *from = array_fields(other.array);
    if (from->nd > to->nd) return false;
    bool same = from->nd == to->nd && from->data == to->data && other.code == target.code;
    for (int axis = 0; axis < from->nd; ++axis) {
      const int64_t size = from->dimensions[axis], wanted = to->dimensions[axis + to->nd - from->nd];
      if (size != 1 && size != wanted) return false;
      same = same && size == wanted;
    }
    return (same && is_plain_array(other.array, numpy_dtype(other.code))) || are_apart(target, other);
  }
};

// The way of a call that is not known, or failed: it says why.
PyObject* unknown(PyObject* way, const Operator& of, PyObject* x, PyObject* y) {
  PyObject* const arguments[] = {of.name, x, y};
  return PyObject_Vectorcall(way, arguments, y ? 3 : 2, nullptr);
}

PyObject* call_binary(size_t op, PyObject* x, PyObject* y) {
  Operator& of = binary_operator(op);
  Found found(of, x, y);
  if (found.entry) {
    PyObject* result = found.call();
    if (result || !PyErr_ExceptionMatches(PyExc_Exception)) return result;
    PyErr_Clear();
  }
  return unknown(hooks().binary, of, x, y);
}

template <size_t Op>
PyObject* binary(PyObject* x, PyObject* y) {
  return call_binary(Op, x, y);
}

template <size_t Op>
PyObject* power(PyObject* x, PyObject* y, PyObject*) {
  return call_binary(Op, x, y);
}

template <size_t Op>
PyObject* in_place(PyObject* x, PyObject* y) {
  Operator& of = binary_operator(Op);
  Found found(of, x, y);
  const int done = found.write();
  if (done > 0) return Py_NewRef(x);
  if (done < 0) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return nullptr;
    PyErr_Clear();
  }
  return unknown(hooks().in_place, of, x, y);
}

template <size_t Op>
PyObject* power_in_place(PyObject* x, PyObject* y, PyObject*) {
  return in_place<Op>(x, y);
}

template <size_t Op>
PyObject* unary(PyObject* x) {
  Operator& of = unary_operator(Op);
  Key key;
  auto* tensor = reinterpret_cast<Tensor*>(x);
  if (!mode().capture && key.tensor(tensor)) {
    PyObject* known = of.entries.find(key);
    if (known && is_entry(known)) {
      PyObject* result = call_entry(reinterpret_cast<Entry*>(known), {&tensor, 1});
      if (result || !PyErr_ExceptionMatches(PyExc_Exception)) return result;
      PyErr_Clear();
    }
  }
  return unknown(hooks().unary, of, x, nullptr);
}

PyObject* compare(PyObject* x, PyObject* y, int code) {
  return call_binary(static_cast<size_t>(code), x, y);
}

Py_hash_t hash(PyObject* self) {
  return _Py_HashPointer(self);
}

}  // namespace

static_assert(Py_LT == 0 && Py_LE == 1 && Py_EQ == 2 && Py_NE == 3 && Py_GT == 4 && Py_GE == 5);

PyObject* add(PyObject* x, PyObject* y) {
  return call_binary(kAdd, x, y);
}

void set_number_slots(std::vector<PyType_Slot>& slots) {
  auto set = [&](int slot, auto function) { slots.push_back({slot, reinterpret_cast<void*>(function)}); };
  set(Py_nb_add, binary<kAdd>);
  set(Py_nb_subtract, binary<kSubtract>);
  set(Py_nb_multiply, binary<kMultiply>);
  set(Py_nb_true_divide, binary<kDivide>);
  set(Py_nb_remainder, binary<kMod>);
  set(Py_nb_floor_divide, binary<kFloorDivide>);
  set(Py_nb_power, power<kPow>);
  set(Py_nb_matrix_multiply, binary<kMatmul>);
  set(Py_nb_inplace_add, in_place<kAdd>);
  set(Py_nb_inplace_subtract, in_place<kSubtract>);
  set(Py_nb_inplace_multiply, in_place<kMultiply>);
  set(Py_nb_inplace_true_divide, in_place<kDivide>);
  set(Py_nb_inplace_remainder, in_place<kMod>);
  set(Py_nb_inplace_floor_divide, in_place<kFloorDivide>);
  set(Py_nb_inplace_power, power_in_place<kPow>);
  set(Py_nb_negative, unary<0>);
  set(Py_nb_positive, unary<1>);
  set(Py_nb_absolute, unary<2>);
  set(Py_tp_richcompare, compare);
  set(Py_tp_hash, hash);
}

void bind_operators(py::module_& module) {
  module.def(
      "learn",
      [](const std::string& op, const py::object& x, const py::object& y, const py::object& entry) {
        Operator* of = named(op);
        Key key;
        if (!of || !is_entry(entry.ptr())) throw py::value_error("expected the name of an operator's op, and an entry");
        if (y.is_none()) {
          if (is_tensor(x.ptr()) && key.tensor(reinterpret_cast<Tensor*>(x.ptr()))) of->entries.set(key, entry);
          return;
        }
        Found found(*of, x.ptr(), y.ptr());
        if (found.read(key)) of->entries.set(key, entry);
      },
      py::arg("op"), py::arg("x"), py::arg("y"), py::arg("entry"),
      "The operator of `op` runs `entry` on operands like these; y is None for one operand. A number beside a tensor "
      "has its dtype.");
}

}  // namespace pf::eager
