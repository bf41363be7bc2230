// A host's thread pool as small as can be, for SessionConfig(executor=...): each loop makes and joins its threads.
#include <atomic>
#include <thread>
#include <vector>

#include "pyflow/backend.h"

namespace {

struct Pool {
  pf_executor executor;
  std::atomic<int64_t> loops{0};
  std::atomic<int64_t> helped{0};  // tasks that another thread than the caller ran
};

void parallel_for(void* self, int64_t ntasks, void (*body)(void* arg, int64_t task, int32_t thread), void* arg) {
  Pool& pool = *static_cast<Pool*>(self);
  pool.loops.fetch_add(1);
  std::vector<std::thread> threads;
  for (int32_t thread = 1; thread < pool.executor.nthreads; ++thread) {
    threads.emplace_back([=, &pool] {
      for (int64_t task = thread; task < ntasks; task += pool.executor.nthreads) {
        body(arg, task, thread);
        pool.helped.fetch_add(1);
      }
    });
  }
  for (int64_t task = 0; task < ntasks; task += pool.executor.nthreads) body(arg, task, 0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) Pool* make_pool(int32_t nthreads, uint32_t struct_size) {
  Pool* pool = new Pool();
  pool->executor = {struct_size != 0 ? struct_size : uint32_t{sizeof(pf_executor)}, nthreads, pool, parallel_for,
                    nullptr};
  return pool;
}

__attribute__((visibility("default"))) const pf_executor* executor_of(Pool* pool) {
  return &pool->executor;
}
__attribute__((visibility("default"))) int64_t loops_of(Pool* pool) {
  return pool->loops.load();
}
__attribute__((visibility("default"))) int64_t helped_of(Pool* pool) {
  return pool->helped.load();
}
__attribute__((visibility("default"))) void free_pool(Pool* pool) {
  delete pool;
}
}
