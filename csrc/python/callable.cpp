#include "python/callable.h"

#include <algorithm>
#include <cstring>

#include "core/dtype.h"
#include "python/arrays.h"
#include "python/errors.h"
#include "python/interrupt.h"
#include "python/observer.h"

namespace py = pybind11;

namespace pf {

namespace {

class ReleasedGil {
 public:
  explicit ReleasedGil(bool release) : state_(release ? PyEval_SaveThread() : nullptr) {}
  ~ReleasedGil() {
    if (state_) PyEval_RestoreThread(state_);
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* state_;
};

bool overlap(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes) {
  const auto first = reinterpret_cast<uintptr_t>(a), second = reinterpret_cast<uintptr_t>(b);
  return a_bytes > 0 && b_bytes > 0 && first < second + b_bytes && second < first + a_bytes;
}

}  // namespace

// Takes a context of the pool, makes one if all are lent.
class Callable::Loan {
 public:
  explicit Loan(Callable& callable) : callable_(callable) {
    {
      std::lock_guard lock(callable.mutex_);
      if (!callable.free_.empty()) {
        lent_ = std::move(callable.free_.back());
        callable.free_.pop_back();
      }
    }
    if (!lent_) lent_ = std::make_unique<Lent>(callable.instance_, callable.entry_);
  }
  ~Loan() {
    std::lock_guard lock(callable_.mutex_);
    callable_.free_.push_back(std::move(lent_));
  }
  Lent& operator*() const { return *lent_; }

 private:
  Callable& callable_;
  std::unique_ptr<Lent> lent_;
};

// The result tuple while it is filled, and the feeds that had to be converted.
class Callable::Arrays {
 public:
  std::vector<py::object> converted;
  py::object results;

