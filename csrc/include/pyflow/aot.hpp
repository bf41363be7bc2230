// What a generated program (pyflow compile) is written over: tables that describe a model, and the run that walks its
// steps. Freestanding C++17: no allocation, locks, exceptions or RTTI, and no state but what the caller lends.
// Generated files and libpyflow_kernels.a of one pyflow version belong together (PF_AOT_ABI).
#ifndef PYFLOW_AOT_HPP
#define PYFLOW_AOT_HPP

#include <stddef.h>
#include <stdint.h>

#include "pyflow/backend.h"

#define PF_AOT_ABI 1

namespace pf {
namespace aot {

// portable, avx2, avx512: least first.
constexpr int32_t kIsas = 3;
// What an expression of sizes gives that has no value: beyond 64 bits, divided by zero, sides that do not broadcast.
constexpr int64_t kNoSize = INT64_MIN;

// Arithmetic of sizes. kNoSize in gives kNoSize out.
int64_t add(int64_t a, int64_t b);
int64_t mul(int64_t a, int64_t b);
int64_t floordiv(int64_t a, int64_t b);
int64_t mod(int64_t a, int64_t b);
int64_t max(int64_t a, int64_t b);
int64_t min(int64_t a, int64_t b);
int64_t broadcast(int64_t a, int64_t b);
int64_t unless_one(int64_t a, int64_t b);

class Run;

// By ISA: the kernel itself, or the family that holds it; both NULL where pyflow was built without the ISA.
struct Kernel {
  const char* name;
  const pf_kernel* rows[kIsas];
  const pf_kernel* (*families[kIsas])(int32_t* count);
};

struct Step {
  pf_step call;
  int32_t kernel;          // of the model's
  int32_t index;           // among the model's steps
  const int32_t* buffers;  // of the inputs, then of the outputs
};

struct Variable {
  const char* name;
  int32_t dtype;
  int32_t ndim;
  const int64_t* dims;
  int64_t bytes;
  int64_t initial;  // where its first value is in the weights, -1: it has none
};

enum class Place : int32_t { Run, Constant, Variable, Prepared };

// Where a buffer is: at an offset in the weights, in a variable, in prepared memory or known to the run alone.
struct Buffer {
  Place place;
  int64_t at;
  int64_t bytes;
};

// Values that depend on variables alone: made when one of them was written since.
struct Prepare {
  bool (*steps)(Run& run);
  int32_t nsources;
  const int32_t* sources;  // variables
  int32_t first;           // of its sources among all counters
};

struct Model {
  const char* name;
  int32_t abi;
  int32_t nkernels, nsteps, nvariables, nprepared, nprepares, ncounters, nbuffers;
  const Kernel* kernels;
  const Step* const* steps;
  const Variable* variables;
  const int64_t* prepared;  // bytes of each
  const Prepare* prepares;
  const Buffer* buffers;
  const unsigned char* weights;  // embedded, NULL if they are a file
  int64_t weights_bytes;
  int64_t header_bytes;  // of the weights, before the data
  uint64_t header_sum;   // of the header, its own digits as zeros
};

struct Options {
  int32_t threads;
  void* pool;
  void (*parallel_for)(void* pool, int64_t ntasks, void (*task)(void* argument, int64_t index, int32_t thread),
                       void* argument);
  const volatile int32_t* cancel;
};

// Where an error goes. All may be NULL.
struct Report {
  int32_t* code;
  char* message;
  size_t size;
};

// The best ISA of this machine, and of those that the model has kernels for; -1 if there is not even the least.
int32_t machine_isa();
int32_t best_isa(const Model& model);

// A model's values and compiled programs, in memory that the caller lends.
struct State;

// `isa`: 0 portable, 1 avx2, 2 avx512, negative: the best that the machine has.
size_t state_bytes(const Model& model, int32_t isa);
pf_code state_init(const Model& model, int32_t isa, void* memory, size_t bytes, const void* weights,
                   size_t weights_bytes, State** state, const Report& report);
pf_code state_reset(const Model& model, State* state, const Report& report);
pf_code state_get(const Model& model, const State* state, const char* variable, void* data, size_t bytes,
                  const Report& report);
pf_code state_set(const Model& model, State* state, const char* variable, const void* data, size_t bytes,
                  const Report& report);

// A temporary: those of one slot share memory, -1 has its own.
struct Temporary {
  int32_t buffer;
  int32_t slot;
  int32_t dtype;
};

// One call of an entry. It walks the steps twice. First it measures: sizes are looked at and every step is cut into
// tasks, which tells the scratch that they need; nothing is written. Then it executes. Whatever returns bool returns
// false after an error, which is then in the report.
class Run {
 public:
  // `buffers`, `bytes`: one per buffer of the model; `views`: as many as the largest step has operands.
  // `state` may be NULL where steps are only measured, for the ISA `isa`.
  Run(const Model& model, State* state, int32_t isa, void** buffers, int64_t* bytes, pf_view* views,
      const Report& report);
  // Room for what measuring finds of the steps from number `first` on, and the arena that it finds temporaries in. Only
  // where no step tells a size: what was measured holds then when it executes.
  void keep_cuts(pf_partition* cuts, int32_t first, void* arena) {
    cuts_ = cuts;
    first_cut_ = first;
    arena_ = static_cast<unsigned char*>(arena);
  }

