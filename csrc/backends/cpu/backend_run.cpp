// Two drivers over the same tasks: every thread of a gang walks the segment and meets the others at barriers, or one
// thread walks it and hands each phase to a parallel_for. What a task computes depends on neither.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <mutex>

#include "backends/cpu/backend.h"
#include "backends/cpu/backend_segment.h"
#include "core/threads.h"

namespace pf {
namespace {

// One run of a bound segment.
class Run {
 public:
  Run(BoundSegment& bound, const pf_run& run, pf_error* error) : bound_(bound), run_(run), error_(error) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(run.scratch);
    shared_ = reinterpret_cast<std::byte*>((address + 63) / 64 * 64);
    for (BoundStep& step : bound.steps) {
      pf_view* views = bound.views.data() + step.first_view;
      const int32_t count = step.call.step->ninputs + step.call.step->noutputs;
      for (int32_t k = 0; k < count; ++k) {
        const Source& source = bound.sources[step.first_view + static_cast<size_t>(k)];
        views[k].data = static_cast<std::byte*>(run.buffers[source.buffer]) + source.offset;
      }
    }
  }

  pf_code with_gang(Gang& gang) {
    sharers_ = std::min(bound_.lanes, gang.size());
    for (int32_t lane = 0; lane < sharers_; ++lane) taken(0, lane).store(0);
    struct Pair {
      Run* run;
      Gang* gang;
    } pair{this, &gang};
    gang.run(
        [](void* argument, int32_t thread) {
          const Pair& both = *static_cast<Pair*>(argument);
          both.run->walk(*both.gang, thread);
        },
        &pair);
    return code_;
  }

  // `pool` may be NULL: all on the calling thread.
  pf_code step_by_step(const pf_executor* pool) {
    for (size_t i = 0; i < bound_.steps.size() && code_ == PF_OK; ++i) {
      if (!may_go_on(i) || !observe(i, run_.observer != nullptr ? run_.observer->before : nullptr)) break;
      const BoundStep& step = bound_.steps[i];
      for (int32_t phase = 0; phase < step.partition.phases && code_ == PF_OK; ++phase) {
        if (pool != nullptr && step.parallel && step.partition.tasks[phase] > 1) {
          spread(*pool, i, phase);
        } else {
          whole_phase(i, phase);
        }
      }
      if (code_ == PF_OK) observe(i, run_.observer != nullptr ? run_.observer->after : nullptr);
    }
    return code_;
  }

 private:
  typedef pf_code (*Observe)(void* self, int32_t step, const pf_call* call, pf_error* error);

  // What one thread of a gang does. All threads see the same barriers, because which phases are shared is known from
  // the binding and the order to stop travels with the barriers.
  void walk(Gang& gang, int32_t thread) {
    const bool leads = thread == 0;
    bool stopped = false;     // this thread does no more work
    bool unfinished = false;  // others may still be at an earlier phase
    bool was_parallel = false;
    int32_t round = 0;  // of the phases that are shared
    for (size_t i = 0; i < bound_.steps.size(); ++i) {
      const BoundStep& step = bound_.steps[i];
      if (leads && !stopped) stopped = !may_go_on(i);
      for (int32_t phase = 0; phase < step.partition.phases; ++phase) {
        const bool parallel = step.parallel && step.partition.tasks[phase] > 1;
        if (unfinished && (parallel || was_parallel)) {
          if (gang.barrier(stopped || failed())) return;
        }
        unfinished = true;
        was_parallel = parallel;
        if (parallel && thread < sharers_) taken(++round, thread).store(0, std::memory_order_relaxed);
        if (stopped || failed()) continue;
        if (parallel) {
          if (thread < sharers_) claim(i, phase, thread, round - 1);
        } else if (leads) {
          whole_phase(i, phase);
        }
      }
    }
  }

  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  // False after recording why the run stops before this step.
  bool may_go_on(size_t step) {
    if (static_cast<int64_t>(step) > run_.last_cancellable) return true;
    if (run_.cancel != nullptr && __atomic_load_n(run_.cancel, __ATOMIC_RELAXED) != 0) {
      record(step, PF_CANCELLED, "the run was cancelled");
      return false;
    }
    if (run_.deadline != 0) {
      timespec time;
      clock_gettime(CLOCK_MONOTONIC, &time);
      if (int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec >= run_.deadline) {
        record(step, PF_DEADLINE_EXCEEDED, "the run's deadline passed");
        return false;
      }
    }
    return true;
  }

