// Runs entries: binds them to sizes, runs their bodies, commits what they wrote.
#ifndef PYFLOW_CORE_EXECUTOR_H
#define PYFLOW_CORE_EXECUTOR_H

#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/binding.h"
#include "core/instance.h"

namespace pf {

// Told of every step of a run. `step` counts over all bodies of the plan; `on_host` says whether operands can be read.
struct StepObserver {
  void* self;
  pf_code (*before)(void* self, int64_t step, bool on_host, const pf_call* call, pf_error* error);
  pf_code (*after)(void* self, int64_t step, bool on_host, const pf_call* call, pf_error* error);
};

// What a run is given. `inputs`: one address per input. `outputs`: one per output, used where Model says it is direct.
struct Request {
  void* const* inputs = nullptr;
  void* const* outputs = nullptr;
  const pf_executor* executor = nullptr;
  const volatile int32_t* cancel = nullptr;
  int64_t deadline = 0;
  const StepObserver* observer = nullptr;
  const pf_backend* allocator = nullptr;  // of temporaries on the host; nullptr: the core's own
};

// An entry at known sizes.
struct BoundEntry {
  BoundEntry(const Model& model, uint32_t entry, std::span<const int64_t> dims, std::span<const SymbolValue> symbols);

  // Evaluates the outputs and commits of entry `index` that depend on late sizes, or (not `late`) all others. Throws
  // Error for a value that does not fit its variable.
  void place(uint32_t index, bool late);

  std::vector<int64_t> input_dims;  // of all inputs, one after the other: the key
  Binding binding;
  std::vector<BoundView> outputs;  // those with late sizes are right only after a run
  std::vector<BoundView> commits;
};

// What a buffer takes at given sizes.
struct BufferUse {
  uint32_t buffer;
  int64_t bytes;
  int64_t offset;
  bool late;  // the run tells its bytes: it is not in the arena
};

struct MemoryPlan {
  std::vector<std::pair<std::string, int64_t>> spaces;  // of temporaries, by backend ("host" first)
  int64_t scratch;
  std::vector<BufferUse> buffers;
};

// Memory and bound sizes of one caller at a time.
class Context {
 public:
  Context(std::shared_ptr<Instance> instance, uint32_t entry) : instance_(std::move(instance)), entry_(entry) {}

  Instance& instance() const { return *instance_; }

  // `dims`: of all inputs, one after the other (each with the ndim of its port). Throws Error for sizes that do not
  // fit.
  BoundEntry& bind(std::span<const int64_t> dims);
  // Needs the State's lock, for writing if the entry writes. Throws Error; then variables are as they were.
  void run(BoundEntry& bound, const Request& request);
  // After a run: copies output `index` to contiguous host memory.
  void copy_output(const BoundEntry& bound, size_t index, void* to) const;
  MemoryPlan memory_plan(std::span<const int64_t> dims);
  // How many times the entry was bound to sizes that were not kept.
  uint64_t binds() const { return binds_; }

 private:
  void commit(BoundEntry& bound);

  std::shared_ptr<Instance> instance_;
  uint32_t entry_;
  std::vector<Memory> spaces_;
  std::vector<Memory> late_;  // by buffer: of those whose size a run tells; they only grow
  Memory scratch_;
  std::list<BoundEntry> bindings_;  // last used first
  uint64_t binds_ = 0;
};

// What fed sizes tell of the symbols. Throws Error naming the input, the axis and what was expected.
std::vector<SymbolValue> solve_symbols(const Model& model, uint32_t entry, std::span<const int64_t> dims);

// Computes PREPARED buffers; for Instance.
void run_prepare(const Instance& instance, const Root& root, const Request& request);

}  // namespace pf

#endif
