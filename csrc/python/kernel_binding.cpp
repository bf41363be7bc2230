// Single kernels for tests and tools: one step, prepared, bound and run on arrays as they lie.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <deque>
#include <map>
#include <memory>

#include "backends/cpu/backend.h"
#include "core/status.h"
#include "core/threads.h"

namespace py = pybind11;

namespace pf {
namespace {

int32_t dtype_code(const py::dtype& dtype) {
  static const std::map<std::string, int32_t> codes = {
#define PF_ROW(name, code, bits) {#name, code},
      PF_DTYPES(PF_ROW)
#undef PF_ROW
  };
  const auto found = codes.find(dtype.attr("name").cast<std::string>());
  if (found == codes.end()) throw py::type_error("no pyflow dtype for " + py::str(dtype).cast<std::string>());
  return found->second;
}

// Programs given as (input dtype codes, [(op, dtype code, args, imm)], output registers).
class Programs {
 public:
  explicit Programs(const py::list& programs) {
    for (const py::handle& item : programs) add(py::cast<py::tuple>(item));
  }
  const std::vector<pf_program>& rows() const { return rows_; }

 private:
  struct Owned {
    std::vector<std::string> names;
    std::vector<pf_instr> instrs;
    std::vector<int32_t> outputs, dtypes;
  };

  void add(const py::tuple& program) {
    Owned& owned = owned_.emplace_back();
    owned.dtypes = program[0].cast<std::vector<int32_t>>();
    const auto ninputs = static_cast<int32_t>(owned.dtypes.size());
    const py::list instrs = program[1];
    owned.names.reserve(instrs.size());
    for (const py::handle& item : instrs) {
      const py::tuple fields = py::cast<py::tuple>(item);
      owned.names.push_back(fields[0].cast<std::string>());
      pf_instr instr{owned.names.back().c_str(), fields[1].cast<int32_t>(), 0, {}, fields[3].cast<uint64_t>()};
      const auto args = fields[2].cast<std::vector<int32_t>>();
      if (args.size() > 4) throw py::value_error("an instruction has at most 4 arguments");
      for (const int32_t arg : args) instr.args[instr.nargs++] = arg;
      owned.dtypes.push_back(instr.dtype);
      owned.instrs.push_back(instr);
    }
    owned.outputs = program[2].cast<std::vector<int32_t>>();
    rows_.push_back({ninputs, static_cast<int32_t>(owned.instrs.size()), static_cast<int32_t>(owned.outputs.size()),
                     owned.instrs.data(), owned.outputs.data(), owned.dtypes.data()});
  }

  std::deque<Owned> owned_;
  std::vector<pf_program> rows_;
};

// Arrays as operands and places of a step; buffers follow one another in `buffers`.
struct Operands {
  std::vector<pf_operand> operands;
  std::vector<pf_place> places;
  std::deque<std::vector<int64_t>> sizes;

  Operands(const py::list& arrays, bool written, std::vector<void*>& buffers) {
    for (const py::handle& item : arrays) {
      if (!py::isinstance<py::array>(item)) throw py::type_error("operands must be numpy arrays");
      const auto array = py::reinterpret_borrow<py::array>(item);
      if (written && !array.writeable()) throw py::value_error("an output array is read-only");
      const auto ndim = static_cast<int32_t>(array.ndim());
      if (ndim > PF_MAX_NDIM) throw py::value_error("an array has more than 16 dims");
      std::vector<int64_t>& dims = sizes.emplace_back(array.shape(), array.shape() + ndim);
      std::vector<int64_t>& strides = sizes.emplace_back();
      for (int32_t axis = 0; axis < ndim; ++axis) {
        if (array.strides(axis) % array.itemsize() != 0)
          throw py::value_error("strides must be multiples of the item size");
        strides.push_back(array.strides(axis) / array.itemsize());
      }
      operands.push_back({dtype_code(array.dtype()), ndim});
      places.push_back({static_cast<int32_t>(buffers.size()), 0, dims.data(), strides.data()});
      buffers.push_back(const_cast<void*>(array.data()));
    }
  }
};

void check(pf_code code, const pf_error& error) {
  if (code != PF_OK) throw Error(code, error.message);
}

// Puts the ISA back when a call that asked for another ends.
class IsaChoice {
 public:
  explicit IsaChoice(const py::object& isa) : before_(selected_isa()), changed_(!isa.is_none()) {
    if (!changed_) return;
    if (const std::string why = select_isa(isa.cast<std::string>()); !why.empty())
      throw Error(PF_INVALID_ARGUMENT, why);
  }
  ~IsaChoice() {
    if (changed_) select_isa(before_);
  }
  IsaChoice(const IsaChoice&) = delete;
  IsaChoice& operator=(const IsaChoice&) = delete;

