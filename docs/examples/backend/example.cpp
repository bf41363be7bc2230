// A backend outside of pyflow's tree, with memory of its own: docs/add_a_backend.md walks through it.
//
// It is a machine that cannot read the host's memory, nor the host its: its addresses have the highest bit set, which
// no host address has. The host crashes on such an address, and the machine refuses every other one, so that a
// forgotten transfer never goes unnoticed.
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>

#include "pyflow/backend.h"

namespace {

// Memory.

constexpr uintptr_t kTag = uintptr_t{1} << 63;

bool is_ours(const void* address) {
  return (reinterpret_cast<uintptr_t>(address) & kTag) != 0;
}
char* real(const void* address) {
  return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(address) & ~kTag);
}

__attribute__((format(printf, 3, 4))) pf_code fail(pf_error* error, pf_code code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof(error->message), format, arguments);
  va_end(arguments);
  return code;
}

void* allocate(void*, size_t bytes) {
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  return memory == nullptr ? nullptr : reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(memory) | kTag);
}

void release(void*, void* memory, size_t) {
  std::free(real(memory));
}

pf_code copy(void*, void* to, const void* from, size_t bytes, pf_direction direction, pf_error* error) {
  if (is_ours(to) != (direction != PF_TO_HOST) || is_ours(from) != (direction != PF_TO_DEVICE)) {
    return fail(error, PF_INTERNAL, "a copy in direction %d from %p to %p crosses another border", direction, from, to);
  }
  std::memmove(real(to), real(from), bytes);
  return PF_OK;
}

// Kernels. Operands come with any strides.

struct Scalar {
  const char* name;
  int32_t arguments;
  float (*function)(const float* x);
};

constexpr Scalar kScalars[] = {
    {"add", 2, [](const float* x) { return x[0] + x[1]; }},
    {"sub", 2, [](const float* x) { return x[0] - x[1]; }},
    {"mul", 2, [](const float* x) { return x[0] * x[1]; }},
    {"div", 2, [](const float* x) { return x[0] / x[1]; }},
    {"neg", 1, [](const float* x) { return -x[0]; }},
    {"relu", 1, [](const float* x) { return x[0] < 0 ? 0 : x[0]; }},
};
constexpr int32_t kMaxRegisters = 96;
constexpr int32_t kMaxOperands = 32;

const Scalar* find_scalar(const pf_instr& instr) {
  for (const Scalar& scalar : kScalars) {
    if (std::strcmp(scalar.name, instr.op) == 0) return &scalar;
  }
  return nullptr;
}

// Every index of `ndim` dims, in row-major order:  for (Walk at(dims, ndim); !at.done; at.next()) ...
struct Walk {
  const int64_t* dims;
  int32_t ndim;
  int64_t index[PF_MAX_NDIM] = {};
  bool done = false;

  Walk(const int64_t* given, int32_t count) : dims(given), ndim(count) {
    for (int32_t axis = 0; axis < ndim; ++axis) done |= dims[axis] == 0;
  }
  void next() {
    int32_t axis = ndim - 1;
    while (axis >= 0 && ++index[axis] == dims[axis]) index[axis--] = 0;
    done = axis < 0;
  }
  // The element of `view` at this index, in bytes of `size`.
  char* in(const pf_view& view, size_t size) const {
    int64_t offset = 0;
    for (int32_t axis = 0; axis < ndim; ++axis) offset += index[axis] * view.strides[axis];
    return real(view.data) + offset * static_cast<int64_t>(size);
  }
};

bool all_float32(const pf_step* step) {
  for (int32_t i = 0; i < step->ninputs; ++i) {
    if (step->inputs[i].dtype != PF_DTYPE_float32) return false;
  }
  return step->noutputs > 0 && step->outputs[0].dtype == PF_DTYPE_float32;
}