  // Is the state one of this model's, are the options whole?
  bool begin(const Options* options);
  bool refuse_options(uint32_t size, uint32_t expected);
  bool size(const char* name, int64_t value, int64_t low, int64_t high);
  // None of `values` may be kNoSize; texts[i] says how it came to be.
  bool known(const int64_t* values, const char* const* texts, int32_t count);
  // "{}" in the message stands for the left, then for the right number.
  bool equal(int64_t left, int64_t right, const char* message);
  bool input(int32_t buffer, const char* name, const void* data, int64_t elements, int32_t dtype);
  bool output(int32_t buffer, const char* name, void* data, int64_t elements, int32_t dtype);
  // Variables that must hold a value.
  bool reads(const int32_t* variables, int32_t count);
  // Brings prepared values up to date, in the arena.
  bool prepare(const int32_t* prepares, int32_t count, void* arena, size_t bytes);
  // Measures what the prepares need.
  void measure(const int32_t* prepares, int32_t count);
  // Is the arena large enough for what was measured? Then steps execute.
  bool execute(void* arena, size_t bytes);
  // Bytes of arena for what was measured, with that many threads; 0 after an error.
  size_t arena_bytes(int32_t threads) const;

  // What steps are made of. `slots`: room for one number per slot.
  bool temporaries(const Temporary* rows, int32_t count, const int64_t* elements, int64_t* slots, int32_t nslots);
  // `sizes`: of each operand dims, strides and offset; then the step's ints.
  bool step(const Step& step, const int64_t* sizes, int64_t* defines = nullptr);
  bool measuring() const { return mode_ == Mode::Measure; }
  // What a bool holds; while measuring both branches are walked, and a turn of each loop.
  bool condition(int32_t buffer, int64_t offset) const;
  // May the run be stopped here?
  bool go_on();
  // From here on steps are not cancelled.
  void past_cancelling() {
    if (mode_ == Mode::Execute) options_.cancel = nullptr;
  }
  // A size that a step gave.
  bool defined(const char* name, int64_t value, int64_t low, int64_t high);

  // After the steps. The first walk over the results looks whether they fit, the second copies them.
  bool commit(int32_t variable, int32_t buffer, int32_t dtype, int32_t ndim, const int64_t* sizes);
  bool copy(void* to, int32_t buffer, int32_t dtype, int32_t ndim, const int64_t* sizes);
  void write_results() { mode_ = Mode::Write; }
  // Variables got new values, or, after an error, may have.
  void wrote(const int32_t* variables, int32_t count);

  pf_code code() const { return code_; }

 private:
  enum class Mode : int32_t { Measure, Execute, Write };
  struct Share;

  bool fail(pf_code code, const char* format, ...) __attribute__((format(printf, 3, 4)));
  bool fail_step(const Step& step, pf_code code, const char* what);
  bool place(pf_view* view, int32_t buffer, int32_t dtype, int32_t ndim, const int64_t* sizes);
  bool place_operands(const Step& step, const int64_t*& sizes);
  void find_operands(const Step& step, const int64_t*& sizes);
  pf_partition* cut_of(const Step& step) const;
  bool cut(const Step& step, const pf_kernel* kernel, const pf_call& call, pf_partition* partition);
  bool cut_without_state(const Step& step, pf_call& call, pf_partition* partition);
  bool run_phase(const Step& step, const pf_kernel* kernel, const pf_call& call, int32_t phase, int64_t tasks,
                 bool parallel);
  bool is_current(const Prepare& prepare, uint64_t made) const;
  bool is_given(const char* name, const char* kind, const void* data, int64_t elements, int32_t dtype);

  const Model& model_;
  State* state_;
  int32_t isa_;
  void** buffers_;
  int64_t* bytes_;
  pf_view* views_;
  pf_partition* cuts_ = nullptr;
  int32_t first_cut_ = 0;
  Report report_;
  Options options_{};
  Mode mode_ = Mode::Measure;
  pf_code code_ = PF_OK;
  int64_t temporaries_ = 0;            // bytes of arena before the scratch
  size_t shared_ = 0, lane_ = 0;       // bytes of scratch that a step's tasks share, that each thread has
  size_t least_ = 0, least_lane_ = 0;  // what prepares need beyond that
  unsigned char* arena_ = nullptr;
  size_t arena_bytes_ = 0;
};

}  // namespace aot
}  // namespace pf

#endif
