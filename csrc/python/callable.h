// An entry as Python calls it: raw CPython slots, because the call itself is on the hot path.
#ifndef PYFLOW_PYTHON_CALLABLE_H
#define PYFLOW_PYTHON_CALLABLE_H

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/executor.h"
#include "core/threads.h"

namespace pf {

// Threads(n, executor=0): our own gang, or a host's threads.
struct Threads {
  Threads(int32_t threads, const pf_executor* host) : host_executor(host) {
    if (!host) gang = std::make_unique<Gang>(threads);
  }
  const pf_executor* executor() const { return host_executor ? host_executor : gang->executor(); }

  std::unique_ptr<Gang> gang;
  const pf_executor* host_executor;
};

// A context and the tables of one call, lent to one caller at a time.
struct Lent {
  Lent(std::shared_ptr<Instance> instance, uint32_t entry) : context(std::move(instance), entry) {}

  Context context;
  Gang alone{1};
  std::vector<void*> inputs, outputs;
  std::vector<int64_t> dims;
  volatile int32_t cancel = 0;
};

struct CallOptions {
  pybind11::object out;  // a sequence of arrays or None, or nothing
  volatile int32_t* cancel = nullptr;
  int64_t deadline = 0;
  pybind11::object observer;  // or nothing
};

class Callable {
 public:
  Callable(const std::shared_ptr<Model>& model, uint32_t entry, const std::shared_ptr<State>& state,
           std::shared_ptr<Threads> threads, pybind11::object coerce, pybind11::object fail, double release_above_us);

  // The results, a new tuple; nullptr with a Python error set. Needs the GIL.
  PyObject* call(PyObject* const* arguments, size_t count, const CallOptions* options);

  // For those who run the entry themselves. May they, without the State's lock and another's code?
  bool stands_alone() const;
  std::unique_ptr<Context> new_context() const { return std::make_unique<Context>(instance_, entry_); }
  const Entry& entry() const { return instance_->model().plan().entries[entry_]; }
  const std::vector<uint8_t>& direct() const { return instance_->model().entry(entry_).direct; }
  PyObject* input_dtype(size_t index) const { return input_dtypes_[index]; }
  const pf_executor* executor() const { return threads_->executor(); }
  double release_above() const { return release_above_; }

  pybind11::dict stats() const;
  pybind11::dict memory_plan(const pybind11::sequence& dims);

  // What Python's cycle collector must know.
  std::vector<PyObject*> references() const { return {coerce_.ptr(), fail_.ptr()}; }
  void clear() { coerce_ = fail_ = pybind11::none(); }

 private:
  class Loan;
  class Arrays;

  PyObject* checked_call(PyObject* const* arguments, size_t count, const CallOptions* options);
  PyObject* run_bound(Lent& lent, BoundEntry& bound, Arrays& arrays, const CallOptions* options);
  bool run_once(Lent& lent, BoundEntry& bound, Arrays& arrays, const CallOptions* options, bool* interrupted);
  pybind11::object feed(size_t index, PyObject* given) const;
  void take_out(Arrays& arrays, const BoundEntry& bound, const CallOptions& options) const;
  void check_overlaps(const Lent& lent, const Arrays& arrays, const BoundEntry& bound) const;

  std::shared_ptr<Instance> instance_;
  uint32_t entry_;
  std::shared_ptr<Threads> threads_;
  pybind11::object coerce_, fail_;
  double release_above_;  // nanoseconds
  bool writes_;
  std::vector<PyObject*> input_dtypes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Lent>> free_;
  std::atomic<uint64_t> runs_{0}, binds_{0};
};

// The callable that a Python object is, nullptr if it is none.
Callable* as_callable(PyObject* object);

// Adds the type to the module.
void bind_callable(pybind11::module_& module);

}  // namespace pf

#endif