  PyObject* result(size_t index) const { return PyTuple_GET_ITEM(results.ptr(), index); }
  void set_result(size_t index, PyObject* array) { PyTuple_SET_ITEM(results.ptr(), index, array); }
};

Callable::Callable(const std::shared_ptr<Model>& model, uint32_t entry, const std::shared_ptr<State>& state,
                   std::shared_ptr<Threads> threads, py::object coerce, py::object fail, double release_above_us)
    : entry_(entry),
      threads_(std::move(threads)),
      coerce_(std::move(coerce)),
      fail_(std::move(fail)),
      release_above_(release_above_us * 1000) {
  const auto& entries = model->plan().entries;
  if (entry >= entries.size()) {
    throw Error(PF_INVALID_ARGUMENT, text("the plan has ", entries.size(), " entries; there is no entry ", entry));
  }
  instance_ = model->instance(state);
  writes_ = !model->entry(entry).written.empty();
  for (const Port& port : entries[entry].inputs) input_dtypes_.push_back(numpy_dtype(port.view.dtype));
}

PyObject* Callable::call(PyObject* const* arguments, size_t count, const CallOptions* options) {
  try {
    return checked_call(arguments, count, options);
  } catch (const Error& error) {
    raise_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    raise_error(Error(PF_RESOURCE_EXHAUSTED, "no memory left; use smaller sizes, see memory_plan()"));
  }
  if (!fail_.is_none() && PyErr_ExceptionMatches(PyExc_Exception)) {
    py::error_already_set raised;
    PyObject* changed = PyObject_CallOneArg(fail_.ptr(), raised.value().ptr());
    if (!changed) return nullptr;
    const py::object exception = changed == Py_None ? raised.value() : py::reinterpret_borrow<py::object>(changed);
    Py_DECREF(changed);
    set_exception(exception);
  }
  return nullptr;
}

py::object Callable::feed(size_t index, PyObject* given) const {
  const Port& port = entry().inputs[index];
  auto is_right = [&](PyObject* array) {
    return is_plain_array(array, input_dtypes_[index]) &&
           array_fields(array)->nd == static_cast<int>(port.view.dims.size());
  };
  if (!coerce_.is_none()) {
    py::object converted = coerce_(index, py::handle(given));
    if (is_right(converted.ptr())) return converted;
    throw Error(PF_INTERNAL, text("input '", port.name, "' was converted to ", describe_object(converted.ptr()),
                                  ", which is no C-contiguous ", dtype_name(port.view.dtype), " array of ndim ",
                                  port.view.dims.size(), "; this is a bug of pyflow"));
  }
  throw Error(PF_INVALID_ARGUMENT,
              text("input '", port.name, "' is ", describe_object(given), "; expected a C-contiguous ",
                   dtype_name(port.view.dtype), " array of ndim ", port.view.dims.size()));
}

PyObject* Callable::checked_call(PyObject* const* arguments, size_t count, const CallOptions* options) {
  const std::vector<Port>& ports = entry().inputs;
  if (count != ports.size()) {
    throw Error(PF_INVALID_ARGUMENT, text("entry '", entry().name, "' takes ", ports.size(), " inputs; got ", count));
  }
  Loan loan(*this);
  Lent& lent = *loan;
  Arrays arrays;
  lent.inputs.clear();
  lent.dims.clear();
  for (size_t index = 0; index < count; ++index) {
    PyObject* array = arguments[index];
    if (!is_plain_array(array, input_dtypes_[index]) ||
        array_fields(array)->nd != static_cast<int>(ports[index].view.dims.size())) {
      arrays.converted.push_back(feed(index, array));
      array = arrays.converted.back().ptr();
    }
    const ArrayFields* fields = array_fields(array);
    lent.inputs.push_back(fields->data);
    lent.dims.insert(lent.dims.end(), fields->dimensions, fields->dimensions + fields->nd);
  }
  const uint64_t binds = lent.context.binds();
  BoundEntry& bound = lent.context.bind(lent.dims);
  binds_ += lent.context.binds() - binds;
  return run_bound(lent, bound, arrays, options);
}

PyObject* Callable::run_bound(Lent& lent, BoundEntry& bound, Arrays& arrays, const CallOptions* options) {
  const std::vector<Port>& ports = entry().outputs;
  const std::vector<uint8_t>& direct = instance_->model().entry(entry_).direct;
  arrays.results = py::reinterpret_steal<py::object>(PyTuple_New(static_cast<Py_ssize_t>(ports.size())));
  if (!arrays.results) throw py::error_already_set();
  const bool given = options && options->out && !options->out.is_none();
  if (given) take_out(arrays, bound, *options);
  lent.outputs.clear();
  for (size_t index = 0; index < ports.size(); ++index) {
    if (direct[index] && !arrays.result(index)) {
      arrays.set_result(index, new_array(ports[index].view.dtype, bound.outputs[index].dims));
    }
    lent.outputs.push_back(direct[index] ? array_fields(arrays.result(index))->data : nullptr);
  }
  if (given) check_overlaps(lent, arrays, bound);
  for (;;) {
    bool interrupted = false;
    if (run_once(lent, bound, arrays, options, &interrupted)) break;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    // The signal's handler did not raise and the run left no trace: run it again.
    __atomic_store_n(options && options->cancel ? options->cancel : &lent.cancel, 0, __ATOMIC_RELAXED);
  }
  ++runs_;
  return arrays.results.release().ptr();
}

bool Callable::run_once(Lent& lent, BoundEntry& bound, Arrays& arrays, const CallOptions* options, bool* interrupted) {
  // Destroyed after the lock: it holds Python objects.
  std::optional<PythonObserver> observer;
  if (options && options->observer && !options->observer.is_none()) observer.emplace(options->observer);
  StateLock lock(instance_->state(), writes_);
  // Whoever waits for a lock must not hold the GIL: the lock's owner may want it.
  const bool release = options || !lock.owns() || bound.binding.cost() > release_above_ || instance_->is_stale(entry_);
  volatile int32_t* cancel = options && options->cancel ? options->cancel : &lent.cancel;
  __atomic_store_n(&lent.cancel, 0, __ATOMIC_RELAXED);
  Request request;
  request.inputs = lent.inputs.data();
  request.outputs = lent.outputs.data();
  request.cancel = release ? cancel : nullptr;
  request.deadline = options ? options->deadline : 0;
  request.observer = observer ? observer->get() : nullptr;
  request.executor = release ? threads_->executor() : lent.alone.executor();
  if (!release) {
    lent.context.run(bound, request);
  } else {
    const ReleasedGil released(true);
    lock.wait();
    const InterruptScope interrupts(cancel);
    try {
      lent.context.run(bound, request);
    } catch (const Error& error) {
      *interrupted = interrupts.fired() && error.code() == PF_CANCELLED;
      if (!*interrupted) throw;
    }
  }
  if (*interrupted) return false;
  const std::vector<Port>& ports = entry().outputs;
  for (size_t index = 0; index < ports.size(); ++index) {
    if (lent.outputs[index]) continue;
    if (!arrays.result(index)) {
      arrays.set_result(index, new_array(ports[index].view.dtype, bound.outputs[index].dims));
    }
    lent.context.copy_output(bound, index, array_fields(arrays.result(index))->data);
  }
  return true;
}

void Callable::take_out(Arrays& arrays, const BoundEntry& bound, const CallOptions& options) const {
  const std::vector<Port>& ports = entry().outputs;
  const py::sequence out = options.out.cast<py::sequence>();
  if (out.size() != ports.size()) {
    throw Error(PF_INVALID_ARGUMENT,
                text("out= has ", out.size(), " arrays; expected one (or None) per fetch: ", ports.size()));
  }
  const SizeTable& sizes = instance_->model().plan().sizes;
  for (size_t index = 0; index < ports.size(); ++index) {
    const py::object array = out[index];
    if (array.is_none()) continue;
    const View& view = ports[index].view;
    if (std::any_of(view.dims.begin(), view.dims.end(), [&](Row row) { return sizes.is_late(row); })) {
      throw Error(PF_INVALID_ARGUMENT, text("out= for '", ports[index].name,
                                            "' cannot be given: its size is known only after the run; give None"));
    }
    const std::vector<int64_t>& dims = bound.outputs[index].dims;
    const ArrayFields* fields = array_fields(array.ptr());
    if (!is_plain_array(array.ptr(), numpy_dtype(view.dtype)) ||
        !std::equal(dims.begin(), dims.end(), fields->dimensions, fields->dimensions + fields->nd) ||
        !(fields->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) {
      std::string expected = text(dtype_name(view.dtype), "[");
      for (size_t axis = 0; axis < dims.size(); ++axis) expected += (axis ? "," : "") + std::to_string(dims[axis]);
      throw Error(PF_INVALID_ARGUMENT, text("out= for '", ports[index].name, "' is ", describe_object(array.ptr()),
                                            "; expected a writeable C-contiguous array ", expected, "]"));
    }
    arrays.set_result(index, array.inc_ref().ptr());
  }
}

void Callable::check_overlaps(const Lent& lent, const Arrays& arrays, const BoundEntry& bound) const {
  const Entry& entry = this->entry();
  for (size_t index = 0; index < entry.outputs.size(); ++index) {
    PyObject* array = arrays.result(index);
    if (!array) continue;
    const void* data = array_fields(array)->data;
    const int64_t bytes = bound.outputs[index].bytes;
    auto check = [&](const void* other, int64_t other_bytes, const std::string& what) {
      if (overlap(data, bytes, other, other_bytes)) {
        throw Error(PF_INVALID_ARGUMENT, text("out= for '", entry.outputs[index].name, "' overlaps ", what,
                                              "; give an array of its own memory"));
      }
    };
    for (size_t input = 0; input < entry.inputs.size(); ++input) {
      check(lent.inputs[input], bound.binding.buffer_bytes(entry.inputs[input].view.buffer),
            text("the feed '", entry.inputs[input].name, "'"));
    }
    for (size_t other = 0; other < index; ++other) {
      if (PyObject* before = arrays.result(other)) {
        check(array_fields(before)->data, bound.outputs[other].bytes,
              text("the output '", entry.outputs[other].name, "'"));
      }
    }
    for (uint32_t buffer : bound.binding.root().buffers) {
      const Buffer& fixed = instance_->model().plan().buffers[buffer];
      if (fixed.kind != Kind::Variable && fixed.kind != Kind::Constant) continue;
      check(instance_->buffers()[buffer], bound.binding.buffer_bytes(buffer), text("a ", kind_name(fixed.kind)));
    }
  }
}

bool Callable::stands_alone() const {
  const Model& model = instance_->model();
  const EntryInfo& info = model.entry(entry_);
  if (!entry().reads.empty() || !entry().commits.empty() || !entry().prepares.empty() || !info.root.late.empty()) {
    return false;
  }
  for (uint32_t body : info.root.bodies) {
    for (const Item& item : model.body(body).items) {
      if (item.backend && strcmp(item.backend->name, "cpu") != 0) return false;
    }
  }
  return true;
}

py::dict Callable::stats() const {
  py::dict result;
  result["runs"] = runs_.load();
  result["binds"] = binds_.load();
  return result;
}

py::dict Callable::memory_plan(const py::sequence& given) {
  const std::vector<Port>& ports = entry().inputs;
  if (given.size() != ports.size()) {
    throw Error(PF_INVALID_ARGUMENT,
                text("entry '", entry().name, "' takes ", ports.size(), " inputs; got dims of ", given.size()));
  }
  std::vector<int64_t> dims;
  for (size_t index = 0; index < ports.size(); ++index) {
    const auto each = py::cast<std::vector<int64_t>>(given[index]);
    if (each.size() != ports[index].view.dims.size()) {
      throw Error(PF_INVALID_ARGUMENT, text("input '", ports[index].name, "' has ndim ", ports[index].view.dims.size(),
                                            "; got ", each.size()));
    }
    dims.insert(dims.end(), each.begin(), each.end());
  }
  Loan loan(*this);
  const MemoryPlan plan = (*loan).context.memory_plan(dims);
  py::dict result, spaces;
  int64_t peak = plan.scratch;
  for (const auto& [name, bytes] : plan.spaces) {
    spaces[py::str(name)] = bytes;
    peak += bytes;
  }
  py::list buffers;
  for (const BufferUse& use : plan.buffers) {
    const Buffer& buffer = instance_->model().plan().buffers[use.buffer];
    py::dict row;
    row["buffer"] = use.buffer;
    row["name"] = buffer.name;
    row["kind"] = kind_name(buffer.kind);
    row["dtype"] = dtype_name(buffer.dtype);
    row["bytes"] = use.bytes;
    row["slot"] = buffer.slot;
    row["offset"] = use.offset;
    row["late"] = use.late;
    row["backend"] = buffer.backend;
    buffers.append(row);
  }
  result["peak"] = peak;
  result["spaces"] = spaces;
  result["scratch"] = plan.scratch;
  result["buffers"] = buffers;
  return result;
}

}  // namespace pf
