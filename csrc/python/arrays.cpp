#include "python/arrays.h"

#include "core/dtype.h"

namespace py = pybind11;

namespace pf {

namespace {

using Api = py::detail::npy_api;

const Api& numpy() {
  static const Api& api = Api::get();
  return api;
}

}  // namespace

PyObject* numpy_dtype(int32_t code) {
  static PyObject* table[PF_DTYPE_COUNT];
  PyObject*& cell = table[code];
  if (!cell) {
    const py::object row = py::module_::import("pyflow.dtypes").attr("BY_CODE")[py::int_(code)];
    cell = py::object(row.attr("memory").attr("numpy")).release().ptr();
  }
  return cell;
}

int32_t dtype_code(PyObject* given) {
  for (int32_t code = 0; code < PF_DTYPE_COUNT; ++code) {
    if (given == numpy_dtype(code)) return code;
  }
  for (int32_t code = 0; code < PF_DTYPE_COUNT; ++code) {
    if (numpy().PyArray_EquivTypes_(given, numpy_dtype(code))) return code;
  }
  return -1;
}

bool is_array(PyObject* object) {
  return numpy().PyArray_Check_(object);
}

bool is_plain_array(PyObject* object, PyObject* dtype) {
  if (Py_TYPE(object) != numpy().PyArray_Type_) return false;
  const ArrayFields* fields = array_fields(object);
  constexpr int kFlags = Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_;
  return (fields->flags & kFlags) == kFlags &&
         (fields->descr == dtype || numpy().PyArray_EquivTypes_(fields->descr, dtype));
}

PyObject* new_array(int32_t dtype, std::span<const int64_t> dims) {
  PyObject* descr = numpy_dtype(dtype);
  Py_INCREF(descr);
  PyObject* array = numpy().PyArray_NewFromDescr_(numpy().PyArray_Type_, descr, static_cast<int>(dims.size()),
                                                  dims.data(), nullptr, nullptr, 0, nullptr);
  if (!array) throw py::error_already_set();
  return array;
}

py::object view_array(const pf_view& view, bool writeable) {
  Py_intptr_t strides[PF_MAX_NDIM];
  for (int32_t axis = 0; axis < view.ndim; ++axis) strides[axis] = view.strides[axis] * dtype_bytes(view.dtype);
  PyObject* descr = numpy_dtype(view.dtype);
  Py_INCREF(descr);
  const int flags = Api::NPY_ARRAY_ALIGNED_ | (writeable ? Api::NPY_ARRAY_WRITEABLE_ : 0);
  PyObject* array = numpy().PyArray_NewFromDescr_(numpy().PyArray_Type_, descr, view.ndim, view.dims, strides,
                                                  view.data, flags, nullptr);
  if (!array) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

py::tuple view_arrays(const pf_view* views, int32_t count, bool writeable) {
  py::tuple result(count);
  for (int32_t index = 0; index < count; ++index) result[index] = view_array(views[index], writeable);
  return result;
}

std::string describe_object(PyObject* object) {
  if (!is_array(object)) return Py_TYPE(object)->tp_name;
  const ArrayFields* fields = array_fields(object);
  std::string result = py::str(fields->descr);
  result += "[";
  for (int axis = 0; axis < fields->nd; ++axis) result += (axis ? "," : "") + std::to_string(fields->dimensions[axis]);
  return result + "]";
}

py::list encode_programs(const pf_step& step) {
  py::list result;
  for (int32_t index = 0; index < step.nprograms; ++index) {
    const pf_program& program = step.programs[index];
    py::list inputs, instrs, outputs;
    for (int32_t each = 0; each < program.ninputs; ++each) inputs.append(program.register_dtypes[each]);
    for (int32_t each = 0; each < program.ninstrs; ++each) {
      const pf_instr& instr = program.instrs[each];
      py::list args;
      for (int32_t arg = 0; arg < instr.nargs; ++arg) args.append(instr.args[arg]);
      instrs.append(py::make_tuple(instr.op, instr.dtype, args, instr.imm));
    }
    for (int32_t each = 0; each < program.noutputs; ++each) outputs.append(program.outputs[each]);
    result.append(py::make_tuple(inputs, instrs, outputs));
  }
  return result;
}

}  // namespace pf
