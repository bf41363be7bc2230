// The host's memory, threads, logger and clock: they are used, and what they refuse is an error that changes nothing.
//   hooks layer.plan newer.plan folder
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "pyflow/pyflow.hpp"

namespace {

int failures = 0;
bool disk_is_full = false;

void check(const char* what, bool right) {
  if (!right) std::printf("%s\n", what);
  failures += !right;
}

void expect(const char* what, const pyflow::Status& status, pf_code code, const char* words) {
  const bool right = status.code() == code && std::strstr(status.message(), words);
  if (!right) std::printf("%s: code %d, message '%s'\n", what, status.code(), status.message());
  failures += !right;
}

struct Memory {
  long allocated = 0, held = 0;
  size_t limit = SIZE_MAX;

  static void* allocate(void* self, size_t bytes, size_t alignment) {
    auto* memory = static_cast<Memory*>(self);
    if (bytes > memory->limit) return nullptr;
    ++memory->allocated;
    ++memory->held;
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  static void release(void* self, void* memory, size_t) {
    --static_cast<Memory*>(self)->held;
    std::free(memory);
  }
};

// Runs the tasks one after the other, last first.
struct Pool {
  long calls = 0;

  static void parallel_for(void* self, int64_t ntasks, void (*body)(void*, int64_t, int32_t), void* arg) {
    ++static_cast<Pool*>(self)->calls;
    for (int64_t task = ntasks - 1; task >= 0; --task) body(arg, task, static_cast<int32_t>(task % 2));
  }
};

void log_line(void* self, const char* line) {
  static_cast<std::vector<std::string>*>(self)->push_back(line);
}

template <typename T>
T made() {
  T result{};
  result.struct_size = sizeof(T);
  return result;
}

float weight(const pyflow::State& state) {
  float values[12] = {};
  pf_tensor tensor = pyflow::tensor(values, {4, 3});
  return state.get("w", &tensor) ? values[0] : 0.0f;
}

}  // namespace

extern "C" ssize_t write(int file, const void* data, size_t bytes) {
  if (!disk_is_full) return syscall(SYS_write, file, data, bytes);
  errno = ENOSPC;
  return -1;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  expect("newer", pyflow::Model::load(argv[2]).status(), PF_FAILED_PRECONDITION, "update pyflow");
  auto model = pyflow::Model::load(argv[1]);
  auto state = model->new_state();
  if (!model || !state) return 1;

  Memory memory;
  Pool pool;
  std::vector<std::string> lines;
  auto allocator = made<pf_allocator>();
  allocator.self = &memory;
  allocator.allocate = Memory::allocate;
  allocator.release = Memory::release;
  auto executor = made<pf_executor>();
  executor.nthreads = 2;
  executor.self = &pool;
  executor.parallel_for = Pool::parallel_for;
  auto logger = made<pf_logger>();
  logger.self = &lines;
  logger.log = log_line;
  auto options = made<pf_context_options>();
  options.allocator = &allocator;
  options.executor = &executor;
  options.logger = &logger;

  constexpr int64_t kRows = 20000;
  std::vector<float> x(kRows * 4, 1.0f), y(kRows * 3), plain(kRows * 3);
  {
    auto own = state->new_context("predict");
    expect("plain", own->run({pyflow::tensor(x.data(), {kRows, 4})}, {pyflow::tensor(plain.data(), {kRows, 3})}), PF_OK,
           "");
    auto context = state->new_context("predict", &options);
    const auto run = [&](const pf_run_options* with) {
      return context->run({pyflow::tensor(x.data(), {kRows, 4})}, {pyflow::tensor(y.data(), {kRows, 3})}, with);
    };
    expect("hooked", run(nullptr), PF_OK, "");
    check("other bits with the host's threads", y == plain);
    check("no memory was asked for", memory.allocated > 0);
    check("no step was given to the pool", pool.calls > 0);
    check("nothing was logged", lines.size() == 1 && lines[0].find("predict") != std::string::npos);
    const long before = memory.allocated;
    expect("again", run(nullptr), PF_OK, "");
    check("a second run took memory", memory.allocated == before);
    auto late = made<pf_run_options>();
    late.timeout = 1;
    expect("late", run(&late), PF_DEADLINE_EXCEEDED, "");
    late.timeout = int64_t{3600} * 1'000'000'000;
    expect("in time", run(&late), PF_OK, "");
  }
  check("memory was not given back", memory.held == 0);

  memory.limit = 16;
  {
    auto context = state->new_context("predict", &options);
    const auto status = context->run({pyflow::tensor(x.data(), {kRows, 4})}, {pyflow::tensor(y.data(), {kRows, 3})});
    expect("no memory", status, PF_RESOURCE_EXHAUSTED, "");
  }
  auto late = made<pf_run_options>();
  late.timeout = 1;
  const float first = weight(*state);
  auto twice = state->new_context("double");
  pf_status status;
  pf_get_api(PF_API_VERSION)->context_run(twice->get(), nullptr, 0, nullptr, 0, &late, &status);
  check("a run that was late wrote", weight(*state) == (status.code == PF_OK ? 2 * first : first));

  const std::string path = std::string(argv[3]) + "/checkpoint.safetensors";
  expect("saved", state->save(path.c_str()), PF_OK, "");
  disk_is_full = true;
  const auto full = state->save(path.c_str());
  disk_is_full = false;
  expect("full", full, PF_RESOURCE_EXHAUSTED, "as it was");
  expect("the old file is whole", state->load(path.c_str()), PF_OK, "");
  std::puts(failures ? "not as expected" : "all as expected");
  return failures != 0;
}
