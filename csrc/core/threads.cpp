#include "core/threads.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <new>
#include <sstream>
#include <string>
#include <thread>

namespace pf {
namespace {

constexpr int64_t kSpinNanoseconds = 50'000;

std::atomic<int32_t> widest{0};

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t value) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max(), nullptr,
          nullptr, 0);
}

// CPUs that quota/period microseconds stand for; no limit for a quota that is not positive.
double cpus_of(double quota, double period) {
  return quota > 0 && period > 0 ? quota / period : std::numeric_limits<double>::infinity();
}

double quota_of_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max") return cpus_of(0, 0);
  return cpus_of(std::strtod(quota.c_str(), nullptr), period);
}

double quota_of_v1(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return cpus_of(quota, period);
}

// The smallest quota from the process's own group up to the root.
double cgroup_cpus() {
  double least = std::numeric_limits<double>::infinity();
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    std::istringstream fields(line);
    std::string number, controllers, path;
    if (!std::getline(fields, number, ':') || !std::getline(fields, controllers, ':') || !std::getline(fields, path))
      continue;
    const bool v2 = number == "0" && controllers.empty();
    if (!v2 && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    const std::string mount = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    for (;;) {
      const std::string folder = mount + (path == "/" ? "" : path);
      least = std::min(least, v2 ? quota_of_v2(folder) : quota_of_v1(folder));
      const size_t slash = path.rfind('/');
      if (slash == std::string::npos || path == "/") break;
      path = slash == 0 ? "/" : path.substr(0, slash);
    }
  }
  return least;
}

int32_t affinity_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

int32_t available_cpus() {
  const double quota = cgroup_cpus();
  const int32_t affinity = affinity_cpus();
  if (quota >= affinity) return std::max(1, affinity);
  return std::max(1, static_cast<int32_t>(quota + 0.999));
}

int32_t widest_gang() {
  static const int32_t least = available_cpus();
  return std::max(least, widest.load());
}

void Gang::Signal::wait_past(uint32_t old) {
  int64_t give_up = 0;
  for (int32_t turn = 0; value.load(std::memory_order_acquire) == old; ++turn) {
    __builtin_ia32_pause();
    if (turn % 64 != 63) continue;
    const int64_t time = now();
    if (give_up == 0) give_up = time + kSpinNanoseconds;
    if (time < give_up) continue;
    sleepers.fetch_add(1);
    while (value.load() == old) futex_wait(value, old);
    sleepers.fetch_sub(1);
  }
}

void Gang::Signal::advance() {
  value.fetch_add(1);
  if (sleepers.load() != 0) futex_wake_all(value);
}

// All gangs there are, for the child of a fork: the parent's workers do not exist there, and a lock that another thread
// of the parent held is nobody's.
struct Gang::Registry {
  std::mutex lock;
  std::vector<Gang*> gangs;
};

Gang::Registry& Gang::registry() {
  static Registry* const all = [] {
    pthread_atfork([] { registry().lock.lock(); }, [] { registry().lock.unlock(); },
                   [] {
                     for (Gang* gang : registry().gangs) gang->forget_workers();
                     registry().lock.unlock();
                   });
    return new Registry();
  }();
  return *all;
}

void Gang::forget_workers() {
  new (&one_run_) std::mutex();
  made_ = 0;
}

Gang::Gang(int32_t threads)
    : size_(threads > 0 ? threads : available_cpus()), workers_(static_cast<size_t>(size_ - 1)) {
  executor_.struct_size = sizeof(pf_executor);
  executor_.nthreads = size_;
  executor_.self = this;
  executor_.parallel_for = [](void* self, int64_t ntasks, void (*body)(void*, int64_t, int32_t), void* argument) {
    static_cast<Gang*>(self)->parallel_for(ntasks, body, argument);
  };
  executor_.gang = this;
  int32_t known = widest.load();
  while (known < size_ && !widest.compare_exchange_weak(known, size_)) {
  }
  const std::lock_guard<std::mutex> lock(registry().lock);
  registry().gangs.push_back(this);
}

Gang::~Gang() {
  {
    const std::lock_guard<std::mutex> lock(registry().lock);
    registry().gangs.erase(std::find(registry().gangs.begin(), registry().gangs.end(), this));
  }
  if (made_ == 0) return;
  stop_ = true;
  start_.advance();
  for (int32_t i = 0; i < made_; ++i) pthread_join(workers_[static_cast<size_t>(i)].handle, nullptr);
}

void Gang::start_workers() {
  if (made_ != 0) return;
  for (Signal* signal : {&start_, &finish_, &round_}) {
    signal->value.store(0);
    signal->sleepers.store(0);
  }
  callers_cpu_ = -1;
  running_.store(0);
  arrived_.store(0);
  votes_.store(false);
  for (Worker& worker : workers_) {
    worker = {this, made_ + 1, {}};
    if (pthread_create(&worker.handle, nullptr, worker_main, &worker) != 0) break;
    ++made_;
  }
}

void* Gang::worker_main(void* argument) {
  const Worker* worker = static_cast<const Worker*>(argument);
  worker->gang->work(worker->thread);
  return nullptr;
}

void Gang::work(int32_t thread) {
  for (uint32_t seen = 0;; ++seen) {
    start_.wait_past(seen);
    if (stop_) return;
    body_(argument_, thread);
    if (running_.fetch_sub(1) == 1) finish_.advance();
  }
}

void Gang::keep_apart() {
  const int32_t here = sched_getcpu();
  if (here == callers_cpu_ || here < 0 || here >= CPU_SETSIZE) return;
  callers_cpu_ = here;
  cpu_set_t others;
  if (sched_getaffinity(0, sizeof(others), &others) != 0) return;
  CPU_CLR(here, &others);
  if (CPU_COUNT(&others) < made_) return;
  for (int32_t i = 0; i < made_; ++i) {
    pthread_setaffinity_np(workers_[static_cast<size_t>(i)].handle, sizeof(others), &others);
  }
}

void Gang::run(Body body, void* argument) {
  if (size_ == 1) {
    body(argument, 0);
    return;
  }
  const std::lock_guard<std::mutex> lock(one_run_);
  start_workers();
  body_ = body;
  argument_ = argument;
  running_.store(made_);
  const uint32_t finished = finish_.value.load();
  keep_apart();
  start_.advance();
  body(argument, 0);
  if (made_ != 0) finish_.wait_past(finished);
}

bool Gang::barrier(bool vote) {
  if (made_ == 0) return vote;
  const uint32_t round = round_.value.load();
  if (vote) votes_.store(true);
  if (arrived_.fetch_add(1) == made_) {
    arrived_.store(0);
    outcome_.store(votes_.exchange(false));
    round_.advance();
  } else {
    round_.wait_past(round);
  }
  return outcome_.load();
}

void Gang::parallel_for(int64_t ntasks, void (*body)(void*, int64_t, int32_t), void* argument) {
  struct Loop {
    std::atomic<int64_t> next{0};
    int64_t ntasks;
    void (*body)(void*, int64_t, int32_t);
    void* argument;
  } loop;
  loop.ntasks = ntasks;
  loop.body = body;
  loop.argument = argument;
  const Body share = [](void* shared, int32_t thread) {
    Loop& all = *static_cast<Loop*>(shared);
    for (int64_t task = all.next.fetch_add(1); task < all.ntasks; task = all.next.fetch_add(1))
      all.body(all.argument, task, thread);
  };
  if (ntasks <= 1) {
    share(&loop, 0);
  } else {
    run(share, &loop);
  }
}

}  // namespace pf
