// pyflow.h's contexts: an entry bound to sizes, and its runs.
#include <time.h>

#include "capi/boundary.h"
#include "core/dtype.h"
#include "core/executor.h"
#include "core/threads.h"

struct pf_context {
  std::shared_ptr<const pf::Loaded> loaded;
  std::shared_ptr<pf::State> state;
  uint32_t entry;
  bool writes;
  pf_allocator allocator;
  pf_backend memory;  // the allocator as the core sees it
  pf_logger logger;
  const pf_executor* executor;
  std::unique_ptr<pf::Gang> gang;
  std::unique_ptr<pf::Context> context;
  pf::BoundEntry* bound = nullptr;
  bool has_run = false;
  // Of the call at hand, kept so that it allocates nothing.
  std::vector<int64_t> dims;
  std::vector<void*> inputs, outputs;
  std::vector<size_t> input_bytes;
  std::vector<pf::Memory> own;  // of outputs that stay in the context
};

namespace pf {

namespace {

const Entry& entry_of(const pf_context* context) {
  return context->loaded->model->plan().entries[context->entry];
}

void check_count(const pf_context* context, const char* what, int32_t got, size_t wanted) {
  if (got < 0 || static_cast<size_t>(got) != wanted) {
    throw Error(PF_INVALID_ARGUMENT,
                text("entry '", entry_of(context).name, "' has ", wanted, " ", what, "; got ", got));
  }
}

void log_line(const pf_context* context, const std::string& line) {
  if (context->logger.log) context->logger.log(context->logger.self, line.c_str());
}

// Binds the context to the inputs' dims; fills in the outputs as far as sizes tell.
void bind(pf_context* context, const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs, int32_t noutputs) {
  const Entry& entry = entry_of(context);
  check_count(context, "inputs", ninputs, entry.inputs.size());
  check_count(context, "outputs", noutputs, entry.outputs.size());
  if (ninputs > 0) require(inputs, "inputs");
  if (noutputs > 0) require(outputs, "outputs");
  context->dims.clear();
  for (int32_t index = 0; index < ninputs; ++index) {
    const Port& port = entry.inputs[index];
    const std::string what = text("input '", port.name, "'");
    check_tensor(inputs[index], what);
    if (inputs[index].dtype != port.view.dtype || inputs[index].ndim != static_cast<int32_t>(port.view.dims.size())) {
      throw Error(PF_INVALID_ARGUMENT,
                  text(what, " is ", dtype_name(inputs[index].dtype), " of ", inputs[index].ndim, " dims; expected ",
                       dtype_name(port.view.dtype), " of ", port.view.dims.size()));
    }
    context->dims.insert(context->dims.end(), inputs[index].dims, inputs[index].dims + inputs[index].ndim);
  }
  for (int32_t index = 0; index < noutputs; ++index)
    check_tensor(outputs[index], text("output '", entry.outputs[index].name, "'"));
  const uint64_t binds = context->context->binds();
  context->bound = nullptr;
  context->bound = &context->context->bind(context->dims);
  if (context->context->binds() != binds) log_line(context, text("entry '", entry.name, "' is bound to new sizes"));
}

void* aligned(void* self, size_t bytes) {
  const auto* allocator = static_cast<const pf_allocator*>(self);
  void* memory = allocator->allocate(allocator->self, bytes, kAlignment);
  if (reinterpret_cast<uintptr_t>(memory) % kAlignment == 0) return memory;
  allocator->release(allocator->self, memory, bytes);
  return nullptr;
}

void release(void* self, void* memory, size_t bytes) {
  const auto* allocator = static_cast<const pf_allocator*>(self);
  allocator->release(allocator->self, memory, bytes);
}

pf_code context_create(pf_state* state, const char* entry, const pf_context_options* given, pf_context** context,
                       pf_status* status) {
  return guarded(status, [&] {
    require(state, "a state");
    require(entry, "an entry's name");
    require(context, "where to put the context");
    const pf_context_options options = options_of(given, "pf_context_options");
    auto made = std::make_unique<pf_context>();
    made->loaded = state->loaded;
    made->state = state->state;
    made->entry = made->loaded->find(entry);
    made->writes = made->loaded->entries[made->entry].writes != 0;
    made->allocator = options_of(options.allocator, "pf_allocator");
    made->logger = options_of(options.logger, "pf_logger");
    if (options.allocator && !(made->allocator.allocate && made->allocator.release))
      throw Error(PF_INVALID_ARGUMENT, "an allocator needs allocate and release");
    made->executor = options.executor;
    if (!made->executor) {
      made->gang = std::make_unique<Gang>(options.threads < 0 ? available_cpus() : std::max(options.threads, 1));
      made->executor = made->gang->executor();
    } else if (!made->executor->parallel_for || made->executor->nthreads < 1) {
      throw Error(PF_INVALID_ARGUMENT, "an executor needs parallel_for and at least one thread");
    }
    if (options.allocator) {
      made->memory.name = "host";
      made->memory.host_memory = 1;
      made->memory.self = &made->allocator;
      made->memory.allocate = aligned;
      made->memory.release = release;
    }
    made->context = std::make_unique<Context>(made->loaded->model->instance(made->state), made->entry);
    *context = made.release();
  });
}

void context_release(pf_context* context) {
  delete context;
}

pf_code context_bind(pf_context* context, const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs,
                     int32_t noutputs, pf_status* status) {
  return guarded(status, [&] {
    require(context, "a context");
    bind(context, inputs, ninputs, outputs, noutputs);
    const std::vector<Port>& ports = entry_of(context).outputs;
    const SizeTable& sizes = context->loaded->model->plan().sizes;
    for (size_t index = 0; index < ports.size(); ++index) {
      const View& view = ports[index].view;
      std::vector<int64_t> dims;
      for (Row row : view.dims) dims.push_back(sizes.is_late(row) ? PF_LATE : context->bound->binding.size(row));
      const bool late = context->loaded->is_late(ports[index]);
      fill(&outputs[index], view.dtype, dims, late ? 0 : static_cast<size_t>(context->bound->outputs[index].bytes));
    }
  });
}

size_t context_bytes(const pf_context* context) {
  if (!context || !context->bound) return 0;
  size_t bytes = context->bound->binding.scratch();
  for (int64_t each : context->bound->binding.space_bytes()) bytes += static_cast<size_t>(each);
  return bytes;
}

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto first = reinterpret_cast<uintptr_t>(a), second = reinterpret_cast<uintptr_t>(b);
  return a_bytes > 0 && b_bytes > 0 && first < second + b_bytes && second < first + a_bytes;
}

// Addresses of inputs and outputs: large enough, aligned, apart from each other.
void take_addresses(pf_context* context, const pf_tensor* inputs, const pf_tensor* outputs) {
  const Entry& entry = entry_of(context);
  const std::vector<uint8_t>& direct = context->loaded->model->entry(context->entry).direct;
  context->inputs.clear();
  context->outputs.clear();
  context->input_bytes.clear();
  context->own.resize(entry.outputs.size());
  for (size_t index = 0; index < entry.inputs.size(); ++index) {
    context->input_bytes.push_back(check_data(inputs[index], "input '" + entry.inputs[index].name + "'"));
    context->inputs.push_back(inputs[index].data);
  }
  for (size_t index = 0; index < entry.outputs.size(); ++index) {
    const std::string what = "output '" + entry.outputs[index].name + "'";
    const auto bytes = static_cast<size_t>(context->bound->outputs[index].bytes);
    void* data = outputs[index].data;
    if (!data) {
      Memory& own = context->own[index];
      if (direct[index] && own.bytes() < bytes) own = Memory(nullptr, bytes);
      context->outputs.push_back(direct[index] ? own.data() : nullptr);
      continue;
    }
    if (context->loaded->is_late(entry.outputs[index])) {
      throw Error(PF_INVALID_ARGUMENT,
                  text(what, " has a size that only the run tells: give data NULL and take it by context_output"));
    }
    pf_tensor expected = outputs[index];
    fill(&expected, entry.outputs[index].view.dtype, context->bound->outputs[index].dims, outputs[index].bytes);
    check_data(expected, what);
    for (size_t other = 0; other < context->inputs.size(); ++other) {
      if (overlap(data, bytes, context->inputs[other], context->input_bytes[other]))
        throw Error(PF_INVALID_ARGUMENT, text(what, " overlaps input '", entry.inputs[other].name, "'"));
    }
    for (size_t other = 0; other < index; ++other) {
      if (overlap(data, bytes, outputs[other].data, static_cast<size_t>(context->bound->outputs[other].bytes)))
        throw Error(PF_INVALID_ARGUMENT, text(what, " overlaps output '", entry.outputs[other].name, "'"));
    }
    context->outputs.push_back(data);
  }
}

int64_t deadline_of(int64_t timeout) {
  if (timeout <= 0) return 0;
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  const int64_t now = int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  return timeout > INT64_MAX - now ? INT64_MAX : now + timeout;
}

pf_code context_run(pf_context* context, const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs, int32_t noutputs,
                    const pf_run_options* given, pf_status* status) {
  return guarded(status, [&] {
    require(context, "a context");
    const pf_run_options options = options_of(given, "pf_run_options");
    bind(context, inputs, ninputs, outputs, noutputs);
    take_addresses(context, inputs, outputs);
    Request request;
    request.inputs = context->inputs.data();
    request.outputs = context->outputs.data();
    request.cancel = options.cancel;
    request.deadline = deadline_of(options.timeout);
    request.executor = context->executor;
    request.allocator = context->memory.allocate ? &context->memory : nullptr;
    StateLock lock(*context->state, context->writes);
    lock.wait();
    context->has_run = false;
    context->context->run(*context->bound, request);
    context->has_run = true;
    const std::vector<Port>& ports = entry_of(context).outputs;
    for (size_t index = 0; index < ports.size(); ++index) {
      const BoundView& view = context->bound->outputs[index];
      if (outputs[index].data && !context->loaded->model->entry(context->entry).direct[index])
        context->context->copy_output(*context->bound, index, outputs[index].data);
      const size_t bytes = outputs[index].data ? outputs[index].bytes : static_cast<size_t>(view.bytes);
      fill(&outputs[index], ports[index].view.dtype, view.dims, bytes);
    }
  });
}

pf_code context_output(const pf_context* context, int32_t index, void* data, size_t bytes, pf_status* status) {
  return guarded(status, [&] {
    require(context, "a context");
    require(data, "where to copy the output");
    const std::vector<Port>& ports = entry_of(context).outputs;
    if (index < 0 || static_cast<size_t>(index) >= ports.size())
      throw Error(PF_OUT_OF_RANGE, text("there is no output ", index, "; there are ", ports.size()));
    const std::string what = "output '" + ports[static_cast<size_t>(index)].name + "'";
    if (!context->bound || !context->has_run) throw Error(PF_FAILED_PRECONDITION, what + ": there was no run");
    const BoundView& view = context->bound->outputs[static_cast<size_t>(index)];
    if (bytes < static_cast<size_t>(view.bytes))
      throw Error(PF_INVALID_ARGUMENT, text(what, " takes ", view.bytes, " bytes; got ", bytes));
    if (const Memory& own = context->own[static_cast<size_t>(index)];
        own.data() && context->outputs[static_cast<size_t>(index)] == own.data()) {
      std::memcpy(data, own.data(), static_cast<size_t>(view.bytes));
    } else if (context->outputs[static_cast<size_t>(index)]) {
      std::memmove(data, context->outputs[static_cast<size_t>(index)], static_cast<size_t>(view.bytes));
    } else {
      context->context->copy_output(*context->bound, static_cast<size_t>(index), data);
    }
  });
}

}  // namespace

void add_context_functions(pf_api* api) {
  api->context_create = context_create;
  api->context_release = context_release;
  api->context_bind = context_bind;
  api->context_bytes = context_bytes;
  api->context_run = context_run;
  api->context_output = context_output;
}

}  // namespace pf
