#include "python/host_backend.h"

#include <time.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "core/registry.h"
#include "python/arrays.h"
#include "python/errors.h"

namespace py = pybind11;

namespace pf {

namespace {

thread_local StepException kept;

// Lives until the process ends, as a registered backend must.
struct HostBackend {
  std::string name;
  py::object supports;
  py::object run;
  pf_backend backend;
};

struct HostStep {
  py::str kernel, text;
  py::list floats, programs;
};

struct HostSegment {
  std::vector<pf_step> steps;
  std::vector<HostStep> values;
};

struct HostBound {
  const HostSegment* segment;
  std::vector<pf_step_sizes> sizes;
  std::vector<pf_view> views;  // inputs, then outputs, step by step
};

py::list ints_of(const int64_t* ints, int32_t count) {
  py::list result;
  for (int32_t index = 0; index < count; ++index) {
    if (ints[index] == PF_UNKNOWN) {
      result.append(py::none());
    } else {
      result.append(ints[index]);
    }
  }
  return result;
}

py::list floats_of(const pf_step& step) {
  py::list result;
  for (int32_t index = 0; index < step.nfloats; ++index) result.append(step.floats[index]);
  return result;
}

py::list operands_of(const pf_operand* operands, int32_t count) {
  py::list result;
  for (int32_t index = 0; index < count; ++index)
    result.append(py::make_tuple(operands[index].dtype, operands[index].ndim));
  return result;
}

// Runs `body`, which may throw Python's errors, with the GIL.
template <typename Body>
pf_code with_python(pf_error* error, Body&& body) {
  const PyGILState_STATE state = PyGILState_Ensure();
  pf_code code = PF_OK;
  try {
    body();
  } catch (py::error_already_set& raised) {
    raised.restore();
    code = keep_exception(false, error);
  } catch (const py::builtin_exception& raised) {
    raised.set_error();
    code = keep_exception(false, error);
  } catch (const std::exception& raised) {
    std::snprintf(error->message, sizeof(error->message), "%s", raised.what());
    code = PF_INTERNAL;
  }
  PyGILState_Release(state);
  return code;
}

int32_t supports(void* self, const pf_step* step, char* why, size_t why_size) {
  pf_error error{-1, ""};
  int32_t result = 0;
  const pf_code code = with_python(&error, [&] {
    const py::object answer = static_cast<HostBackend*>(self)->supports(
        step->kernel, operands_of(step->inputs, step->ninputs), operands_of(step->outputs, step->noutputs),
        ints_of(step->ints, step->nints), floats_of(*step), encode_programs(*step));
    if (py::isinstance<py::tuple>(answer)) {
      const auto pair = answer.cast<std::pair<bool, std::string>>();
      result = pair.first;
      std::snprintf(why, why_size, "%s", pair.second.c_str());
    } else {
      result = answer.cast<bool>();
    }
  });
  if (code == PF_OK) return result;
  std::snprintf(why, why_size, "%s", error.message);
  const PyGILState_STATE state = PyGILState_Ensure();
  take_exception();
  PyGILState_Release(state);
  return 0;
}

pf_code prepare(void*, const pf_segment* segment, void** prepared, pf_error* error) {
  return with_python(error, [&] {
    auto made = std::make_unique<HostSegment>();
    for (int32_t index = 0; index < segment->nsteps; ++index) {
      const pf_step& step = segment->steps[index];
      made->steps.push_back(step);
      made->values.push_back({py::str(step.kernel), py::str(step.text), floats_of(step), encode_programs(step)});
    }
    *prepared = made.release();
  });
}

void unprepare(void*, void* prepared) {
  if (!Py_IsInitialized()) return;
  const PyGILState_STATE state = PyGILState_Ensure();
  delete static_cast<HostSegment*>(prepared);
  PyGILState_Release(state);
}

pf_code bind(void*, void* prepared, const pf_step_sizes* sizes, void** bound, pf_needs* needs, pf_error*) {
  auto made = std::make_unique<HostBound>();
  made->segment = static_cast<HostSegment*>(prepared);
  const std::vector<pf_step>& steps = made->segment->steps;
  made->sizes.assign(sizes, sizes + steps.size());
  for (size_t index = 0; index < steps.size(); ++index) {
    auto add = [&](const pf_place* places, const pf_operand* operands, int32_t count) {
      for (int32_t each = 0; each < count; ++each) {
        made->views.push_back(
            {nullptr, places[each].dims, places[each].strides, operands[each].ndim, operands[each].dtype});
      }
    };
    add(sizes[index].inputs, steps[index].inputs, steps[index].ninputs);
    add(sizes[index].outputs, steps[index].outputs, steps[index].noutputs);
  }
  *needs = {0, 0};
  *bound = made.release();
  return PF_OK;
}

void unbind(void*, void* bound) {
  delete static_cast<HostBound*>(bound);
}

bool is_past(int64_t deadline) {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec >= deadline;
}

pf_code stop(pf_code code, const char* message, pf_error* error) {
  std::snprintf(error->message, sizeof(error->message), "%s", message);
  return code;
}

pf_code run_step(HostBackend& host, const HostStep& values, const pf_call& call, pf_error* error) {
  return with_python(error, [&] {
    const py::object defined = host.run(values.kernel, values.text, view_arrays(call.inputs, call.step->ninputs, false),
                                        view_arrays(call.outputs, call.step->noutputs, true),
                                        ints_of(call.ints, call.step->nints), values.floats, values.programs);
    if (call.step->ndefines == 0) return;
    const auto sizes = py::cast<std::vector<int64_t>>(defined);
    if (sizes.size() != static_cast<size_t>(call.step->ndefines)) {
      throw py::value_error("the step defines " + std::to_string(call.step->ndefines) +
                            " sizes and its function returned " + std::to_string(sizes.size()));
    }
    std::copy(sizes.begin(), sizes.end(), call.defines);
  });
}

pf_code run(void* self, void* handle, const pf_run* run, pf_error* error) {
  auto& bound = *static_cast<HostBound*>(handle);
  const HostSegment& segment = *bound.segment;
  pf_view* view = bound.views.data();
  for (int32_t index = 0; index < static_cast<int32_t>(segment.steps.size()); ++index) {
    error->step = index;
    if (index <= run->last_cancellable) {
      if (run->cancel && *run->cancel) return stop(PF_CANCELLED, "the run was cancelled", error);
      if (run->deadline && is_past(run->deadline))
        return stop(PF_DEADLINE_EXCEEDED, "the run's deadline passed", error);
    }
    const pf_step& step = segment.steps[index];
    const pf_step_sizes& sizes = bound.sizes[index];
    const pf_call call{&step, view, view + step.ninputs, sizes.ints, sizes.defines, nullptr};
    for (int32_t each = 0; each < step.ninputs + step.noutputs; ++each, ++view) {
      const pf_place& place = each < step.ninputs ? sizes.inputs[each] : sizes.outputs[each - step.ninputs];
      view->data = static_cast<char*>(run->buffers[place.buffer]) + place.offset;
    }
    if (run->observer) {
      const pf_code code = run->observer->before(run->observer->self, index, &call, error);
      if (code != PF_OK) return code;
    }
    const pf_code code = run_step(*static_cast<HostBackend*>(self), segment.values[index], call, error);
    if (code != PF_OK) return code;
    if (run->observer) {
      const pf_code observed = run->observer->after(run->observer->self, index, &call, error);
      if (observed != PF_OK) return observed;
    }
  }
  return PF_OK;
}

}  // namespace

pf_code keep_exception(bool raise_as_is, pf_error* error) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  const py::object exception = py::reinterpret_steal<py::object>(value);
  const bool is_exception = PyErr_GivenExceptionMatches(value, PyExc_Exception);
  pf_code code = PF_INTERNAL;
  try {
    code = code_of_exception(value);
    const std::string message = py::str(exception);
    const py::object ours = py::module_::import("pyflow.errors").attr("PyflowError");
    if (PyObject_IsInstance(value, ours.ptr()) == 1) {
      // The executor puts the step's name at the front.
      const size_t name = message.starts_with('[') ? message.find("] ") : std::string::npos;
      const size_t begin = name == std::string::npos ? 0 : name + 2;
      std::snprintf(error->message, sizeof(error->message), "%s", message.c_str() + begin);
    } else {
      std::snprintf(error->message, sizeof(error->message), "%s: %s", Py_TYPE(value)->tp_name, message.c_str());
    }
  } catch (py::error_already_set&) {
    std::snprintf(error->message, sizeof(error->message), "%s", Py_TYPE(value)->tp_name);
  }
  kept = {exception, raise_as_is || !is_exception};
  return code;
}

StepException take_exception() {
  StepException result = std::move(kept);
  kept = {};
  return result;
}

void register_host_backend(const std::string& name, py::object supports_function, py::object run_function) {
  if (Registry::instance().find(name))
    throw Error(PF_INVALID_ARGUMENT, text("there already is a backend '", name, "'"));
  auto* host = new HostBackend{name, std::move(supports_function), std::move(run_function), {}};
  host->backend = {sizeof(pf_backend),
                   PF_BACKEND_ABI,
                   host->name.c_str(),
                   1,
                   host,
                   supports,
                   nullptr,
                   nullptr,
                   nullptr,
                   prepare,
                   unprepare,
                   bind,
                   unbind,
                   run};
  Registry::instance().add(&host->backend);
}

}  // namespace pf
