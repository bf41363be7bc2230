// prepare and bind; backend_run.cpp runs.
#include "backends/cpu/backend.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "backends/cpu/backend_segment.h"
#include "core/threads.h"

namespace pf {
namespace {

constexpr size_t kAlignment = 64;
// A step is worth waking threads from here on; while they are awake, others are worth a barrier or two.
constexpr double kParallelNanoseconds = 30'000;
constexpr double kFurtherNanoseconds = 5'000;

size_t aligned(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

pf_code fail(pf_error* error, pf_code code, int32_t step, const std::string& message) {
  error->step = step;
  snprintf(error->message, sizeof(error->message), "%s", message.c_str());
  return code;
}

int32_t supports(void*, const pf_step* step, char* why, size_t why_size) {
  const pf_kernel* kernel = find_kernel(step->kernel);
  if (kernel == nullptr) {
    snprintf(why, why_size, "the cpu backend has no kernel '%s'", step->kernel);
    return 0;
  }
  return kernel->supports(step, why, why_size);
}

pf_code prepare(void*, const pf_segment* segment, void** prepared, pf_error* error) {
  error->step = -1;
  if (const std::string wrong = isa_error(); !wrong.empty()) return fail(error, PF_INVALID_ARGUMENT, -1, wrong);
  auto result = std::make_unique<PreparedSegment>();
  size_t bytes = 0;
  for (int32_t i = 0; i < segment->nsteps; ++i) {
    const pf_step& step = segment->steps[i];
    char why[sizeof(error->message)] = "";
    if (!supports(nullptr, &step, why, sizeof(why))) return fail(error, PF_UNIMPLEMENTED, i, why);
    const pf_kernel* kernel = find_kernel(step.kernel);
    result->steps.push_back({step, kernel, bytes});
    if (kernel->state_size != nullptr) bytes += aligned(kernel->state_size(&step));
  }
  result->memory = std::make_unique<std::byte[]>(bytes + kAlignment);
  const size_t skew = reinterpret_cast<uintptr_t>(result->memory.get()) % kAlignment;
  result->states = result->memory.get() + (kAlignment - skew);
  for (int32_t i = 0; i < segment->nsteps; ++i) {
    const PreparedStep& step = result->steps[static_cast<size_t>(i)];
    if (step.kernel->prepare == nullptr) continue;
    const pf_code code = step.kernel->prepare(&step.step, result->states + step.state_offset, error);
    if (code != PF_OK) {
      error->step = i;
      return code;
    }
  }
  *prepared = result.release();
  return PF_OK;
}

void unprepare(void*, void* prepared) {
  delete static_cast<PreparedSegment*>(prepared);
}

// Copies sizes so that nothing of the executor's needs to outlive `bind`. `result.sizes` has room for all.
const int64_t* keep(BoundSegment& result, const int64_t* values, int32_t count) {
  const size_t start = result.sizes.size();
  result.sizes.insert(result.sizes.end(), values, values + count);
  return result.sizes.data() + start;
}

void keep_view(BoundSegment& result, const pf_place& place, const pf_operand& operand) {
  const int64_t* dims = keep(result, place.dims, operand.ndim);
  const int64_t* strides = keep(result, place.strides, operand.ndim);
  result.views.push_back({nullptr, dims, strides, operand.ndim, operand.dtype});
  result.sources.push_back({place.buffer, place.offset});
}

void reserve(BoundSegment& result, const PreparedSegment& prepared) {
  size_t sizes = 0, views = 0;
  for (const PreparedStep& step : prepared.steps) {
    sizes += static_cast<size_t>(step.step.nints);
    views += static_cast<size_t>(step.step.ninputs + step.step.noutputs);
    for (int32_t i = 0; i < step.step.ninputs; ++i) sizes += 2 * static_cast<size_t>(step.step.inputs[i].ndim);
    for (int32_t i = 0; i < step.step.noutputs; ++i) sizes += 2 * static_cast<size_t>(step.step.outputs[i].ndim);
  }
  result.sizes.reserve(sizes);
  result.views.reserve(views);
  result.sources.reserve(views);
  result.steps.reserve(prepared.steps.size());
}

pf_code bind(void*, void* prepared_pointer, const pf_step_sizes* sizes, void** bound, pf_needs* needs,
             pf_error* error) {
  error->step = -1;
  const PreparedSegment& prepared = *static_cast<const PreparedSegment*>(prepared_pointer);
  auto result = std::make_unique<BoundSegment>();
  reserve(*result, prepared);
  for (size_t i = 0; i < prepared.steps.size(); ++i) {
    const PreparedStep& from = prepared.steps[i];
    const pf_step& step = from.step;
    BoundStep to{};
    to.kernel = from.kernel;
    to.first_view = result->views.size();
    for (int32_t k = 0; k < step.ninputs; ++k) keep_view(*result, sizes[i].inputs[k], step.inputs[k]);
    for (int32_t k = 0; k < step.noutputs; ++k) keep_view(*result, sizes[i].outputs[k], step.outputs[k]);
    const pf_view* views = result->views.data() + to.first_view;
    void* state = from.kernel->state_size != nullptr ? prepared.states + from.state_offset : nullptr;
    to.call = {&step, views, views + step.ninputs, keep(*result, sizes[i].ints, step.nints), sizes[i].defines, state};
    const pf_code code = to.kernel->partition(&to.call, &to.partition, error);
    if (code != PF_OK) {
      error->step = static_cast<int32_t>(i);
      return code;
    }
    const int64_t* tasks = to.partition.tasks;
    const int64_t most = to.partition.phases > 0 ? *std::max_element(tasks, tasks + to.partition.phases) : 0;
    to.parallel = most > 1 && to.partition.cost >= kFurtherNanoseconds;
    result->any_parallel |= to.parallel && to.partition.cost >= kParallelNanoseconds;
    result->cost += to.partition.cost;
    result->lane_scratch = std::max(result->lane_scratch, aligned(to.partition.thread_scratch));
    result->shared_scratch = std::max(result->shared_scratch, aligned(to.partition.shared_scratch));
    result->steps.push_back(to);
  }
  for (BoundStep& step : result->steps) step.parallel &= result->any_parallel;
  result->lanes = result->any_parallel ? widest_gang() : 1;
  result->taken = std::make_unique<Taken[]>(static_cast<size_t>(kRounds * result->lanes));
  needs->scratch = kAlignment + result->shared_scratch + static_cast<size_t>(result->lanes) * result->lane_scratch;
  needs->cost = result->cost;
  *bound = result.release();
  return PF_OK;
}

void unbind(void*, void* bound) {
  delete static_cast<BoundSegment*>(bound);
}

pf_code run(void*, void* bound, const pf_run* run, pf_error* error) {
  return run_segment(static_cast<BoundSegment*>(bound), run, error);
}

}  // namespace

const pf_backend* cpu_backend() {
  static const pf_backend backend = {sizeof(pf_backend), PF_BACKEND_ABI, "cpu",   1,       nullptr,
                                     supports,           nullptr,        nullptr, nullptr, prepare,
                                     unprepare,          bind,           unbind,  run};
  return &backend;
}

}  // namespace pf
