// One model, four threads, a context each, and the host's own pool for what is inside a run.
//   threads model.plan     prints the first output of the entry "predict" once per thread
#include <cstdio>
#include <thread>
#include <vector>

#include "pyflow/pyflow.hpp"

namespace {

// The host's pool: two threads per call, made anew each time to keep the example short.
void parallel_for(void*, int64_t ntasks, void (*body)(void*, int64_t, int32_t), void* arg) {
  auto work = [=](int32_t thread) {
    for (int64_t task = thread; task < ntasks; task += 2) body(arg, task, thread);
  };
  std::thread other(work, 1);
  work(0);
  other.join();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto model = pyflow::Model::load(argv[1]);
  if (!model) return std::fprintf(stderr, "%s\n", model.status().message()), 1;
  auto state = model->new_state();
  if (!state) return std::fprintf(stderr, "%s\n", state.status().message()), 1;

  pf_executor executor{};
  executor.struct_size = sizeof(executor);
  executor.nthreads = 2;
  executor.parallel_for = parallel_for;
  pf_context_options options{};
  options.struct_size = sizeof(options);
  options.executor = &executor;

  std::vector<float> first(4);
  std::vector<std::thread> threads;
  for (size_t index = 0; index < first.size(); ++index) {
    threads.emplace_back([&, index] {
      auto context = state->new_context("predict", &options);
      if (!context) return;
      const float input[8] = {1, 1, 1, 1, 1, 1, 1, 1};
      float output[6];
      for (int turn = 0; turn < 100; ++turn) {
        if (!context->run({pyflow::tensor(input, {2, 4})}, {pyflow::tensor(output, {2, 3})})) return;
      }
      first[index] = output[0];
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (float value : first) std::printf("%.9g\n", static_cast<double>(value));
  return 0;
}