  bool observe(size_t step, Observe call) {
    if (call == nullptr) return true;
    pf_error error{-1, ""};
    const pf_code code = call(run_.observer->self, static_cast<int32_t>(step), &bound_.steps[step].call, &error);
    if (code != PF_OK) record(step, code, error.message);
    return code == PF_OK;
  }

  void run_tasks(size_t step, int32_t phase, int64_t begin, int64_t end, int32_t lane) {
    const BoundStep& bound = bound_.steps[step];
    std::byte* lanes = shared_ + bound_.shared_scratch;
    const pf_task task{phase, begin, end, lanes + static_cast<size_t>(lane) * bound_.lane_scratch, shared_};
    pf_error error{-1, ""};
    const pf_code code = bound.kernel->run(&bound.call, &task, &error);
    if (code != PF_OK) record(step, code, error.message);
  }

  void whole_phase(size_t step, int32_t phase) {
    const int64_t tasks = bound_.steps[step].partition.tasks[phase];
    if (tasks > 0) run_tasks(step, phase, 0, tasks, 0);
  }

  // What is taken of a lane's part. A lane sets that of the next round to 0 before it meets the others, of whom none is
  // then behind this round.
  std::atomic<int64_t>& taken(int32_t round, int32_t lane) {
    return bound_.taken[static_cast<size_t>(round % kRounds * bound_.lanes + lane)].tasks;
  }

  // Takes tasks of the phase until none is left: of the lane's own part, which is the same part of every phase, so that
  // it finds in its core's cache what it wrote there, then of others. Each time half of what a part has left.
  void claim(size_t step, int32_t phase, int32_t lane, int32_t round) {
    const int64_t tasks = bound_.steps[step].partition.tasks[phase];
    for (int32_t i = 0; i < sharers_; ++i) {
      const int32_t owner = (lane + i) % sharers_;
      const int64_t begin = tasks * owner / sharers_, end = tasks * (owner + 1) / sharers_;
      std::atomic<int64_t>& done = taken(round, owner);
      for (int64_t from = done.load(); from < end - begin && !failed();) {
        const int64_t to = from + (end - begin - from + 1) / 2;
        if (!done.compare_exchange_weak(from, to)) continue;
        run_tasks(step, phase, begin + from, begin + to, lane);
        from = done.load();
      }
    }
  }

  void spread(const pf_executor& pool, size_t step, int32_t phase) {
    struct Share {
      Run* run;
      size_t step;
      int32_t phase;
    } share{this, step, phase};
    const int64_t tasks = bound_.steps[step].partition.tasks[phase];
    sharers_ = static_cast<int32_t>(std::min<int64_t>({bound_.lanes, pool.nthreads, tasks}));
    for (int32_t lane = 0; lane < sharers_; ++lane) taken(0, lane).store(0);
    pool.parallel_for(
        pool.self, sharers_,
        [](void* argument, int64_t lane, int32_t) {
          const Share& mine = *static_cast<Share*>(argument);
          mine.run->claim(mine.step, mine.phase, static_cast<int32_t>(lane), 0);
        },
        &share);
  }

  // The first error wins.
  void record(size_t step, pf_code code, const char* message) {
    const std::lock_guard<std::mutex> lock(recording_);
    if (failed()) return;
    code_ = code;
    error_->step = static_cast<int32_t>(step);
    snprintf(error_->message, sizeof(error_->message), "%s", message);
    failed_.store(true);
  }

  BoundSegment& bound_;
  const pf_run& run_;
  pf_error* error_;
  std::byte* shared_;
  int32_t sharers_ = 1;  // lanes that share phases
  std::mutex recording_;
  pf_code code_ = PF_OK;
  std::atomic<bool> failed_{false};
};

}  // namespace

pf_code run_segment(BoundSegment* bound, const pf_run* run, pf_error* error) {
  Run segment(*bound, *run, error);
  const pf_executor* executor = run->executor;
  const bool threads = bound->any_parallel && executor != nullptr && executor->nthreads > 1;
  if (!threads) return segment.step_by_step(nullptr);
  if (executor->gang == nullptr || run->observer != nullptr) return segment.step_by_step(executor);
  return segment.with_gang(*static_cast<Gang*>(executor->gang));
}

}  // namespace pf
