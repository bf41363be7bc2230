// How a matmul call is read and cut, once for all ISAs.
#include "backends/cpu/matmul_plan.h"

namespace pf {
namespace plain {
namespace {

/* Panels that make a task worth its start, at least as many as the widest tile spans. */
int64_t panels_per_task(int64_t rows, int64_t depth, int64_t lanes) {
  const int64_t widest = maximum_of(1, 8 * lanes / kPanel);
  constexpr int64_t worthwhile = 1 << 18;  // multiplications
  const int64_t wanted = ceildiv(worthwhile, maximum_of(1, rows * depth * kPanel));
  return maximum_of(widest, wanted);
}

void cut(MatmulPlan* plan, bool packed, const Tiles& tiles) {
  const int64_t a_bytes = plan->a_row * static_cast<int64_t>(plan->element);
  plan->row_blocks = maximum_of(1, ceildiv(plan->m, kBlockRows));
  plan->block_rows = PF_ISA::gemm::most_rows(plan->m, tiles.rows, plan->row_blocks);
  plan->pack_left = (plan->a_k != 1 && plan->k > 1) ||
                    (tiles.rows > 6 && plan->m > 6 && plan->n > kPanel && plan->k > 64 && a_bytes % 4096 == 0);
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
  int64_t group = panels_per_task(rows, plan->k, tiles.lanes);
  if (rows > 8) {
    const int64_t spare = plan->batches * plan->row_blocks * plan->panels / kEnoughBlocks;
    group = maximum_of(group, minimum_of(maximum_of(spare, kBlockPanels), kMostPanels));
  }
  group = minimum_of(group, 2 * kMostPanels);
  plan->panel_groups = maximum_of(1, ceildiv(plan->panels, group));
}

/* `view` with two axes exchanged; `sizes` holds its dims and strides. */
pf_view exchanged(const pf_view& view, int32_t one, int32_t other, int64_t (*sizes)[PF_MAX_NDIM]) {
  for (int32_t axis = 0; axis < view.ndim; ++axis) {
    const int32_t from = axis == one ? other : axis == other ? one : axis;
    sizes[0][axis] = view.dims[from];
    sizes[1][axis] = view.strides[from];
  }
  return {view.data, sizes[0], sizes[1], view.ndim, view.dtype};
}

/* The outer axis along which rows are better taken than along the row axis, because b is the same all along it and it
 * is longer; -1 if there is none. */
int32_t longer_rows(const pf_view& b, const pf_view& c) {
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

}  // namespace

void matmul_plan(const pf_call* call, bool packed, const Tiles& tiles, MatmulPlan* plan) {
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
  plan->panels = ceildiv(plan->n, kPanel);
  plan->a_k = a.strides[rows + 1];
  plan->b_k = packed ? kPanel : b.strides[rows];
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
  destination_straighten(&plan->destination, plan->k > kDepth);
  cut(plan, packed, tiles);
}

pf_code matmul_cut(const pf_call* call, bool packed, const Tiles& tiles, pf_partition* partition) {
  MatmulPlan plan;
  matmul_plan(call, packed, tiles, &plan);
  const bool integers = !is_float(call->inputs[0].dtype);
  if (integers) plan.panels_from = Panels::kDirect;
  const double products = static_cast<double>(plan.batches) * static_cast<double>(plan.m) *
                          static_cast<double>(plan.n) * static_cast<double>(plan.k);
  const double per_nanosecond = integers ? 3.0 : plan.element == 4 ? 40.0 : 20.0;
  const double right_bytes = static_cast<double>(plan.copies * plan.n * plan.k) * static_cast<double>(plan.element);
  double cost = 80.0 + products / per_nanosecond + right_bytes / 100.0;
  const Epilogue* epilogue = plan.destination.epilogue;
  partition->thread_scratch = matmul_scratch(plan).end;
  if (epilogue != nullptr) {
    partition->thread_scratch += epilogue->scratch;
    cost += epilogue->cost * static_cast<double>(plan.batches * plan.m * plan.n);
  }
  partition->shared_scratch = 0;
  if (plan.panels_from != Panels::kShared) return one_phase(partition, plan.tasks(), cost);
  partition->phases = 2;
  partition->tasks[0] = plan.tasks() == 0 ? 0 : plan.copies * plan.panels;
  partition->tasks[1] = plan.tasks();
  partition->shared_scratch = static_cast<size_t>(plan.copies * plan.panels * plan.k * kPanel) * plan.element;
  partition->cost = cost + 0.3 * static_cast<double>(plan.copies * plan.panels * plan.k * kPanel);
  return PF_OK;
}

pf_code matmul_pack_cut(const pf_call* call, pf_partition* partition, pf_error*) {
  const pf_view& panels = call->outputs[0];
  partition->thread_scratch = 0;
  partition->shared_scratch = 0;
  return one_phase(partition, count_elements(panels.dims, panels.ndim - 2),
                   20.0 + 0.3 * static_cast<double>(count_elements(panels)));
}

}  // namespace plain
}  // namespace pf
