// A model's values, in memory that the caller lends: laid out, filled from the weights, read and written by name.
#include "aot/state.h"

#include <string.h>

namespace pf {
namespace aot {

namespace {

constexpr int64_t kSumDigits = 16;
// The weights begin with the length of the header and this, then the digits of the data's sum.
constexpr char kSumKey[] = "{\"__metadata__\":{\"pyflow.sum\":\"";
constexpr int64_t kSumAt = 8 + static_cast<int64_t>(sizeof(kSumKey)) - 1;

// Hands out aligned pieces of memory; with none it only counts.
struct Pieces {
  unsigned char* memory;
  int64_t used;

  void* take(int64_t bytes) {
    void* piece = memory == nullptr ? nullptr : memory + used;
    used += aligned(bytes);
    return piece;
  }
  template <typename T>
  T* take_array(int32_t count) {
    return static_cast<T*>(take(static_cast<int64_t>(sizeof(T)) * count));
  }
};

// Fills `state`; where the pieces have no memory only counts. Programs are prepared later.
void lay_out(const Model& model, int32_t isa, Pieces& pieces, State* state) {
  const bool real = pieces.memory != nullptr;
  State made{};
  pieces.take(sizeof(State));
  made.kernels = pieces.take_array<const pf_kernel*>(model.nkernels);
  made.programs = pieces.take_array<void*>(model.nsteps);
  made.variables = pieces.take_array<void*>(model.nvariables);
  made.writes = pieces.take_array<uint64_t>(model.nvariables);
  made.counters = pieces.take_array<uint64_t>(model.ncounters);
  made.made = pieces.take_array<uint64_t>(model.nprepares);
  made.prepared = pieces.take_array<void*>(model.nprepared);
  if (real) {
    for (int32_t index = 0; index < model.nkernels; ++index)
      made.kernels[index] = find_kernel(model.kernels[index], isa);
  }
  for (int32_t index = 0; index < model.nsteps; ++index) {
    const Step& step = *model.steps[index];
    const pf_kernel* kernel = real ? made.kernels[step.kernel] : find_kernel(model.kernels[step.kernel], isa);
    const bool keeps = kernel != nullptr && kernel->state_size != nullptr;
    void* program = keeps ? pieces.take(static_cast<int64_t>(kernel->state_size(&step.call))) : nullptr;
    if (real) made.programs[index] = program;
  }
  for (int32_t index = 0; index < model.nvariables; ++index) {
    void* value = pieces.take(model.variables[index].bytes);
    if (real) made.variables[index] = value;
  }
  for (int32_t index = 0; index < model.nprepared; ++index) {
    void* value = pieces.take(model.prepared[index]);
    if (real) made.prepared[index] = value;
  }
  if (real) *state = made;
}

// A sum of bytes that shows damage: eight at a time, mixed.
uint64_t sum_of(uint64_t sum, const unsigned char* data, int64_t bytes) {
  constexpr uint64_t kPrime = 0x9e3779b97f4a7c15;
  for (; bytes > 0; data += 8, bytes -= 8) {
    uint64_t word = 0;
    memcpy(&word, data, static_cast<size_t>(bytes < 8 ? bytes : 8));
    sum = (sum ^ word) * kPrime;
    sum ^= sum >> 29;
  }
  return sum;
}

int digit_of(unsigned char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

pf_code check_weights(const Model& model, const unsigned char* data, int64_t bytes, const Report& report) {
  if (bytes != model.weights_bytes)
    return fail(report, PF_DATA_LOSS, "the weights are %lld bytes, expected %lld; take the file that came with %s",
                static_cast<long long>(bytes), static_cast<long long>(model.weights_bytes), model.name);
  if (bytes == 0) return PF_OK;
  if (reinterpret_cast<uintptr_t>(data) % kAlignment != 0)
    return fail(report, PF_INVALID_ARGUMENT, "the weights must be aligned to %lld bytes; map the file",
                static_cast<long long>(kAlignment));
  if (memcmp(data + 8, kSumKey, sizeof(kSumKey) - 1) != 0)
    return fail(report, PF_DATA_LOSS, "these are no weights of a pyflow model; take the file that came with %s",
                model.name);
  uint64_t expected = 0;
  for (int64_t index = 0; index < kSumDigits; ++index) {
    const int digit = digit_of(data[kSumAt + index]);
    if (digit < 0) return fail(report, PF_DATA_LOSS, "the weights were altered; take another copy of the file");
    expected = expected * 16 + static_cast<uint64_t>(digit);
  }
  const unsigned char zeros[kSumDigits] = {};
  uint64_t header = sum_of(1, data, kSumAt);
  header = sum_of(header, zeros, kSumDigits);
  header = sum_of(header, data + kSumAt + kSumDigits, model.header_bytes - kSumAt - kSumDigits);
  if (header != model.header_sum)
    return fail(report, PF_DATA_LOSS, "the weights hold other arrays than %s; take the file that came with it",
                model.name);
  if (sum_of(1, data + model.header_bytes, bytes - model.header_bytes) != expected)
    return fail(report, PF_DATA_LOSS,
                "the weights were altered: their sum is not right; take another copy of the file");
  return PF_OK;
}

pf_code choose_isa(const Model& model, int32_t* isa, const Report& report) {
  const int32_t best = best_isa(model);
  if (best < 0)
    return fail(report, PF_FAILED_PRECONDITION,
                "this CPU lacks SSE4.2 or POPCNT; x86-64-v2 is the least that is supported");
  if (*isa > best)
    return fail(report, PF_FAILED_PRECONDITION, "%s was asked for, this CPU runs up to %s", isa_name(*isa),
                isa_name(best));
  if (*isa < 0) *isa = best;
  return PF_OK;
}

// The variable's number, -1 after an error.
int32_t find_variable(const Model& model, const State* state, const char* name, const Report& report) {
  if (state == nullptr || state->magic != kStateMagic || state->model != &model) {
    fail(report, PF_INVALID_ARGUMENT, "expected a state of %s; make one with %s_state_init", model.name, model.name);
    return -1;
  }
  for (int32_t index = 0; name != nullptr && index < model.nvariables; ++index)
    if (strcmp(model.variables[index].name, name) == 0) return index;
  fail(report, PF_NOT_FOUND, "%s has no variable '%s'; its header lists them", model.name,
       name == nullptr ? "NULL" : name);
  return -1;
}

}  // namespace

size_t state_bytes(const Model& model, int32_t isa) {
  if (choose_isa(model, &isa, Report{}) != PF_OK) return 0;
  Pieces pieces{nullptr, 0};
  lay_out(model, isa, pieces, nullptr);
  return static_cast<size_t>(pieces.used);
}

pf_code state_init(const Model& model, int32_t isa, void* memory, size_t bytes, const void* weights,
                   size_t weights_bytes, State** result, const Report& report) {
  if (report.code != nullptr) *report.code = PF_OK;
  if (report.message != nullptr) report.message[0] = '\0';
  if (memory == nullptr || result == nullptr)
    return fail(report, PF_INVALID_ARGUMENT, "expected memory and a place for the state, got NULL");
  if (const pf_code code = choose_isa(model, &isa, report); code != PF_OK) return code;
  if (reinterpret_cast<uintptr_t>(memory) % kAlignment != 0)
    return fail(report, PF_INVALID_ARGUMENT, "the state's memory must be aligned to %lld bytes",
                static_cast<long long>(kAlignment));
  const size_t needed = state_bytes(model, isa);
  if (bytes < needed)
    return fail(report, PF_INVALID_ARGUMENT, "the state needs %zu bytes, got %zu; ask %s_state_bytes", needed, bytes,
                model.name);
  const auto* data = static_cast<const unsigned char*>(weights);
  if (model.weights != nullptr) {
    if (data != nullptr)
      return fail(report, PF_INVALID_ARGUMENT, "the weights are inside of %s; pass NULL", model.name);
    data = model.weights;
  } else {
    if (data == nullptr && model.weights_bytes > 0)
      return fail(report, PF_INVALID_ARGUMENT, "expected the contents of %s.weights, got NULL", model.name);
    if (const pf_code code = check_weights(model, data, static_cast<int64_t>(weights_bytes), report); code != PF_OK)
      return code;
  }
  for (int32_t index = 0; index < model.nkernels; ++index) {
    if (find_kernel(model.kernels[index], isa) == nullptr)
      return fail(report, PF_UNIMPLEMENTED, "%s was built without the kernel '%s' for %s", model.name,
                  model.kernels[index].name, isa_name(isa));
  }
  auto* state = static_cast<State*>(memory);
  Pieces pieces{static_cast<unsigned char*>(memory), 0};
  lay_out(model, isa, pieces, state);
  state->model = &model;
  state->isa = isa;
  state->weights = data;
  for (int32_t index = 0; index < model.nsteps; ++index) {
    const Step& step = *model.steps[index];
    const pf_kernel* kernel = state->kernels[step.kernel];
    Error error;
    if (kernel->supports != nullptr && !kernel->supports(&step.call, error.message, sizeof(error.message)))
      return fail(report, PF_UNIMPLEMENTED, "[%s] %s   (%s)", step.call.kernel, error.message, step.call.origin);
    if (kernel->prepare == nullptr) continue;
    const pf_code code = kernel->prepare(&step.call, state->programs[index], &error);
    if (code != PF_OK) return fail(report, code, "[%s] %s   (%s)", step.call.kernel, error.message, step.call.origin);
  }
  for (int32_t index = 0; index < model.ncounters; ++index) state->counters[index] = 0;
  for (int32_t index = 0; index < model.nprepares; ++index) state->made[index] = 0;
  for (int32_t index = 0; index < model.nvariables; ++index) state->writes[index] = 0;
  state->magic = kStateMagic;
  *result = state;
  return state_reset(model, state, report);
}

pf_code state_reset(const Model& model, State* state, const Report& report) {
  if (state == nullptr || state->magic != kStateMagic || state->model != &model)
    return fail(report, PF_INVALID_ARGUMENT, "expected a state of %s; make one with %s_state_init", model.name,
                model.name);
  for (int32_t index = 0; index < model.nvariables; ++index) {
    const Variable& variable = model.variables[index];
    if (variable.initial < 0) {
      memset(state->variables[index], 0, static_cast<size_t>(variable.bytes));
      state->writes[index] = 0;
      continue;
    }
    memcpy(state->variables[index], state->weights + variable.initial, static_cast<size_t>(variable.bytes));
    ++state->writes[index];
  }
  for (int32_t index = 0; index < model.nprepares; ++index) {
    if (model.prepares[index].nsources > 0) state->made[index] = 0;
  }
  if (report.code != nullptr) *report.code = PF_OK;
  if (report.message != nullptr) report.message[0] = '\0';
  return PF_OK;
}

pf_code state_get(const Model& model, const State* state, const char* name, void* data, size_t bytes,
                  const Report& report) {
  const int32_t index = find_variable(model, state, name, report);
  if (index < 0) return report.code != nullptr ? static_cast<pf_code>(*report.code) : PF_INVALID_ARGUMENT;
  const Variable& variable = model.variables[index];
  if (data == nullptr || bytes != static_cast<size_t>(variable.bytes))
    return fail(report, PF_INVALID_ARGUMENT, "variable '%s' holds %lld bytes of %s; got %s of %zu bytes", name,
                static_cast<long long>(variable.bytes), dtype_name(variable.dtype), data == nullptr ? "NULL" : "memory",
                bytes);
  if (state->writes[index] == 0)
    return fail(report, PF_FAILED_PRECONDITION, "variable '%s' has no value yet; set it or run what initialises it",
                name);
  memcpy(data, state->variables[index], bytes);
  return fail(report, PF_OK, "%s", "");
}

pf_code state_set(const Model& model, State* state, const char* name, const void* data, size_t bytes,
                  const Report& report) {
  const int32_t index = find_variable(model, state, name, report);
  if (index < 0) return report.code != nullptr ? static_cast<pf_code>(*report.code) : PF_INVALID_ARGUMENT;
  const Variable& variable = model.variables[index];
  if (data == nullptr || bytes != static_cast<size_t>(variable.bytes))
    return fail(report, PF_INVALID_ARGUMENT, "variable '%s' holds %lld bytes of %s; got %s of %zu bytes", name,
                static_cast<long long>(variable.bytes), dtype_name(variable.dtype), data == nullptr ? "NULL" : "memory",
                bytes);
  memcpy(state->variables[index], data, bytes);
  ++state->writes[index];
  return fail(report, PF_OK, "%s", "");
}

}  // namespace aot
}  // namespace pf
