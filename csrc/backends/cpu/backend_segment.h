// A segment as the cpu backend prepares and binds it.
#ifndef PYFLOW_BACKENDS_CPU_BACKEND_SEGMENT_H
#define PYFLOW_BACKENDS_CPU_BACKEND_SEGMENT_H

#include <atomic>
#include <memory>
#include <vector>

#include "pyflow/backend.h"

namespace pf {

struct PreparedStep {
  pf_step step;  // what it points to belongs to the plan
  const pf_kernel* kernel;
  size_t state_offset;
};

struct PreparedSegment {
  std::vector<PreparedStep> steps;
  std::unique_ptr<std::byte[]> memory;
  std::byte* states = nullptr;  // 64-byte aligned
};

struct BoundStep {
  const pf_kernel* kernel;
  pf_call call;
  size_t first_view;  // inputs, then outputs
  pf_partition partition;
  bool parallel;
};

// Where a view's data is, once buffers are known.
struct Source {
  int32_t buffer;
  int64_t offset;
};

// How many tasks of its part of a phase are taken, on a cache line of its own.
struct alignas(64) Taken {
  std::atomic<int64_t> tasks{0};
};
constexpr int32_t kRounds = 3;

struct BoundSegment {
  std::vector<BoundStep> steps;
  std::vector<pf_view> views;
  std::vector<Source> sources;
  std::vector<int64_t> sizes;  // dims, strides and ints that steps point to
  int32_t lanes = 1;           // how many tasks may run at once: each has its own thread scratch
  size_t lane_scratch = 0;
  size_t shared_scratch = 0;
  bool any_parallel = false;
  double cost = 0;
  std::unique_ptr<Taken[]> taken;  // kRounds per lane: phase r that lanes share has round r % kRounds
};

}  // namespace pf

#endif
