// The base of pyflow.Tensor: its fields, and indexing by ints and slices. Operators are in eager_operators.cpp.
#include <pybind11/pybind11.h>
#include <structmember.h>

#include "core/dtype.h"
#include "python/arrays.h"
#include "python/eager.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

using Api = py::detail::npy_api;

PyTypeObject* the_type = nullptr;

Tensor* tensor_of(PyObject* self) {
  return reinterpret_cast<Tensor*>(self);
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  return type->tp_alloc(type, 0);
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Tensor* tensor = tensor_of(self);
  if (tensor->weak) PyObject_ClearWeakRefs(self);
  Py_CLEAR(tensor->array);
  Py_CLEAR(tensor->version);
  Py_CLEAR(tensor->record);
  Py_CLEAR(tensor->grad);
  Py_CLEAR(tensor->hooks);
  Py_CLEAR(tensor->dict);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  const Tensor* tensor = tensor_of(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(tensor->array);
  Py_VISIT(tensor->record);
  Py_VISIT(tensor->grad);
  Py_VISIT(tensor->hooks);
  Py_VISIT(tensor->dict);
  return 0;
}

int clear(PyObject* self) {
  Tensor* tensor = tensor_of(self);
  Py_CLEAR(tensor->record);
  Py_CLEAR(tensor->grad);
  Py_CLEAR(tensor->hooks);
  Py_CLEAR(tensor->dict);
  return 0;
}

int16_t code_of(PyObject* dtype) {
  const Hooks& all = hooks();
  for (size_t code = 0; code < all.dtypes.size(); ++code) {
    if (all.dtypes[code] == dtype) return static_cast<int16_t>(code);
  }
  PyErr_Format(PyExc_TypeError, "expected a dtype of pyflow, got %R", dtype);
  return -1;
}

// _of(array, dtype, version=None)
PyObject* of(PyObject* type, PyObject* const* given, Py_ssize_t count) {
  if (count != 2 && count != 3) {
    PyErr_SetString(PyExc_TypeError, "_of takes an array, a dtype and a version");
    return nullptr;
  }
  const int16_t code = code_of(given[1]);
  if (code < 0) return nullptr;
  auto* kind = reinterpret_cast<PyTypeObject*>(type);
  PyObject* self = kind->tp_alloc(kind, 0);
  if (!self) return nullptr;
  Tensor* tensor = tensor_of(self);
  tensor->array = Py_NewRef(given[0]);
  tensor->code = code;
  if (count == 3 && given[2] != Py_None) tensor->version = Py_NewRef(given[2]);
  return self;
}

// The array's memory; read-only where the tensor requires a gradient.
int buffer(PyObject* self, Py_buffer* view, int flags) {
  PyObject* array = PyObject_CallMethod(self, "numpy", nullptr);
  if (!array) {
    view->obj = nullptr;
    return -1;
  }
  const int result = PyObject_GetBuffer(array, view, flags);
  Py_DECREF(array);
  return result;
}

PyObject* take(PyObject* self, PyObject* other) {
  if (!is_tensor(other)) {
    PyErr_SetString(PyExc_TypeError, "expected a tensor");
    return nullptr;
  }
  Tensor *to = tensor_of(self), *from = tensor_of(other);
  Py_XSETREF(to->array, Py_XNewRef(from->array));
  Py_XSETREF(to->version, Py_XNewRef(from->version));
  Py_XSETREF(to->record, Py_XNewRef(from->record));
  Py_XSETREF(to->hooks, Py_XNewRef(from->hooks));
  to->index = from->index;
  to->code = from->code;
  to->requires_grad = from->requires_grad;
  Py_RETURN_NONE;
}

PyObject* get_dtype(PyObject* self, void*) {
  return Py_NewRef(hooks().dtypes[static_cast<size_t>(tensor_of(self)->code)]);
}

PyObject* get_version(PyObject* self, void*) {
  return Py_XNewRef(version_of(tensor_of(self)));
}

PyObject* get_shape(PyObject* self, void*) {
  const Tensor* tensor = tensor_of(self);
  if (tensor->code == PF_DTYPE_variant) return PyTuple_New(0);
  if (!is_array(tensor->array)) return PyObject_GetAttrString(tensor->array, "shape");
  const ArrayFields* fields = array_fields(tensor->array);
  PyObject* shape = PyTuple_New(fields->nd);
  for (int axis = 0; shape && axis < fields->nd; ++axis) {
    PyObject* size = PyLong_FromSsize_t(fields->dimensions[axis]);
    if (!size) {
      Py_CLEAR(shape);
    } else {
      PyTuple_SET_ITEM(shape, axis, size);
    }
  }
  return shape;
}

// Fields that are None in Python where they are null here.
template <PyObject* Tensor::* Field>
PyObject* get(PyObject* self, void*) {
  PyObject* value = tensor_of(self)->*Field;
  return Py_NewRef(value ? value : Py_None);
}

template <PyObject* Tensor::* Field>
int set(PyObject* self, PyObject* value, void*) {
  if (Field == &Tensor::record && value && value != Py_None && Py_TYPE(value) != record_type()) {
    PyErr_SetString(PyExc_TypeError, "expected a Record or None");
    return -1;
  }
  Py_XSETREF(tensor_of(self)->*Field, value && value != Py_None ? Py_NewRef(value) : nullptr);
  return 0;
}

PyGetSetDef properties[] = {{"_dtype", get_dtype, nullptr, nullptr, nullptr},
                            {"_version", get_version, nullptr, nullptr, nullptr},
                            {"_record", get<&Tensor::record>, set<&Tensor::record>, nullptr, nullptr},
                            {"_grad", get<&Tensor::grad>, set<&Tensor::grad>, nullptr, nullptr},
                            {"_hooks", get<&Tensor::hooks>, set<&Tensor::hooks>, nullptr, nullptr},
                            {"dtype", get_dtype, nullptr, "The type of its elements.", nullptr},
                            {"shape", get_shape, nullptr, "Its sizes.", nullptr},
                            {"dims", get_shape, nullptr, "Its sizes, as those of graph values are called.", nullptr},
                            {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {{"_array", T_OBJECT_EX, offsetof(Tensor, array), READONLY, nullptr},
                         {"_index", T_INT, offsetof(Tensor, index), 0, nullptr},
                         {"_requires_grad", T_BOOL, offsetof(Tensor, requires_grad), 0, nullptr},
                         {"__dictoffset__", T_PYSSIZET, offsetof(Tensor, dict), READONLY, nullptr},
                         {"__weaklistoffset__", T_PYSSIZET, offsetof(Tensor, weak), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

PyMethodDef methods[] = {{"_of", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(of)),
                          METH_FASTCALL | METH_CLASS, "_of(array, dtype, version=None): a tensor of this memory."},
                         {"_take", take, METH_O, "Becomes what another tensor is."},
                         {nullptr, nullptr, 0, nullptr}};

// A window as one axis after the other is indexed.
struct Window {
  char* data;
  const ArrayFields* from;
  Py_intptr_t dims[PF_MAX_NDIM], strides[PF_MAX_NDIM];
  int axis = 0, ndim = 0;

  // False: not a key of this kind, or out of range.
  bool take(PyObject* key) {
    if (axis >= from->nd || from->nd > PF_MAX_NDIM) return false;
    const Py_ssize_t size = from->dimensions[axis], stride = from->strides[axis];
    ++axis;
    if (PyLong_CheckExact(key)) {
      Py_ssize_t index = PyLong_AsSsize_t(key);
      if (index == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
      }
      if (index < 0) index += size;
      if (index < 0 || index >= size) return false;
      data += index * stride;
      return true;
    }
    if (!PySlice_Check(key)) return false;
    auto* slice = reinterpret_cast<PySliceObject*>(key);
    for (PyObject* part : {slice->start, slice->stop, slice->step}) {
      if (part != Py_None && !PyLong_CheckExact(part)) return false;
    }
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
      PyErr_Clear();
      return false;
    }
    dims[ndim] = PySlice_AdjustIndices(size, &start, &stop, step);
    strides[ndim] = stride * step;
    if (dims[ndim] > 0) data += start * stride;
    ++ndim;
    return true;
  }
};

PyObject* subscript(PyObject* self, PyObject* key) {
  Tensor* tensor = tensor_of(self);
  if (!mode().capture && !needs_record({&tensor, 1}) && is_array(tensor->array) &&
      !hooks().objects[static_cast<size_t>(tensor->code)]) {
    const ArrayFields* fields = array_fields(tensor->array);
    Window window{fields->data, fields, {}, {}};
    bool good;
    if (PyTuple_CheckExact(key)) {
      good = true;
      for (Py_ssize_t index = 0; good && index < PyTuple_GET_SIZE(key); ++index) {
        good = window.take(PyTuple_GET_ITEM(key, index));
      }
    } else {
      good = window.take(key);
    }
    if (good) {
      for (; window.axis < fields->nd; ++window.axis) {
        window.dims[window.ndim] = fields->dimensions[window.axis];
        window.strides[window.ndim++] = fields->strides[window.axis];
      }
      const Api& numpy = Api::get();
      Py_INCREF(fields->descr);
      const int flags = fields->flags & (Api::NPY_ARRAY_WRITEABLE_ | Api::NPY_ARRAY_ALIGNED_);
      PyObject* array = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, fields->descr, window.ndim, window.dims,
                                                    window.strides, window.data, flags, nullptr);
      if (!array) return nullptr;
      if (numpy.PyArray_SetBaseObject_(array, Py_NewRef(tensor->array)) != 0) {
        Py_DECREF(array);
        return nullptr;
      }
      PyObject* version = version_of(tensor);
      Tensor* made = version ? new_tensor(array, tensor->code) : nullptr;
      if (made) made->version = Py_NewRef(version);
      return reinterpret_cast<PyObject*>(made);
    }
  }
  PyObject* const arguments[] = {self, key};
  return PyObject_Vectorcall(hooks().getitem, arguments, 2, nullptr);
}

}  // namespace

Hooks& hooks() {
  static auto* all = new Hooks;
  return *all;
}

PyTypeObject* tensor_base() {
  return the_type;
}

Tensor* new_tensor(PyObject* array, int16_t code) {
  PyTypeObject* type = hooks().tensor;
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) {
    Py_DECREF(array);
    return nullptr;
  }
  Tensor* tensor = tensor_of(self);
  tensor->array = array;
  tensor->code = code;
  return tensor;
}

