/* How a matmul call is read and cut, from its sizes and strides alone. */
#ifndef PYFLOW_BACKENDS_CPU_MATMUL_PLAN_H
#define PYFLOW_BACKENDS_CPU_MATMUL_PLAN_H

#include <stdint.h>

#include "backends/cpu/destination.h"
#include "backends/cpu/gemm.h"

namespace pf {
namespace plain {

/* A block's rows of a stay in a second-level cache for one stretch of k (gemm.h's kDepth) while panels of b pass by: of
 * those a block has kBlockPanels to kMostPanels, as many as leave kEnoughBlocks, so that b, which may come from memory,
 * is read once and comes from a third-level cache for every further block of rows. */
constexpr int64_t kBlockRows = 72;
constexpr int64_t kBlockPanels = 4;
constexpr int64_t kMostPanels = 32;
constexpr int64_t kEnoughBlocks = 32;

/* What a plan knows of an ISA: rows of its register tiles, elements of a vector of float32. */
struct Tiles {
  int64_t rows, lanes;
};

/* Where a block finds its panels of b. */
enum class Panels {
  kGiven,   // the operand is packed
  kShared,  // phase 0 packs each distinct b into the call's shared scratch
  kLocal,   // few rows: each task packs what it reads into its own scratch
  kDirect,  // very few rows, adjacent columns: b is read in place, only the last partial panel is packed
};

struct MatmulPlan {
  int64_t m, n, k;
  int64_t a_row, a_k;     // strides
  int64_t b_k, b_column;  // strides of an unpacked b
  int32_t outer;          // batch dims left after folding into the rows
  int64_t batches;
  int64_t dims[PF_MAX_NDIM];
  int64_t a_outer[PF_MAX_NDIM];
  int64_t b_outer[PF_MAX_NDIM];
  Panels panels_from;
  bool pack_left;
  int64_t panels;  // of one b
  int64_t copies;  // distinct b to pack
  int64_t row_blocks, panel_groups;
  int64_t block_rows;  // at most
  size_t element;
  Destination destination;
  // Where the row axis changed places with an outer one: c and what the epilogue reads, their dims and strides.
  pf_view turned[1 + kMaxProgramOperands];
  int64_t turned_sizes[1 + kMaxProgramOperands][2][PF_MAX_NDIM];

  /* Are whole panels of c written where they belong, finished in registers? */
  PF_ALWAYS_INLINE bool in_place() const { return destination.direct || destination.straight; }
  PF_ALWAYS_INLINE int64_t group_panels() const { return PF_ISA::gemm::most_panels(panels, panel_groups); }
  PF_ALWAYS_INLINE int64_t tasks() const { return m == 0 || n == 0 ? 0 : batches * row_blocks * panel_groups; }
};

void matmul_plan(const pf_call* call, bool packed, const Tiles& tiles, MatmulPlan* plan);

/* The `partition` of products. */
pf_code matmul_cut(const pf_call* call, bool packed, const Tiles& tiles, pf_partition* partition);

/* The `partition` and the work of what packs right operands, a panel per task; and its `run` for float32 where packing
 * is rare, which needs no ISA. */
template <typename T>
using PackPanel = void (*)(int64_t depth, int64_t columns, const T* b, int64_t k_stride, int64_t column_stride, T* to);

pf_code matmul_pack_cut(const pf_call* call, pf_partition* partition, pf_error* error);
template <typename T>
void matmul_pack_panels(const pf_call* call, const pf_task* task, PackPanel<T> pack);
pf_code matmul_pack_floats(const pf_call* call, const pf_task* task, pf_error* error);

}  // namespace plain

namespace PF_ISA {

using namespace plain;

constexpr Tiles kTiles = {gemm::kRows, kLanes<float>};

/* Where one batch's operands begin, in elements, and which packed copy of b is its own. */
struct MatmulBatch {
  int64_t index[PF_MAX_NDIM];
  int64_t a, b, copy;
};

static inline void matmul_batch(const MatmulPlan& plan, int64_t batch, MatmulBatch* at) {
  at->a = at->b = at->copy = 0;
  int64_t copies = 1;
  for (int32_t axis = plan.outer - 1; axis >= 0; --axis) {
    const int64_t i = batch % plan.dims[axis];
    batch /= plan.dims[axis];
    at->index[axis] = i;
    at->a += i * plan.a_outer[axis];
    at->b += i * plan.b_outer[axis];
    if (plan.b_outer[axis] != 0) {
      at->copy += i * copies;
      copies *= plan.dims[axis];
    }
  }
}

/* Element offset of packed copy `copy` within b. */
static inline int64_t matmul_copy_offset(const MatmulPlan& plan, int64_t copy) {
  int64_t offset = 0;
  for (int32_t axis = plan.outer - 1; axis >= 0; --axis) {
    if (plan.b_outer[axis] == 0) continue;
    offset += copy % plan.dims[axis] * plan.b_outer[axis];
    copy /= plan.dims[axis];
  }
  return offset;
}

/* Thread scratch: packed rows of a, one packed panel of b, sums, the epilogue's own; each begins on a cache line. */
struct MatmulScratch {
  size_t right, sums, epilogue, end;
};

static inline MatmulScratch matmul_scratch(const MatmulPlan& plan) {
  const auto lines = [&](int64_t elements) { return (static_cast<size_t>(elements) * plan.element + 63) / 64 * 64; };
  const int64_t depth = minimum_of(plan.k, kDepth);
  const int64_t rows = plan.block_rows;
  const bool packs = plan.panels_from == Panels::kLocal || plan.panels_from == Panels::kDirect;
  const int64_t sum_panels = plan.in_place() ? minimum_of(1, plan.n % gemm::kPanel) : plan.group_panels();
  MatmulScratch scratch;
  scratch.right = plan.pack_left ? lines(rows * depth) : 0;
  scratch.sums = scratch.right + (packs ? lines(depth * gemm::kPanel) : 0);
  scratch.epilogue = scratch.sums + lines(rows * sum_panels * gemm::kPanel);
  scratch.end = scratch.epilogue;
  return scratch;
}

}  // namespace PF_ISA
}  // namespace pf

#endif