 private:
  std::string before_;
  bool changed_;
};

std::vector<int64_t> call_kernel(const std::string& name, const py::list& inputs, const py::list& outputs,
                                 const std::vector<int64_t>& ints, const std::vector<double>& floats,
                                 const py::list& programs, const std::string& text, const py::object& isa,
                                 const py::object& threads, int32_t ndefines, bool host_pool) {
  std::vector<void*> buffers;
  const Operands in(inputs, false, buffers), out(outputs, true, buffers);
  const Programs owned_programs(programs);
  const IsaChoice choice(isa);
  std::vector<int64_t> defines(static_cast<size_t>(ndefines));
  pf_step step{};
  step.kernel = name.c_str();
  step.text = text.c_str();
  step.origin = "";
  step.ninputs = static_cast<int32_t>(in.operands.size());
  step.noutputs = static_cast<int32_t>(out.operands.size());
  step.nints = static_cast<int32_t>(ints.size());
  step.nfloats = static_cast<int32_t>(floats.size());
  step.nprograms = static_cast<int32_t>(owned_programs.rows().size());
  step.ndefines = ndefines;
  step.inputs = in.operands.data();
  step.outputs = out.operands.data();
  step.ints = ints.data();
  step.floats = floats.data();
  step.programs = owned_programs.rows().data();

  const pf_backend* backend = cpu_backend();
  const pf_segment segment{1, &step};
  const pf_step_sizes sizes{in.places.data(), out.places.data(), ints.data(), defines.data()};
  const std::unique_ptr<Gang> own =
      py::isinstance<Gang>(threads) ? nullptr : std::make_unique<Gang>(threads.cast<int32_t>());
  const Gang& gang = own != nullptr ? *own : threads.cast<const Gang&>();
  pf_executor executor = *gang.executor();
  if (host_pool) executor.gang = nullptr;
  pf_error error{-1, ""};
  pf_needs needs{};
  void* made = nullptr;
  check(backend->prepare(backend->self, &segment, &made, &error), error);
  const std::unique_ptr<void, void (*)(void*)> prepared(
      made, [](void* what) { cpu_backend()->unprepare(cpu_backend()->self, what); });
  check(backend->bind(backend->self, prepared.get(), &sizes, &made, &needs, &error), error);
  const std::unique_ptr<void, void (*)(void*)> bound(
      made, [](void* what) { cpu_backend()->unbind(cpu_backend()->self, what); });
  std::vector<std::byte> scratch(needs.scratch);
  const pf_run run{buffers.data(), scratch.data(), &executor, nullptr, 0, 0, nullptr};
  pf_code code;
  {
    const py::gil_scoped_release release;
    code = backend->run(backend->self, bound.get(), &run, &error);
  }
  check(code, error);
  return defines;
}

}  // namespace

void bind_kernels(py::module_& module) {
  py::class_<Gang>(module, "Gang", "A set of threads that lives across calls.")
      .def(py::init<int32_t>(), py::arg("threads"), "`threads` <= 0: as many as available_cpus().")
      .def_property_readonly("size", &Gang::size);
  module.def("call_kernel", call_kernel, py::arg("name"), py::arg("inputs"), py::arg("outputs"),
             py::arg("ints") = std::vector<int64_t>{}, py::arg("floats") = std::vector<double>{},
             py::arg("programs") = py::list(), py::arg("text") = "", py::arg("isa") = py::none(),
             py::arg("threads") = 1, py::arg("ndefines") = 0, py::arg("host_pool") = false,
             "Runs one kernel of the cpu backend on numpy arrays, strided or not; outputs are written in place. "
             "`threads` is a number or a Gang; with `host_pool` it stands for a host's pool, driven by parallel_for. "
             "Returns the sizes that the kernel defines.");
  module.def("kernel_names", kernel_names, "Names of the cpu backend's kernels.");
  module.def(
      "scalar_ops",
      [] {
        std::vector<std::tuple<std::string, int32_t, std::vector<int32_t>>> rows;
        for (const ScalarOp& op : scalar_ops()) {
          std::vector<int32_t> dtypes;
          for (int32_t code = 0; code < PF_DTYPE_COUNT; ++code)
            if ((op.dtypes >> code & 1u) != 0) dtypes.push_back(code);
          rows.emplace_back(op.name, op.nargs, std::move(dtypes));
        }
        return rows;
      },
      "Scalar functions that programs may use: (name, number of arguments, dtype codes).");
  module.def("built_isas", built_isas, "ISAs that the kernels were built for, least first.");
  module.def("cpu_isas", cpu_isas, "ISAs that this machine runs, least first.");
  module.def("selected_isa", selected_isa, "The ISA that is used for what is prepared from now on.");
  module.def(
      "select_isa",
      [](const std::string& name) {
        if (const std::string why = select_isa(name); !why.empty()) throw Error(PF_INVALID_ARGUMENT, why);
      },
      py::arg("name"), "Chooses an ISA by name; '' is the default.");
  module.def("available_cpus", available_cpus, "CPUs that this process may use: affinity and cgroup quota.");
}

}  // namespace pf
