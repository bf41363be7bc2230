// A plan made ready: steps in the backends' terms, segments prepared, constants in place. Immutable; shared by threads.
#ifndef PYFLOW_CORE_MODEL_H
#define PYFLOW_CORE_MODEL_H

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/plan.h"
#include "core/state.h"

namespace pf {

struct Request;
class Instance;

// A Step as a backend sees it. The tables hold what `step` points to.
struct StepTables {
  explicit StepTables(const Step& source, const SizeTable& sizes);
  StepTables(const StepTables&) = delete;
  StepTables(StepTables&&) = default;

  pf_step step;

 private:
  std::vector<pf_operand> operands_;
  std::vector<int64_t> ints_;
  std::vector<std::vector<pf_instr>> instrs_;
  std::vector<std::vector<int32_t>> registers_;
  std::vector<pf_program> programs_;
};

// A segment, or one step that the executor runs itself.
struct Item {
  Action action;
  uint32_t first;  // steps [first, first + count) of the body
  uint32_t count;
  std::vector<Row> rows;          // every size of its views and ints, closed
  std::vector<uint32_t> waits;    // late symbols that other steps must have defined before
  std::vector<uint32_t> defines;  // late symbols that its last step gives
  std::vector<uint32_t> grows;    // late buffers that its steps write: they get their memory before
  const pf_backend* backend = nullptr;
  pf_segment segment{};
  void* prepared = nullptr;
};

struct Body {
  std::vector<StepTables> tables;
  std::vector<pf_step> steps;
  std::vector<Item> items;
  int64_t first_step;  // of the body, counted over all bodies of the plan
};

// What one body needs, with all that it reaches: the unit that is bound and run.
struct Root {
  std::vector<uint32_t> bodies;
  std::vector<uint32_t> buffers;
  std::vector<Row> rows;
  std::vector<uint32_t> late;   // symbols
  std::vector<uint32_t> grows;  // those of `buffers` whose size the run tells
};

struct EntryInfo {
  Root root;
  std::vector<Root> prepares;
  std::vector<uint32_t> written;   // VARIABLE buffers
  std::vector<uint32_t> in_place;  // those of them that a step writes
  std::vector<uint8_t> direct;     // per output: its memory is the caller's
  std::vector<Row> late_rows;      // of ports and commits, closed; empty if none is late
  std::vector<uint32_t> late_checks;
  size_t input_dims;
};

struct Constant {
  const void* data;
  size_t bytes;
  int32_t dtype;
};

class Model : public std::enable_shared_from_this<Model> {
 public:
  // `keep` holds what the constants point to. Throws Error: a wrong constant, an unknown backend, a step that its
  // backend does not run.
  Model(Plan plan, std::span<const Constant> constants, std::shared_ptr<void> keep);
  ~Model();
  Model(const Model&) = delete;

  const Plan& plan() const { return plan_; }
  const Body& body(uint32_t index) const { return bodies_[index]; }
  const EntryInfo& entry(uint32_t index) const { return entries_[index]; }
  // The backend whose memory a buffer lives in, nullptr for the host's.
  const pf_backend* memory_of(uint32_t buffer) const { return memory_[buffer]; }
  // The kinds of memory that temporaries live in: spaces()[0] is the host's.
  const std::vector<const pf_backend*>& spaces() const { return spaces_; }
  uint32_t space_of(uint32_t buffer) const { return space_[buffer]; }
  // Is the buffer's size known only while the plan runs?
  bool is_late(uint32_t buffer) const { return plan_.sizes.is_late(plan_.buffers[buffer].elements); }
  void* constant(uint32_t buffer) const { return constants_[buffer]; }

  // This model over `state`: one Instance as long as someone holds it.
  std::shared_ptr<Instance> instance(const std::shared_ptr<State>& state);

 private:
  void place_buffers(std::span<const Constant> constants);
  void cut(uint32_t body);
  // Does step `at` give a new value to a late symbol that steps [first, at) use?
  bool redefines(const std::vector<Step>& steps, uint32_t first, uint32_t at) const;
  void seal(const std::vector<Step>& steps, Item& item);
  void prepare();
  void unprepare();
  Root root(uint32_t body) const;
  void describe(const Entry& entry);

  Plan plan_;
  std::shared_ptr<void> keep_;
  std::vector<Body> bodies_;
  std::vector<EntryInfo> entries_;
  std::vector<const pf_backend*> memory_, spaces_;
  std::vector<uint32_t> space_;
  std::vector<void*> constants_;
  std::vector<Memory> device_constants_;
  std::mutex mutex_;
  std::map<const State*, std::weak_ptr<Instance>> instances_;
};

// An Error about a step: `[kernel] message   (origin)`.
[[noreturn]] void fail_step(const Model& model, uint32_t body, uint32_t step, pf_code code, const std::string& message);

}  // namespace pf

#endif
