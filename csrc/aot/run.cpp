// Walks the steps of an entry: measures them, then executes them.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aot/state.h"

namespace pf {
namespace aot {

namespace {

// Beyond this no buffer can be; sums of a plan's buffers stay far from overflow.
constexpr int64_t kMaxBytes = int64_t{1} << 46;
// A step is worth other threads from here on.
constexpr double kParallelNanoseconds = 30'000;
// The largest compiled program that is measured without a state, in bytes.
constexpr size_t kLentProgram = 32 * 1024;

// How many elements so many bytes hold; an element's bytes are a power of two.
int64_t elements_in(int64_t bytes, int64_t itemsize) {
  return bytes >> __builtin_ctzll(static_cast<uint64_t>(itemsize));
}

bool is_no_size(int64_t elements, int32_t dtype) {
  return elements < 0 || elements > elements_in(kMaxBytes, dtype_bytes(dtype));
}

// Copies a strided view to memory without gaps.
void pack(unsigned char* to, const pf_view& view) {
  const int64_t itemsize = dtype_bytes(view.dtype);
  int32_t ndim = view.ndim;
  for (int32_t axis = 0; axis < ndim; ++axis)
    if (view.dims[axis] == 0) return;
  int64_t run = itemsize;
  while (ndim > 0 && (view.dims[ndim - 1] == 1 || view.strides[ndim - 1] * itemsize == run)) run *= view.dims[--ndim];
  int64_t index[PF_MAX_NDIM] = {};
  const auto* from = static_cast<const unsigned char*>(view.data);
  for (;;) {
    memmove(to, from, static_cast<size_t>(run));
    to += run;
    int32_t axis = ndim - 1;
    for (; axis >= 0; --axis) {
      from += view.strides[axis] * itemsize;
      if (++index[axis] < view.dims[axis]) break;
      from -= view.strides[axis] * itemsize * view.dims[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace

Run::Run(const Model& model, State* state, int32_t isa, void** buffers, int64_t* bytes, pf_view* views,
         const Report& report)
    : model_(model), state_(state), isa_(isa), buffers_(buffers), bytes_(bytes), views_(views), report_(report) {
  if (report.code != nullptr) *report.code = PF_OK;
  if (report.message != nullptr) report.message[0] = '\0';
  for (int32_t index = 0; index < model.nbuffers; ++index) bytes[index] = model.buffers[index].bytes;
  for (int32_t index = 0; index < model.nbuffers; ++index) buffers[index] = nullptr;
}

bool Run::fail(pf_code code, const char* format, ...) {
  if (code_ != PF_OK) return false;
  code_ = code;
  if (report_.code != nullptr) *report_.code = code;
  if (report_.message != nullptr) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report_.message, report_.size, format, arguments);
    va_end(arguments);
  }
  return false;
}

bool Run::fail_step(const Step& step, pf_code code, const char* what) {
  return fail(code, "[%s] %s   (%s)", step.call.kernel, what, step.call.origin);
}

bool Run::begin(const Options* options) {
  if (state_ == nullptr || state_->magic != kStateMagic || state_->model != &model_)
    return fail(PF_INVALID_ARGUMENT, "expected a state of %s; make one with %s_state_init", model_.name, model_.name);
  if (options != nullptr) options_ = *options;
  if (options_.threads > 1 && options_.parallel_for == nullptr)
    return fail(PF_INVALID_ARGUMENT, "%d threads were asked for without parallel_for, which runs them",
                options_.threads);
  for (int32_t index = 0; index < model_.nbuffers; ++index) {
    const Buffer& buffer = model_.buffers[index];
    if (buffer.place == Place::Constant) buffers_[index] = const_cast<unsigned char*>(state_->weights + buffer.at);
    if (buffer.place == Place::Variable) buffers_[index] = state_->variables[buffer.at];
    if (buffer.place == Place::Prepared) buffers_[index] = state_->prepared[buffer.at];
  }
  return true;
}

bool Run::refuse_options(uint32_t size, uint32_t expected) {
  return fail(PF_INVALID_ARGUMENT, "the options' struct_size is %u; expected sizeof, which is %u here", size, expected);
}

bool Run::size(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return true;
  if (high == INT64_MAX)
    return fail(PF_INVALID_ARGUMENT, "the size %s is %lld; expected %lld or more", name, static_cast<long long>(value),
                static_cast<long long>(low));
  return fail(PF_INVALID_ARGUMENT, "the size %s is %lld; expected %lld to %lld", name, static_cast<long long>(value),
              static_cast<long long>(low), static_cast<long long>(high));
}

bool Run::known(const int64_t* values, const char* const* texts, int32_t count) {
  for (int32_t index = 0; index < count; ++index) {
    if (values[index] == kNoSize)
      return fail(PF_INVALID_ARGUMENT,
                  "the size %s has no value at these sizes: it is beyond 64 bits, divides by zero or has sides that do "
                  "not broadcast",
                  texts[index]);
  }
  return true;
}

bool Run::equal(int64_t left, int64_t right, const char* message) {
  if (left == right) return true;
  char text[400];
  size_t used = 0;
  int64_t numbers[] = {left, right};
  int32_t next = 0;
  for (const char* at = message; *at != '\0' && used + 1 < sizeof(text);) {
    if (at[0] == '{' && at[1] == '}' && next < 2) {
      const int count = snprintf(text + used, sizeof(text) - used, "%lld", static_cast<long long>(numbers[next++]));
      used += static_cast<size_t>(count);
      if (used >= sizeof(text)) used = sizeof(text) - 1;
      at += 2;
    } else {
      text[used++] = *at++;
    }
  }
  text[used] = '\0';
  return fail(PF_INVALID_ARGUMENT, "%s", text);
}

bool Run::is_given(const char* name, const char* kind, const void* data, int64_t elements, int32_t dtype) {
  if (is_no_size(elements, dtype))
    return fail(PF_INVALID_ARGUMENT, "%s %s would have %lld elements of %s, which is no size in memory", kind, name,
                static_cast<long long>(elements), dtype_name(dtype));
  if (state_ == nullptr) return true;
  if (data == nullptr && elements > 0)
    return fail(PF_INVALID_ARGUMENT, "%s %s is NULL; expected %lld elements of %s", kind, name,
                static_cast<long long>(elements), dtype_name(dtype));
  const int64_t itemsize = dtype_bytes(dtype) > 8 ? 8 : dtype_bytes(dtype);
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(itemsize) != 0)
    return fail(PF_INVALID_ARGUMENT, "%s %s is not aligned to its elements, %s", kind, name, dtype_name(dtype));
  return true;
}

bool Run::input(int32_t buffer, const char* name, const void* data, int64_t elements, int32_t dtype) {
  if (!is_given(name, "input", data, elements, dtype)) return false;
  if (buffer < 0) return true;
  buffers_[buffer] = const_cast<void*>(data);
  bytes_[buffer] = elements * dtype_bytes(dtype);
  return true;
}

bool Run::output(int32_t buffer, const char* name, void* data, int64_t elements, int32_t dtype) {
  if (!is_given(name, "output", data, elements, dtype)) return false;
  const int64_t bytes = elements * dtype_bytes(dtype);
  const auto from = reinterpret_cast<uintptr_t>(data);
  for (int32_t index = 0; from != 0 && index < model_.nbuffers; ++index) {
    const auto other = reinterpret_cast<uintptr_t>(buffers_[index]);
    if (model_.buffers[index].place != Place::Run || other == 0) continue;
    if (from < other + static_cast<uintptr_t>(bytes_[index]) && other < from + static_cast<uintptr_t>(bytes))
      return fail(PF_INVALID_ARGUMENT, "output %s overlaps an input or another output; give it memory of its own",
                  name);
  }
  if (buffer < 0) return true;
  buffers_[buffer] = data;
  bytes_[buffer] = bytes;
  return true;
}

bool Run::reads(const int32_t* variables, int32_t count) {
  for (int32_t index = 0; index < count; ++index) {
    if (state_->writes[variables[index]] == 0)
      return fail(PF_FAILED_PRECONDITION, "variable '%s' has no value yet; set it or run what initialises it",
                  model_.variables[variables[index]].name);
  }
  return true;
}

bool Run::is_current(const Prepare& prepare, uint64_t made) const {
  if (made == 0) return false;
  for (int32_t index = 0; index < prepare.nsources; ++index)
    if (state_->counters[prepare.first + index] != state_->writes[prepare.sources[index]]) return false;
  return true;
}

bool Run::prepare(const int32_t* prepares, int32_t count, void* arena, size_t bytes) {
  for (int32_t index = 0; index < count; ++index) {
    const Prepare& prepare = model_.prepares[prepares[index]];
    uint64_t& made = state_->made[prepares[index]];
    if (is_current(prepare, made)) continue;
    if (!reads(prepare.sources, prepare.nsources)) return false;
    pf_partition* const cuts = cuts_;
    cuts_ = nullptr;
    const bool good = prepare.steps(*this) && execute(arena, bytes) && prepare.steps(*this);
    cuts_ = cuts;
    mode_ = Mode::Measure;
    temporaries_ = 0;
    shared_ = lane_ = 0;
    if (!good) return false;
    for (int32_t source = 0; source < prepare.nsources; ++source)
      state_->counters[prepare.first + source] = state_->writes[prepare.sources[source]];
    made = 1;
  }
  return true;
}

void Run::measure(const int32_t* prepares, int32_t count) {
  for (int32_t index = 0; index < count; ++index) {
    if (!model_.prepares[prepares[index]].steps(*this)) return;
    const size_t fixed = static_cast<size_t>(temporaries_) + shared_;
    if (fixed > least_) least_ = fixed;
    if (lane_ > least_lane_) least_lane_ = lane_;
    temporaries_ = 0;
    shared_ = lane_ = 0;
  }
}

size_t Run::arena_bytes(int32_t threads) const {
  if (code_ != PF_OK) return 0;
  const size_t lanes = threads > 1 ? static_cast<size_t>(threads) : 1;
  const size_t own = static_cast<size_t>(temporaries_) + shared_ + lanes * lane_;
  const size_t prepares = least_ + lanes * least_lane_;
  const size_t most = own > prepares ? own : prepares;
  return most > 0 ? most : static_cast<size_t>(kAlignment);
}

bool Run::execute(void* arena, size_t bytes) {
  const size_t needed = arena_bytes(options_.threads);
  if (arena == nullptr || reinterpret_cast<uintptr_t>(arena) % kAlignment != 0)
    return fail(PF_INVALID_ARGUMENT, "expected an arena of %zu bytes, aligned to %lld, got %s", needed,
                static_cast<long long>(kAlignment), arena == nullptr ? "NULL" : "one that is not aligned");
  if (bytes < needed)
    return fail(PF_INVALID_ARGUMENT, "the arena has %zu bytes; %zu are needed at these sizes with %d threads", bytes,
                needed, options_.threads > 1 ? options_.threads : 1);
  arena_ = static_cast<unsigned char*>(arena);
  arena_bytes_ = bytes;
  mode_ = Mode::Execute;
  return true;
}

bool Run::temporaries(const Temporary* rows, int32_t count, const int64_t* elements, int64_t* slots, int32_t nslots) {
  if (cuts_ != nullptr && mode_ == Mode::Execute) return true;  // found while measuring
  for (int32_t slot = 0; slot < nslots; ++slot) slots[slot] = 0;
  for (int32_t index = 0; index < count; ++index) {
    const Temporary& row = rows[index];
    if (is_no_size(elements[index], row.dtype))
      return fail(PF_INVALID_ARGUMENT, "a buffer of %lld elements of %s is no size in memory",
                  static_cast<long long>(elements[index]), dtype_name(row.dtype));
    const int64_t bytes = bytes_[row.buffer] = elements[index] * dtype_bytes(row.dtype);
    if (row.slot >= 0 && bytes > slots[row.slot]) slots[row.slot] = bytes;
  }
  int64_t used = 0;
  for (int32_t slot = 0; slot < nslots; ++slot) {
    const int64_t bytes = aligned(slots[slot]);
    slots[slot] = used;
    used += bytes;
  }
  for (int32_t index = 0; index < count; ++index) {
    const Temporary& row = rows[index];
    const int64_t at = row.slot >= 0 ? slots[row.slot] : used;
    if (row.slot < 0) used += aligned(bytes_[row.buffer]);
    buffers_[row.buffer] = arena_ == nullptr ? nullptr : arena_ + at;
  }
  temporaries_ = used;
  return true;
}

bool Run::place(pf_view* view, int32_t buffer, int32_t dtype, int32_t ndim, const int64_t* sizes) {
  const int64_t *dims = sizes, *strides = sizes + ndim;
  const int64_t offset = sizes[2 * ndim], itemsize = dtype_bytes(dtype), limit = elements_in(bytes_[buffer], itemsize);
  int64_t count = 1, low = offset, high = offset;
  bool wrong = false, empty = false;
  for (int32_t axis = 0; axis < ndim; ++axis) {
    if (dims[axis] < 0) {
      if (dims[axis] == kNoSize)
        return fail(PF_INVALID_ARGUMENT, "a size on axis %d has no value at these sizes", axis);
      return fail(PF_INVALID_ARGUMENT, "a size is negative: %lld on axis %d", static_cast<long long>(dims[axis]), axis);
    }
    int64_t reach;
    empty |= dims[axis] == 0;
    wrong |= strides[axis] == kNoSize;
    wrong |= __builtin_mul_overflow(count, dims[axis], &count);
    wrong |= __builtin_mul_overflow(dims[axis] - 1, strides[axis], &reach);
    wrong |= __builtin_add_overflow(low, reach < 0 ? reach : 0, &low);
    wrong |= __builtin_add_overflow(high, reach < 0 ? 0 : reach, &high);
  }
  if (!empty && (wrong || low < 0 || high >= limit || count > elements_in(kMaxBytes, itemsize)))
    return fail(PF_DATA_LOSS, "a view of elements %lld to %lld leaves buffer %d, which holds %lld of %s",
                static_cast<long long>(low), static_cast<long long>(high), buffer, static_cast<long long>(limit),
                dtype_name(dtype));
  auto* data = static_cast<unsigned char*>(buffers_[buffer]);
  *view = {data == nullptr || empty ? data : data + offset * itemsize, dims, strides, ndim, dtype};
  return true;
}

bool Run::place_operands(const Step& step, const int64_t*& sizes) {
  const pf_step& call = step.call;
  for (int32_t index = 0; index < call.ninputs + call.noutputs; ++index) {
    const pf_operand& type = index < call.ninputs ? call.inputs[index] : call.outputs[index - call.ninputs];
    if (!place(views_ + index, step.buffers[index], type.dtype, type.ndim, sizes)) return false;
    sizes += 2 * type.ndim + 1;
  }
  return true;
}

bool Run::cut(const Step& step, const pf_kernel* kernel, const pf_call& call, pf_partition* partition) {
  Error error;
  const pf_code code = kernel->partition(&call, partition, &error);
  if (code != PF_OK) return fail_step(step, code, error.message);
  const auto shared = static_cast<size_t>(aligned(static_cast<int64_t>(partition->shared_scratch)));
  const auto lane = static_cast<size_t>(aligned(static_cast<int64_t>(partition->thread_scratch)));
  if (shared > shared_) shared_ = shared;
  if (lane > lane_) lane_ = lane;
  return true;
}

__attribute__((noinline)) bool Run::cut_without_state(const Step& step, pf_call& call, pf_partition* partition) {
  alignas(64) unsigned char program[kLentProgram];
  const pf_kernel* kernel = find_kernel(model_.kernels[step.kernel], isa_);
  if (kernel == nullptr) return fail_step(step, PF_UNIMPLEMENTED, "there is no such kernel");
  if (kernel->state_size != nullptr && kernel->state_size(&step.call) > sizeof(program))
    return fail_step(step, PF_UNIMPLEMENTED, "the program is too long to be measured without a state");
  Error error;
  if (kernel->prepare != nullptr) {
    const pf_code code = kernel->prepare(&step.call, program, &error);
    if (code != PF_OK) return fail_step(step, code, error.message);
    call.state = program;
  }
  return cut(step, kernel, call, partition);
}

// What place_operands has checked while measuring.
void Run::find_operands(const Step& step, const int64_t*& sizes) {
  const pf_step& call = step.call;
  for (int32_t index = 0; index < call.ninputs + call.noutputs; ++index) {
    const pf_operand& type = index < call.ninputs ? call.inputs[index] : call.outputs[index - call.ninputs];
    auto* data = static_cast<unsigned char*>(buffers_[step.buffers[index]]);
    bool empty = false;
    for (int32_t axis = 0; axis < type.ndim; ++axis) empty |= sizes[axis] == 0;
    const int64_t offset = empty ? 0 : sizes[2 * type.ndim] * dtype_bytes(type.dtype);
    views_[index] = {data + offset, sizes, sizes + type.ndim, type.ndim, type.dtype};
    sizes += 2 * type.ndim + 1;
  }
}

pf_partition* Run::cut_of(const Step& step) const {
  return cuts_ == nullptr ? nullptr : cuts_ + (step.index - first_cut_);
}

bool Run::step(const Step& step, const int64_t* sizes, int64_t* defines) {
  const char* const unmeasured = "needs more scratch than the arena has at its largest size";
  const bool is_cut = cuts_ != nullptr && mode_ == Mode::Execute;
  if (is_cut) {
    find_operands(step, sizes);
  } else if (!place_operands(step, sizes)) {
    return false;
  }
  pf_call call{&step.call, views_, views_ + step.call.ninputs, sizes, defines, nullptr};
  pf_partition own{};
  pf_partition* partition = cuts_ == nullptr ? &own : cut_of(step);
  if (!is_cut) {
    for (int32_t index = 0; index < step.call.nints; ++index)
      if (sizes[index] == kNoSize) return fail_step(step, PF_INVALID_ARGUMENT, "a size has no value at these sizes");
    if (state_ == nullptr) return cut_without_state(step, call, &own);
    *partition = {};
  }
  const pf_kernel* kernel = state_->kernels[step.kernel];
  call.state = state_->programs[step.index];
  if (!is_cut && !cut(step, kernel, call, partition)) return false;
  if (mode_ == Mode::Measure) return true;
  if (!go_on()) return false;
  if (!is_cut && arena_bytes(options_.threads) > arena_bytes_)
    return fail_step(step, PF_RESOURCE_EXHAUSTED, unmeasured);
  const bool parallel = options_.threads > 1 && partition->cost >= kParallelNanoseconds;
  for (int32_t phase = 0; phase < partition->phases; ++phase)
    if (!run_phase(step, kernel, call, phase, partition->tasks[phase], parallel)) return false;
  return true;
}

// A phase that threads share: each takes tasks, a few at a time, until none is left. The first error wins.
struct Run::Share {
  const pf_kernel* kernel;
  const pf_call* call;
  unsigned char* shared;
  unsigned char* lanes;
  size_t lane;
  int32_t phase;
  int64_t tasks, portion;
  int64_t next;
  int32_t failed;
  pf_code code;
  Error error;

  static void take(void* argument, int64_t index, int32_t) {
    Share& share = *static_cast<Share*>(argument);
    unsigned char* own = share.lanes + static_cast<size_t>(index) * share.lane;
    while (__atomic_load_n(&share.failed, __ATOMIC_RELAXED) == 0) {
      const int64_t begin = __atomic_fetch_add(&share.next, share.portion, __ATOMIC_RELAXED);
      if (begin >= share.tasks) return;
      const int64_t end = begin + share.portion < share.tasks ? begin + share.portion : share.tasks;
      const pf_task task{share.phase, begin, end, own, share.shared};
      Error error;
      const pf_code code = share.kernel->run(share.call, &task, &error);
      if (code != PF_OK && __atomic_exchange_n(&share.failed, 1, __ATOMIC_ACQ_REL) == 0) {
        share.code = code;
        share.error = error;
      }
    }
  }
};

bool Run::run_phase(const Step& step, const pf_kernel* kernel, const pf_call& call, int32_t phase, int64_t tasks,
                    bool parallel) {
  if (tasks <= 0) return true;
  unsigned char* shared = arena_ + temporaries_;
  unsigned char* lanes = shared + shared_;
  Error error;
  if (!parallel || tasks == 1) {
    const pf_task task{phase, 0, tasks, lanes, shared};
    const pf_code code = kernel->run(&call, &task, &error);
    return code == PF_OK || fail_step(step, code, error.message);
  }
  const int64_t threads = options_.threads < tasks ? options_.threads : tasks;
  const int64_t portion = tasks / (8 * threads);
  Share share{kernel, &call, shared, lanes, lane_, phase, tasks, portion > 0 ? portion : 1, 0, 0, PF_OK, {}};
  options_.parallel_for(options_.pool, threads, Share::take, &share);
  return share.failed == 0 || fail_step(step, share.code, share.error.message);
}

bool Run::condition(int32_t buffer, int64_t offset) const {
  return mode_ == Mode::Measure || static_cast<const unsigned char*>(buffers_[buffer])[offset] != 0;
}

bool Run::go_on() {
  if (mode_ == Mode::Measure || options_.cancel == nullptr) return true;
  return __atomic_load_n(options_.cancel, __ATOMIC_RELAXED) == 0 || fail(PF_CANCELLED, "the run was cancelled");
}

bool Run::defined(const char* name, int64_t value, int64_t low, int64_t high) {
  return mode_ == Mode::Measure || size(name, value, low, high);
}

bool Run::commit(int32_t variable, int32_t buffer, int32_t dtype, int32_t ndim, const int64_t* sizes) {
  const Variable& target = model_.variables[variable];
  int64_t bytes = dtype_bytes(dtype);
  for (int32_t axis = 0; axis < ndim; ++axis) bytes = mul(bytes, sizes[axis]);
  if (bytes != target.bytes)
    return fail(PF_INVALID_ARGUMENT, "variable '%s' holds %lld bytes; the value for it has %lld", target.name,
                static_cast<long long>(target.bytes), static_cast<long long>(bytes));
  return copy(state_ == nullptr ? nullptr : state_->variables[variable], buffer, dtype, ndim, sizes);
}

bool Run::copy(void* to, int32_t buffer, int32_t dtype, int32_t ndim, const int64_t* sizes) {
  pf_view view;
  if (!place(&view, buffer, dtype, ndim, sizes)) return false;
  if (mode_ == Mode::Write && view.data != to) pack(static_cast<unsigned char*>(to), view);
  return true;
}

void Run::wrote(const int32_t* variables, int32_t count) {
  for (int32_t index = 0; index < count; ++index) {
    uint64_t& writes = state_->writes[variables[index]];
    if (code_ == PF_OK || writes > 0) ++writes;
  }
}

}  // namespace aot
}  // namespace pf