void bind_tensor(py::module_& module) {
  std::vector<PyType_Slot> slots = {
      {Py_tp_doc, const_cast<char*>("The memory of a tensor, and its place among records.")},
      {Py_tp_new, reinterpret_cast<void*>(make)},
      {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_getset, properties},
      {Py_tp_members, members},
      {Py_tp_methods, methods},
      {Py_bf_getbuffer, reinterpret_cast<void*>(buffer)},
      {Py_mp_subscript, reinterpret_cast<void*>(subscript)},
  };
  set_number_slots(slots);
  slots.push_back({0, nullptr});
  PyType_Spec spec = {"pyflow._core.TensorBase", sizeof(Tensor), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  the_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  module.attr("TensorBase") = type;
  module.def(
      "empty",
      [](int32_t dtype, const std::vector<int64_t>& dims) {
        return py::reinterpret_steal<py::object>(new_eager_array(dtype, dims));
      },
      py::arg("dtype"), py::arg("dims"), "A new array of a dtype's code, its content unsettled, for a tensor.");
  module.def(
      "setup",
      [](const py::object& tensor, const py::object& dtype, const py::list& dtypes, const py::dict& ways) {
        Hooks& all = hooks();
        all.tensor = reinterpret_cast<PyTypeObject*>(py::object(tensor).release().ptr());
        all.dtype = reinterpret_cast<PyTypeObject*>(py::object(dtype).release().ptr());
        for (const py::handle& each : dtypes) {
          all.dtypes.push_back(each.inc_ref().ptr());
          all.inexact.push_back(each.attr("is_inexact").cast<bool>());
          all.objects.push_back(each.attr("is_object").cast<bool>());
        }
        auto way = [&](const char* name) { return py::object(ways[name]).release().ptr(); };
        all.binary = way("binary");
        all.in_place = way("in_place");
        all.unary = way("unary");
        all.getitem = way("getitem");
        all.origin = way("origin");
        all.failure = way("failure");
        all.number = way("number");
      },
      py::arg("tensor"), py::arg("dtype"), py::arg("dtypes"), py::arg("ways"),
      "What eager calls need of Python: the classes Tensor and DType, all dtypes by code, and by name the functions "
      "for "
      "calls that are not known: binary(op, x, y), in_place(op, x, y), unary(op, x), getitem(x, key), origin(), "
      "failure(record, kind, value, times), number(dtype, value).");
}

}  // namespace pf::eager