const char* refuse_elementwise(const pf_step* step) {
  if (step->nprograms != 1) return "it takes one program";
  const pf_program& program = step->programs[0];
  if (program.ninputs + program.ninstrs > kMaxRegisters) return "the program is too long";
  for (int32_t i = 0; i < program.ninputs + program.ninstrs; ++i) {
    if (program.register_dtypes[i] != PF_DTYPE_float32) return "it computes in float32 only";
  }
  for (int32_t i = 0; i < program.ninstrs; ++i) {
    const pf_instr& instr = program.instrs[i];
    const bool known = find_scalar(instr) != nullptr || std::strcmp(instr.op, "const") == 0;
    if (!known) return "of scalar functions it has add, sub, mul, div, neg and relu only";
  }
  return nullptr;
}

void run_elementwise(const pf_call& call) {
  const pf_program& program = call.step->programs[0];
  const Scalar* functions[kMaxRegisters];
  float registers[kMaxRegisters];
  for (int32_t i = 0; i < program.ninstrs; ++i) {
    functions[i] = find_scalar(program.instrs[i]);
    if (functions[i] == nullptr) std::memcpy(&registers[program.ninputs + i], &program.instrs[i].imm, sizeof(float));
  }
  for (Walk at(call.outputs[0].dims, call.outputs[0].ndim); !at.done; at.next()) {
    for (int32_t i = 0; i < program.ninputs; ++i) std::memcpy(&registers[i], at.in(call.inputs[i], 4), 4);
    for (int32_t i = 0; i < program.ninstrs; ++i) {
      if (functions[i] == nullptr) continue;
      float arguments[4];
      for (int32_t k = 0; k < functions[i]->arguments; ++k) arguments[k] = registers[program.instrs[i].args[k]];
      registers[program.ninputs + i] = functions[i]->function(arguments);
    }
    for (int32_t i = 0; i < program.noutputs; ++i)
      std::memcpy(at.in(call.outputs[i], 4), &registers[program.outputs[i]], 4);
  }
}

const char* refuse_matmul(const pf_step* step) {
  if (!all_float32(step)) return "it multiplies float32 only";
  return step->nprograms == 0 ? nullptr : "nothing may follow in the same call";
}

// One chain over k with fma: the bits of the cpu backend where the CPU has fma (docs/numerics.md).
void run_matmul(const pf_call& call) {
  const pf_view &a = call.inputs[0], &b = call.inputs[1], &c = call.outputs[0];
  const int32_t row = c.ndim - 2, column = c.ndim - 1;
  const int64_t depth = a.dims[column];
  for (Walk at(c.dims, c.ndim); !at.done; at.next()) {
    Walk left = at, right = at;
    left.index[column] = right.index[row] = 0;
    const float *x = reinterpret_cast<float*>(left.in(a, 4)), *y = reinterpret_cast<float*>(right.in(b, 4));
    float sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum = std::fma(x[k * a.strides[column]], y[k * b.strides[row]], sum);
    std::memcpy(at.in(c, 4), &sum, 4);
  }
}

size_t size_of(int32_t dtype) {
#define ROW(name, code, bits) \
  if (dtype == code) return bits / 8;
  PF_DTYPES(ROW)
#undef ROW
  return 0;
}

const char* refuse_copy(const pf_step* step) {
  return size_of(step->inputs[0].dtype) > 0 ? nullptr : "it copies whole bytes only";
}

void run_copy(const pf_call& call) {
  const size_t size = size_of(call.outputs[0].dtype);
  for (Walk at(call.outputs[0].dims, call.outputs[0].ndim); !at.done; at.next()) {
    std::memmove(at.in(call.outputs[0], size), at.in(call.inputs[0], size), size);
  }
}

struct Kernel {
  const char* name;
  const char* (*refuse)(const pf_step* step);  // NULL if it runs the step, else why not
  void (*run)(const pf_call& call);
};

constexpr Kernel kKernels[] = {
    {"elementwise", refuse_elementwise, run_elementwise},
    {"matmul", refuse_matmul, run_matmul},
    {"copy", refuse_copy, run_copy},
};

const Kernel* find_kernel(const pf_step* step) {
  for (const Kernel& kernel : kKernels) {
    if (std::strcmp(kernel.name, step->kernel) == 0) return &kernel;
  }
  return nullptr;
}

