/* How a matmul call is read and cut, from its sizes and strides alone. */
#ifndef PYFLOW_BACKENDS_CPU_MATMUL_PLAN_H
#define PYFLOW_BACKENDS_CPU_MATMUL_PLAN_H

#include <stdint.h>

#include "backends/cpu/destination.h"
#include "backends/cpu/gemm.h"

namespace pf {
namespace PF_ISA {

/* A block's rows of a and its panels of b stay in a second-level cache for one stretch of k, so that b, which may come
 * from memory, is read once for up to kBlockRows rows. A stretch of one panel stays in a first-level cache. */
constexpr int64_t kBlockRows = 144;
constexpr int64_t kBlockPanels = 4;
constexpr int64_t kStretch = 192;

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
  size_t element;
  Destination destination;
  // Where the row axis changed places with an outer one: c and what the epilogue reads, their dims and strides.
  pf_view turned[1 + kMaxProgramOperands];
  int64_t turned_sizes[1 + kMaxProgramOperands][2][PF_MAX_NDIM];

  /* Are whole panels of c written where they belong, finished in registers? */
  bool in_place() const { return destination.direct || destination.straight; }
  int64_t block_rows() const { return ceildiv(m, row_blocks); }
  int64_t group_panels() const { return ceildiv(panels, panel_groups); }
  int64_t tasks() const { return m == 0 || n == 0 ? 0 : batches * row_blocks * panel_groups; }
};

/* Panels that make a task worth its start, at least as many as the widest tile spans. */
static inline int64_t panels_per_task(int64_t rows, int64_t depth) {
  constexpr int64_t spanned = 8 * kLanes<float> / gemm::kPanel;
  constexpr int64_t widest = spanned > 1 ? spanned : 1;
  constexpr int64_t worthwhile = 1 << 18;  // multiplications
  const int64_t wanted = ceildiv(worthwhile, maximum_of(1, rows * depth * gemm::kPanel));
  return maximum_of(widest, wanted);
}

static inline void matmul_cut(MatmulPlan* plan, bool packed) {
  const int64_t a_bytes = plan->a_row * static_cast<int64_t>(plan->element);
  plan->row_blocks = maximum_of(1, ceildiv(plan->m, kBlockRows));
  plan->pack_left = (plan->a_k != 1 && plan->k > 1) ||
                    (gemm::kRows > 6 && plan->m > 6 && plan->n > gemm::kPanel && plan->k > 64 && a_bytes % 4096 == 0);
  if (packed) {
    plan->panels_from = Panels::kGiven;
  } else if (plan->b_column == 1 && (plan->m <= 8 || plan->k * plan->b_k <= 4096)) {
    plan->panels_from = Panels::kDirect;
  } else if (plan->row_blocks == 1 && plan->copies == plan->batches) {
    plan->panels_from = Panels::kLocal;
  } else {
    plan->panels_from = Panels::kShared;
  }
  const int64_t rows = minimum_of(plan->m, kBlockRows);
  int64_t group = panels_per_task(rows, plan->k);
  if (rows > 8) group = maximum_of(group, kBlockPanels);
  group = minimum_of(group, 8 * kBlockPanels);
  plan->panel_groups = maximum_of(1, ceildiv(plan->panels, group));
}

/* `view` with two axes exchanged; `sizes` holds its dims and strides. */
static inline pf_view exchanged(const pf_view& view, int32_t one, int32_t other, int64_t (*sizes)[PF_MAX_NDIM]) {
  for (int32_t axis = 0; axis < view.ndim; ++axis) {
    const int32_t from = axis == one ? other : axis == other ? one : axis;
    sizes[0][axis] = view.dims[from];
    sizes[1][axis] = view.strides[from];
  }
  return {view.data, sizes[0], sizes[1], view.ndim, view.dtype};
}

/* The outer axis along which rows are better taken than along the row axis, because b is the same all along it and it
 * is longer; -1 if there is none. */
static inline int32_t longer_rows(const pf_view& b, const pf_view& c) {
  const int32_t rows = c.ndim - 2;
  int32_t best = -1;
  int64_t longest = c.dims[rows];
  if (longest >= kBlockRows) return best;
  for (int32_t axis = 0; axis < rows; ++axis) {
    if ((b.dims[axis] == 1 || b.strides[axis] == 0) && c.dims[axis] > longest) {
      longest = c.dims[axis];
      best = axis;
    }
  }
  return best;
}

static inline void matmul_plan(const pf_call* call, bool packed, MatmulPlan* plan) {
  pf_view a = call->inputs[0];
  const pf_view& b = call->inputs[1];
  pf_view c = call->outputs[0];
  const pf_view* extras = call->inputs + 2;
  const int32_t nextras = call->step->ninputs - 2;
  const int32_t rows = c.ndim - 2;
  int32_t fold = rows == 0 ? 0 : destination_fold(c, extras, nextras);
  if (fold > 0) fold = fold_rows(a, c.dims, rows, fold).axes;
  for (int32_t axis = rows - 1, i = 0; i < fold; --axis, ++i) {
    if (c.dims[axis] != 1 && b.dims[axis] != 1 && b.strides[axis] != 0) fold = i;
  }
  int64_t a_sizes[2][PF_MAX_NDIM];
  const int32_t instead = fold == 0 && nextras <= kMaxProgramOperands ? longer_rows(b, c) : -1;
  if (instead >= 0) {
    a = exchanged(a, instead, rows, a_sizes);
    c = plan->turned[0] = exchanged(c, instead, rows, plan->turned_sizes[0]);
    for (int32_t i = 1; i <= nextras; ++i)
      plan->turned[i] = exchanged(extras[i - 1], instead, rows, plan->turned_sizes[i]);
    extras = plan->turned + 1;
  }
  plan->m = c.dims[rows];
  plan->n = c.dims[rows + 1];
  plan->k = a.dims[rows + 1];
  plan->element = static_cast<size_t>(element_size(a.dtype));
  plan->panels = ceildiv(plan->n, gemm::kPanel);
  plan->a_k = a.strides[rows + 1];
  plan->b_k = packed ? gemm::kPanel : b.strides[rows];
  plan->b_column = packed || plan->n == 1 ? 1 : b.strides[rows + 1];
  plan->a_row = fold == 0 ? a.strides[rows] : fold_rows(a, c.dims, rows, fold).stride;
  for (int32_t axis = rows - fold; axis < rows; ++axis) plan->m *= c.dims[axis];
  plan->outer = rows - fold;
  plan->batches = 1;
  plan->copies = 1;
  for (int32_t axis = 0; axis < plan->outer; ++axis) {
    plan->dims[axis] = c.dims[axis];
    plan->a_outer[axis] = a.dims[axis] == 1 ? 0 : a.strides[axis];
    plan->b_outer[axis] = b.dims[axis] == 1 ? 0 : b.strides[axis];
    plan->batches *= c.dims[axis];
    if (plan->b_outer[axis] != 0) plan->copies *= c.dims[axis];
  }
  destination_init(&plan->destination, c, extras, nextras, epilogue_of(call), fold);
  destination_straighten(&plan->destination, call);
  for (int32_t i = 0; i < nextras; ++i) {
    // Sums of several stretches go through c, over what its epilogue reads last.
    if (plan->k > kStretch && extras[i].data == c.data) plan->destination.straight = false;
  }
  matmul_cut(plan, packed);
}

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
  const int64_t depth = minimum_of(plan.k, kStretch);
  const int64_t rows = plan.block_rows();
  const bool packs = plan.panels_from == Panels::kLocal || plan.panels_from == Panels::kDirect;
  const int64_t sum_panels = plan.in_place() ? minimum_of(1, plan.n % gemm::kPanel) : plan.group_panels();
  MatmulScratch scratch;
  scratch.right = plan.pack_left ? lines(ceildiv(rows, gemm::kRows) * gemm::kRows * depth) : 0;
  scratch.sums = scratch.right + (packs ? lines(depth * gemm::kPanel) : 0);
  scratch.epilogue = scratch.sums + lines(rows * sum_panels * gemm::kPanel);
  scratch.end = scratch.epilogue;
  return scratch;
}

}  // namespace PF_ISA
}  // namespace pf

#endif
