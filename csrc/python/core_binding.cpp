// Model, State, Threads, Cancel and the backends, by pybind11: nothing here is on a hot path.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/checksum.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "python/arrays.h"
#include "python/callable.h"
#include "python/errors.h"
#include "python/host_backend.h"

namespace py = pybind11;

namespace pf {

namespace {

// Takes a State's lock without holding the GIL while waiting.
class Access {
 public:
  Access(State& state, bool writes) : lock_(state, writes) {
    if (lock_.owns()) return;
    const py::gil_scoped_release release;
    lock_.wait();
  }

 private:
  StateLock lock_;
};

std::shared_ptr<Variable> variable(const State& state, const std::string& name) {
  std::shared_ptr<Variable> found = state.find(name);
  if (!found) throw Error(PF_NOT_FOUND, text("the State has no variable '", name, "'"));
  return found;
}

py::object get(State& state, const std::string& name) {
  const std::shared_ptr<Variable> found = variable(state, name);
  py::object result = py::reinterpret_steal<py::object>(new_array(found->dtype, found->dims));
  const Access access(state, false);
  state.get(*found, array_fields(result.ptr())->data);
  return result;
}

void set(State& state, const std::string& name, const py::object& value) {
  if (!is_array(value.ptr()))
    throw py::type_error("a variable is set to a numpy array, not " + describe_object(value.ptr()));
  const ArrayFields* fields = array_fields(value.ptr());
  const int32_t dtype = dtype_code(fields->descr);
  if (dtype < 0 || !is_plain_array(value.ptr(), numpy_dtype(dtype))) {
    throw Error(PF_INVALID_ARGUMENT, text("variable '", name, "': ", describe_object(value.ptr()),
                                          " is no C-contiguous array of a dtype that pyflow knows"));
  }
  const std::vector<int64_t> dims(fields->dimensions, fields->dimensions + fields->nd);
  const std::shared_ptr<Variable> found = state.find(name);
  const std::shared_ptr<Variable> target = state.declare(name, dtype, dims, found ? found->memory.backend() : nullptr);
  const Access access(state, true);
  state.set(*target, fields->data);
}

std::shared_ptr<Model> make_model(const py::bytes& plan, const py::list& arrays) {
  const std::string_view bytes = plan;
  Plan parsed = parse_plan({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  std::vector<Constant> constants;
  py::list kept;
  for (const py::handle& array : arrays) {
    const int32_t dtype = is_array(array.ptr()) ? dtype_code(array_fields(array.ptr())->descr) : -1;
    if (dtype < 0)
      throw Error(PF_INVALID_ARGUMENT, text("constant ", constants.size(), " is ", describe_object(array.ptr()),
                                            "; expected an array of a dtype that pyflow knows"));
    py::object plain = py::reinterpret_borrow<py::object>(array);
    if (!is_plain_array(array.ptr(), numpy_dtype(dtype))) plain = plain.attr("copy")("C");
    const auto bytes_of_array = plain.attr("nbytes").cast<size_t>();
    constants.push_back({array_fields(plain.ptr())->data, bytes_of_array, dtype});
    kept.append(plain);
  }
  const std::shared_ptr<void> keep(kept.release().ptr(), [](void* list) {
    if (!Py_IsInitialized()) return;
    const PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(static_cast<PyObject*>(list));
    PyGILState_Release(state);
  });
  return std::make_shared<Model>(std::move(parsed), constants, keep);
}

using Operands = std::vector<std::pair<int32_t, int32_t>>;
using EncodedInstr = std::tuple<std::string, int32_t, std::vector<int32_t>, uint64_t>;
using EncodedProgram = std::tuple<std::vector<int32_t>, std::vector<EncodedInstr>, std::vector<int32_t>>;

std::pair<bool, std::string> supports(const std::string& backend, const std::string& kernel, const Operands& inputs,
                                      const Operands& outputs, const std::vector<std::optional<int64_t>>& ints,
                                      const std::vector<double>& floats, const std::vector<EncodedProgram>& programs,
                                      size_t defines) {
  SizeTable sizes;
  sizes.symbols.push_back({"unknown", 0, -1, false});
  Step step{};
  step.kernel = kernel;
  auto operands = [](const Operands& rows, std::vector<View>& views) {
    for (const auto& [dtype, ndim] : rows) {
      if (!is_dtype(dtype) || ndim < 0 || ndim > PF_MAX_NDIM)
        throw py::value_error("an operand is (dtype code, ndim up to 16)");
      views.push_back({0, dtype, std::vector<Row>(ndim), std::vector<Row>(ndim), 0});
    }
  };
  operands(inputs, step.inputs);
  operands(outputs, step.outputs);
  for (const std::optional<int64_t>& value : ints) {
    step.ints.push_back(static_cast<Row>(sizes.rows.size()));
    sizes.rows.push_back({value ? SizeOp::Const : SizeOp::Symbol, value.value_or(0), 0});
  }
  sizes.validate();
  step.floats = floats;
  step.defines.assign(defines, 0);
  for (const auto& [registers, instrs, results] : programs) {
    Program& program = step.programs.emplace_back();
    program.inputs = registers;
    program.outputs = results;
    for (const auto& [op, dtype, args, imm] : instrs) {
      if (args.size() > std::size(pf_instr{}.args)) throw py::value_error("an instruction has at most 4 arguments");
      program.instrs.push_back({op, dtype, args, imm});
    }
  }
  const StepTables tables(step, sizes);
  std::string why;
  const bool yes = backend_supports(Registry::instance().get(backend), tables.step, &why);
  return {yes, why};
}

struct Cancel {
  volatile int32_t flag = 0;
};

}  // namespace

void bind_core(py::module_& module) {
  py::class_<Model, std::shared_ptr<Model>>(
      module, "Model", "Model(plan_bytes, constants): a plan made ready; immutable, for any thread.")
      .def(py::init(&make_model), py::arg("plan"), py::arg("constants") = py::list())
      .def_property_readonly("entries", [](const Model& model) {
        std::vector<std::string> names;
        for (const Entry& entry : model.plan().entries) names.push_back(entry.name);
        return names;
      });
  py::class_<State, std::shared_ptr<State>>(module, "State", "The values of variables, by name.")
      .def(py::init<>())
      .def("names", &State::names, "Of all variables, also those without a value.")
      .def(
          "declare",
          [](State& state, const std::string& name, int32_t dtype, const std::vector<int64_t>& dims) {
            state.declare(name, dtype, dims);
          },
          py::arg("name"), py::arg("dtype"), py::arg("dims"),
          "Makes room for a variable; again with another type is an error.")
      .def(
          "has",
          [](State& state, const std::string& name) {
            const std::shared_ptr<Variable> found = state.find(name);
            if (!found) return false;
            const Access access(state, false);
            return found->initialised;
          },
          "Has it a value?")
      .def("get", &get, "A copy of the value.")
      .def("set", &set, "Copies a C-contiguous array in; declares the variable if it is new.")
      .def(
          "counter",
          [](State& state, const std::string& name) {
            const std::shared_ptr<Variable> found = variable(state, name);
            const Access access(state, false);
            return found->writes;
          },
          "How many times it was written.")
      .def(
          "type",
          [](State& state, const std::string& name) {
            const std::shared_ptr<Variable> found = variable(state, name);
            return std::make_pair(found->dtype, found->dims);
          },
          "(dtype code, dims).");
  py::class_<Threads, std::shared_ptr<Threads>>(
      module, "Threads",
      "Threads(n=0, executor=0): n of our own (0: as many as CPUs), or those of a host's pf_executor.")
      .def(py::init([](int32_t threads, uintptr_t executor) {
             const auto* host = reinterpret_cast<const pf_executor*>(executor);
             if (host && host->struct_size < sizeof(pf_executor)) {
               throw Error(PF_FAILED_PRECONDITION, text("the host's pf_executor has ", host->struct_size,
                                                        " bytes; expected ", sizeof(pf_executor), " or more"));
             }
             return std::make_shared<Threads>(threads, host);
           }),
           py::arg("n") = 0, py::arg("executor") = 0)
      .def_property_readonly("size", [](const Threads& threads) { return threads.executor()->nthreads; });
  py::class_<Cancel>(module, "Cancel", "A flag that stops runs: give it to run(cancel=) and set it from any thread.")
      .def(py::init<>())
      .def("set", [](Cancel& cancel) { __atomic_store_n(&cancel.flag, 1, __ATOMIC_RELAXED); })
      .def("clear", [](Cancel& cancel) { __atomic_store_n(&cancel.flag, 0, __ATOMIC_RELAXED); })
      .def("is_set", [](const Cancel& cancel) { return __atomic_load_n(&cancel.flag, __ATOMIC_RELAXED) != 0; })
      .def_property_readonly("address", [](Cancel& cancel) { return reinterpret_cast<uintptr_t>(&cancel.flag); });
  module.def(
      "checksum",
      [](const py::buffer& data) {
        const py::buffer_info info = data.request();
        const auto* bytes = static_cast<const uint8_t*>(info.ptr);
        const py::gil_scoped_release release;
        return checksum({bytes, static_cast<size_t>(info.size * info.itemsize)});
      },
      py::arg("data"), "A sum over a contiguous buffer that shows damage; see core/checksum.h.");
  module.def("backends", [] {
    std::vector<std::string> names;
    for (const pf_backend* backend : Registry::instance().list()) names.push_back(backend->name);
    return names;
  });
  module.def("backend_shares_memory",
             [](const std::string& name) { return Registry::instance().get(name)->host_memory != 0; });
  module.def(
      "load_plugin", [](const std::string& path) { return Registry::instance().load_plugin(path); },
      "Opens a shared library; returns the names of the backends and kernels that it added.");
  module.def(
      "register_host_backend", &register_host_backend, py::arg("name"), py::arg("supports"), py::arg("run"),
      "supports(kernel, inputs, outputs, ints, floats, programs) -> bool or (bool, why), operands as (dtype code, "
      "ndim); "
      "run(kernel, text, inputs, outputs, ints, floats, programs) -> the sizes that the step defines, if any. Arrays "
      "are right only during the call.");
  module.def(
      "supports", &supports, py::arg("backend"), py::arg("kernel"), py::arg("inputs"), py::arg("outputs"),
      py::arg("ints") = std::vector<std::optional<int64_t>>{}, py::arg("floats") = std::vector<double>{},
      py::arg("programs") = std::vector<EncodedProgram>{}, py::arg("defines") = 0,
      "(bool, why) for a step: operands as (dtype code, ndim), unknown ints as None, programs as (input dtype codes, "
      "[(op, dtype code, args, imm)], output registers), defines as the number of sizes that it gives.");
}

}  // namespace pf