int32_t supports(void*, const pf_step* step, char* why, size_t why_size) {
  const Kernel* kernel = find_kernel(step);
  const char* reason = "it has no such kernel";
  if (kernel != nullptr) {
    reason = step->ninputs + step->noutputs > kMaxOperands ? "it takes fewer operands" : kernel->refuse(step);
  }
  if (reason != nullptr) std::snprintf(why, why_size, "%s: %s", step->kernel, reason);
  return reason == nullptr;
}

// Segments. What `segment` points to lives until `unprepare`, what `sizes` points to until `unbind`.

struct Bound {
  const pf_segment* segment;
  const pf_step_sizes* sizes;
};

pf_code prepare(void*, const pf_segment* segment, void** prepared, pf_error*) {
  *prepared = const_cast<pf_segment*>(segment);
  return PF_OK;
}

void unprepare(void*, void*) {}

pf_code bind(void*, void* prepared, const pf_step_sizes* sizes, void** bound, pf_needs* needs, pf_error* error) {
  *needs = {0, 0};
  *bound = new (std::nothrow) Bound{static_cast<const pf_segment*>(prepared), sizes};
  return *bound != nullptr ? PF_OK : fail(error, PF_RESOURCE_EXHAUSTED, "no memory to bind a segment");
}

void unbind(void*, void* bound) {
  delete static_cast<Bound*>(bound);
}

pf_view view_of(const pf_place& place, const pf_operand& operand, const pf_run& run) {
  return {static_cast<char*>(run.buffers[place.buffer]) + place.offset, place.dims, place.strides, operand.ndim,
          operand.dtype};
}

pf_code stopped(const pf_run& run, pf_error* error) {
  if (run.cancel != nullptr && *run.cancel != 0) return fail(error, PF_CANCELLED, "the run was cancelled");
  if (run.deadline == 0) return PF_OK;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const bool past = int64_t{now.tv_sec} * 1000000000 + now.tv_nsec >= run.deadline;
  return past ? fail(error, PF_DEADLINE_EXCEEDED, "the run's deadline passed") : PF_OK;
}

pf_code run_step(const Bound& bound, int32_t index, const pf_run& run, pf_error* error) {
  const pf_step& step = bound.segment->steps[index];
  const pf_step_sizes& sizes = bound.sizes[index];
  pf_view views[kMaxOperands];
  for (int32_t i = 0; i < step.ninputs; ++i) views[i] = view_of(sizes.inputs[i], step.inputs[i], run);
  pf_view* outputs = views + step.ninputs;
  for (int32_t i = 0; i < step.noutputs; ++i) outputs[i] = view_of(sizes.outputs[i], step.outputs[i], run);
  for (int32_t i = 0; i < step.ninputs + step.noutputs; ++i) {
    if (!is_ours(views[i].data)) return fail(error, PF_INTERNAL, "operand %d is in the host's memory", i);
  }
  const pf_call call = {&step, views, outputs, sizes.ints, sizes.defines, nullptr};
  const pf_observer* observer = run.observer;
  pf_code code = observer != nullptr ? observer->before(observer->self, index, &call, error) : PF_OK;
  if (code != PF_OK) return code;
  find_kernel(&step)->run(call);
  return observer != nullptr ? observer->after(observer->self, index, &call, error) : PF_OK;
}

pf_code run(void*, void* handle, const pf_run* run, pf_error* error) {
  const Bound& bound = *static_cast<const Bound*>(handle);
  for (int32_t index = 0; index < bound.segment->nsteps; ++index) {
    error->step = index;
    pf_code code = index <= run->last_cancellable ? stopped(*run, error) : PF_OK;
    if (code == PF_OK) code = run_step(bound, index, *run, error);
    if (code != PF_OK) return code;
  }
  return PF_OK;
}

constexpr pf_backend kBackend = {
    sizeof(pf_backend), PF_BACKEND_ABI, "example", 0,   nullptr, supports, allocate, release, copy, prepare,
    unprepare,          bind,           unbind,    run,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const pf_backend* pyflow_plugin_backend(int32_t index) {
  return index == 0 ? &kBackend : nullptr;
}
