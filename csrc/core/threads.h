// The runtime's own threads.
#ifndef PYFLOW_CORE_THREADS_H
#define PYFLOW_CORE_THREADS_H

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "pyflow/backend.h"

namespace pf {

// CPUs that this process may use: its affinity mask, cut to the cgroup's quota (v1 and v2). At least 1.
int32_t available_cpus();

// The largest gang made so far, at least available_cpus().
int32_t widest_gang();

// A fixed number of threads, the caller of `run` among them. Workers are made by the first run (none ever for size 1)
// and made anew in a forked child. A waiting thread spins at most 50 microseconds, then sleeps. Workers stay off the
// caller's CPU where there are enough others: schedulers, those of virtual machines above all, tend to wake a thread
// beside the one that wakes it and to leave both there.
class Gang {
 public:
  typedef void (*Body)(void* argument, int32_t thread);

  // `threads` <= 0 means available_cpus().
  explicit Gang(int32_t threads);
  ~Gang();
  Gang(const Gang&) = delete;
  Gang& operator=(const Gang&) = delete;

  int32_t size() const { return size_; }

  // Calls body(argument, thread) once per thread in [0, size()) and returns when all are done. One run at a time:
  // a second caller waits. Must not be called from inside a body.
  void run(Body body, void* argument);

  // Called by every thread of a run: waits for all of them. Returns true to all if any came with `vote`.
  bool barrier(bool vote);

  // body(argument, task, thread) for every task in [0, ntasks).
  void parallel_for(int64_t ntasks, void (*body)(void* argument, int64_t task, int32_t thread), void* argument);

  // For backends; valid as long as the gang.
  const pf_executor* executor() const { return &executor_; }

 private:
  struct Worker {
    Gang* gang;
    int32_t thread;
    pthread_t handle;
  };
  struct Registry;

  static Registry& registry();
  void forget_workers();
  void start_workers();
  void work(int32_t thread);
  void keep_apart();
  static void* worker_main(void* worker);

  // A counter that threads wait on.
  struct alignas(64) Signal {
    std::atomic<uint32_t> value{0};
    std::atomic<uint32_t> sleepers{0};
    void wait_past(uint32_t old);
    void advance();
  };

  int32_t size_;
  pf_executor executor_;
  std::mutex one_run_;
  std::vector<Worker> workers_;  // room for size - 1, so that they stay where they are
  int32_t made_ = 0;             // how many of them run
  int32_t callers_cpu_ = -1;     // that workers stay off
  bool stop_ = false;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  Signal start_;
  Signal finish_;
  Signal round_;
  alignas(64) std::atomic<int32_t> running_{0};
  alignas(64) std::atomic<int32_t> arrived_{0};
  std::atomic<bool> votes_{false};
  std::atomic<bool> outcome_{false};
};

}  // namespace pf

#endif
