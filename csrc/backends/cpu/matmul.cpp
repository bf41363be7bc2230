// matmul, matmul_pack, matmul_packed: docs/kernels.md. Each element of c is one chain over k (gemm.h), so the packed
// and the unpacked kernel, every cut and every thread count give the same bits.
#include "backends/cpu/destination.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/matmul_plan.h"

namespace pf {
namespace PF_ISA {
namespace {

/* What a kernel takes. A narrow b (gemm.h) is packed, and k is adjacent along the rows of its a. */
enum class Operands { kPlain, kPacked, kNarrow };

/* Panels [first, first + count) over k in [k0, k0 + depth) for one block, whose first row and column `how` names;
 * `scratch` holds a packed panel. */
template <typename T, Operands OPERANDS>
void multiply_panels(const MatmulPlan& plan, int64_t rows, int64_t first, int64_t count, int64_t k0, int64_t depth,
                     const gemm::Left<T>& left, const T* b, T* scratch, T* sums, int64_t sums_stride,
                     const gemm::Store& how) {
  constexpr auto width = OPERANDS == Operands::kNarrow ? gemm::Width::kNarrow : gemm::Width::kAny;
  const int64_t full = plan.n / gemm::kPanel;  // panels without padding
  if (OPERANDS != Operands::kPlain || plan.panels_from == Panels::kShared) {
    const int64_t panel_stride = plan.k * gemm::kPanel;
    const bool last = k0 + depth == plan.k;
    const int64_t ahead = last ? panel_stride - k0 * gemm::kPanel : depth * gemm::kPanel - (count - 1) * panel_stride;
    const gemm::Right<T> right = {b + first * panel_stride + k0 * gemm::kPanel, gemm::kPanel, panel_stride, ahead};
    gemm::multiply_columns<T, width>(rows, count * gemm::kPanel, depth, left, right, sums, sums_stride, how);
    return;
  }
  int64_t done = 0;
  if (plan.panels_from == Panels::kDirect) {
    done = maximum_of(0, minimum_of(count, full - first));
    const gemm::Right<T> right = {b + k0 * plan.b_k + first * gemm::kPanel, plan.b_k, gemm::kPanel};
    gemm::multiply_columns(rows, done * gemm::kPanel, depth, left, right, sums, sums_stride, how);
  }
  for (; done < count; ++done) {
    const int64_t column = (first + done) * gemm::kPanel;
    gemm::pack_panel(depth, minimum_of(gemm::kPanel, plan.n - column), b + k0 * plan.b_k + column * plan.b_column,
                     plan.b_k, plan.b_column, scratch);
    gemm::multiply_columns<T>(rows, gemm::kPanel, depth, left, {scratch, gemm::kPanel, 0}, sums + done * gemm::kPanel,
                              sums_stride, {how.accumulate, how.finish, how.row, how.column + done * gemm::kPanel});
  }
}

template <typename T, Operands OPERANDS>
void run_block(const MatmulPlan& plan, const MatmulScratch& parts, const pf_call* call, const pf_task* task,
               int64_t block, uint32_t* faults) {
  const int64_t row_block = block % plan.row_blocks;
  const int64_t rest = block / plan.row_blocks;
  MatmulBatch batch;
  matmul_batch(plan, rest / plan.panel_groups, &batch);
  const int64_t group = rest % plan.panel_groups;
  const int64_t row = gemm::row_begin(plan.m, plan.row_blocks, row_block);
  const int64_t rows = gemm::row_begin(plan.m, plan.row_blocks, row_block + 1) - row;
  const int64_t panel = gemm::panel_begin(plan.panels, plan.panel_groups, group);
  const int64_t panels = gemm::panel_begin(plan.panels, plan.panel_groups, group + 1) - panel;
  const int64_t column = panel * gemm::kPanel;
  const Destination& destination = plan.destination;
  char* scratch = static_cast<char*>(task->thread_scratch);
  T* left_scratch = reinterpret_cast<T*>(scratch);
  T* right_scratch = reinterpret_cast<T*>(scratch + parts.right);
  T* sums = reinterpret_cast<T*>(scratch + parts.sums);

  const T* a = static_cast<const T*>(call->inputs[0].data) + batch.a + row * plan.a_row;
  const T* b = plan.panels_from == Panels::kShared
                   ? static_cast<const T*>(task->shared_scratch) + batch.copy * plan.panels * plan.k * gemm::kPanel
                   : static_cast<const T*>(call->inputs[1].data) + batch.b;
  batch.index[plan.outer] = row;
  batch.index[plan.outer + 1] = column;
  const int64_t straight =
      plan.in_place() ? minimum_of(panels, plan.n / gemm::kPanel - panel) : 0;  // panels written in place
  T* c = static_cast<T*>(destination.output.data) + destination_offset(destination, batch.index);
  const int64_t buffered = panels - straight;

  const int64_t parts_of_k = maximum_of(1, ceildiv(plan.k, kDepth));
  for (int64_t part = 0; part < parts_of_k; ++part) {
    const int64_t k0 = gemm::part_begin(plan.k, parts_of_k, part);
    const int64_t depth = gemm::part_begin(plan.k, parts_of_k, part + 1) - k0;
    gemm::Left<T> left = {a + k0 * plan.a_k, plan.a_row};
    if (OPERANDS != Operands::kNarrow && plan.pack_left) {
      gemm::pack_left(rows, depth, left.data, plan.a_row, plan.a_k, left_scratch, depth);
      left = {left_scratch, depth};
    }
    if (straight > 0) {
      const Finish* finish = k0 + depth == plan.k ? destination.finish : nullptr;
      multiply_panels<T, OPERANDS>(plan, rows, panel, straight, k0, depth, left, b, right_scratch, c,
                                   destination.row_stride(), {k0 > 0, finish, row, column});
    }
    if (buffered > 0) {
      multiply_panels<T, OPERANDS>(plan, rows, panel + straight, buffered, k0, depth, left, b, right_scratch, sums,
                                   buffered * gemm::kPanel, {k0 > 0, nullptr, 0, 0});
    }
  }
  if (buffered == 0) return;
  batch.index[plan.outer + 1] += straight * gemm::kPanel;
  const int64_t columns = minimum_of(buffered * gemm::kPanel, plan.n - batch.index[plan.outer + 1]);
  destination_write(destination, sums, buffered * gemm::kPanel, rows, columns, batch.index, scratch + parts.epilogue,
                    faults);
}

template <typename T>
void pack_shared(const MatmulPlan& plan, const pf_call* call, const pf_task* task) {
  T* to = static_cast<T*>(task->shared_scratch);
  for (int64_t i = task->begin; i < task->end; ++i) {
    const int64_t column = i % plan.panels * gemm::kPanel;
    const T* b = static_cast<const T*>(call->inputs[1].data) + matmul_copy_offset(plan, i / plan.panels);
    gemm::pack_panel(plan.k, minimum_of(gemm::kPanel, plan.n - column), b + column * plan.b_column, plan.b_k,
                     plan.b_column, to + i * plan.k * gemm::kPanel);
  }
}

/* Integers wrap around, so any order gives the same sums. */
template <typename T>
void run_integers(const MatmulPlan& plan, const MatmulScratch& parts, const pf_call* call, const pf_task* task,
                  int64_t block, uint32_t* faults) {
  constexpr int64_t width = 128;
  alignas(64) T sums[width];
  const int64_t row_block = block % plan.row_blocks;
  const int64_t rest = block / plan.row_blocks;
  MatmulBatch batch;
  matmul_batch(plan, rest / plan.panel_groups, &batch);
  const int64_t group = rest % plan.panel_groups;
  const int64_t panel = gemm::panel_begin(plan.panels, plan.panel_groups, group);
  const int64_t end = minimum_of(plan.n, gemm::panel_begin(plan.panels, plan.panel_groups, group + 1) * gemm::kPanel);
  const int64_t first_row = gemm::row_begin(plan.m, plan.row_blocks, row_block);
  const int64_t end_row = gemm::row_begin(plan.m, plan.row_blocks, row_block + 1);
  const T* a = static_cast<const T*>(call->inputs[0].data) + batch.a;
  const T* b = static_cast<const T*>(call->inputs[1].data) + batch.b;
  for (int64_t column = panel * gemm::kPanel; column < end; column += width) {
    const int64_t columns = minimum_of(width, end - column);
    for (int64_t row = first_row; row < end_row; ++row) {
      for (int64_t j = 0; j < columns; ++j) sums[j] = 0;
      for (int64_t k = 0; k < plan.k; ++k) {
        const T left = a[row * plan.a_row + k * plan.a_k];
        const T* right = b + k * plan.b_k + column * plan.b_column;
        if (plan.b_column == 1) {
          for (int64_t j = 0; j < columns; ++j) sums[j] = multiply_add(left, right[j], sums[j]);
        } else {
          for (int64_t j = 0; j < columns; ++j) sums[j] = multiply_add(left, right[j * plan.b_column], sums[j]);
        }
      }
      batch.index[plan.outer] = row;
      batch.index[plan.outer + 1] = column;
      destination_write(plan.destination, sums, width, 1, columns, batch.index,
                        static_cast<char*>(task->thread_scratch) + parts.epilogue, faults);
    }
  }
}

template <bool PACKED>
int32_t matmul_supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs < 2 || step->noutputs != 1) {
    return refuse(why, why_size, "%s takes at least 2 inputs and 1 output, got %d and %d", step->kernel, step->ninputs,
                  step->noutputs);
  }
  const pf_operand& a = step->inputs[0];
  const pf_operand& b = step->inputs[1];
  if (a.dtype != b.dtype || !(PACKED ? is_float(a.dtype) : is_num(a.dtype) || a.dtype == PF_DTYPE_uint64)) {
    return refuse(why, why_size, "%s takes two operands of one %s dtype, got %s and %s", step->kernel,
                  PACKED ? "float32 or float64" : "float32, float64, int32, int64 or uint64", dtype_name(a.dtype),
                  dtype_name(b.dtype));
  }
  const int32_t expected = a.ndim + (PACKED ? 1 : 0);
  if (a.ndim < 2 || b.ndim != expected || step->outputs[0].ndim != a.ndim) {
    return refuse(why, why_size, "%s takes a[...,M,K], b of rank %d and c of a's rank, got ranks %d, %d and %d",
                  step->kernel, expected, a.ndim, b.ndim, step->outputs[0].ndim);
  }
  return epilogue_supported(step, why, why_size);
}

template <bool PACKED>
pf_code matmul_partition(const pf_call* call, pf_partition* partition, pf_error*) {
  return matmul_cut(call, PACKED, kTiles, partition);
}

template <Operands OPERANDS, int32_t ONLY = kEveryDtype>
pf_code matmul_run(const pf_call* call, const pf_task* task, pf_error* error) {
  MatmulPlan plan;
  matmul_plan(call, OPERANDS != Operands::kPlain, kTiles, &plan);
  const MatmulScratch parts = matmul_scratch(plan);
  const int32_t dtype = call->inputs[0].dtype;
  const bool packing =
      OPERANDS == Operands::kPlain && plan.panels_from == Panels::kShared && is_float(dtype) && task->phase == 0;
  if (packing) {
    is_dtype<ONLY>(dtype, PF_DTYPE_float32) ? pack_shared<float>(plan, call, task)
                                            : pack_shared<double>(plan, call, task);
    return PF_OK;
  }
  uint32_t faults = 0;
  for (int64_t block = task->begin; block < task->end; ++block) {
    if (is_dtype<ONLY>(dtype, PF_DTYPE_float32)) {
      run_block<float, OPERANDS>(plan, parts, call, task, block, &faults);
    } else if (dtype == PF_DTYPE_float64) {
      run_block<double, OPERANDS>(plan, parts, call, task, block, &faults);
    } else if (dtype == PF_DTYPE_int32) {
      run_integers<int32_t>(plan, parts, call, task, block, &faults);
    } else {
      run_integers<int64_t>(plan, parts, call, task, block, &faults);
    }
  }
  return faults == 0 ? PF_OK : program_fault(faults, error);
}

int32_t pack_supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs != 1 || step->noutputs != 1) {
    return refuse(why, why_size, "matmul_pack takes 1 input and 1 output, got %d and %d", step->ninputs,
                  step->noutputs);
  }
  const pf_operand& b = step->inputs[0];
  const pf_operand& panels = step->outputs[0];
  if (!is_float(b.dtype) || panels.dtype != b.dtype) {
    return refuse(why, why_size, "matmul_pack takes float32 or float64 to the same, got %s to %s", dtype_name(b.dtype),
                  dtype_name(panels.dtype));
  }
  if (b.ndim < 2 || panels.ndim != b.ndim + 1) {
    return refuse(why, why_size, "matmul_pack takes b[...,K,N] to panels of one rank more, got ranks %d and %d", b.ndim,
                  panels.ndim);
  }
  return 1;
}

pf_code pack_run(const pf_call* call, const pf_task* task, pf_error*) {
  call->inputs[0].dtype == PF_DTYPE_float32 ? matmul_pack_panels<float>(call, task, gemm::pack_panel<float>)
                                            : matmul_pack_panels<double>(call, task, gemm::pack_panel<double>);
  return PF_OK;
}

const pf_kernel kKernels[] = {
    {"matmul", matmul_supports<false>, epilogue_state_size, epilogue_prepare, matmul_partition<false>,
     matmul_run<Operands::kPlain>},
    {"matmul_pack", pack_supports, nullptr, nullptr, matmul_pack_cut, pack_run},
    {"matmul_packed", matmul_supports<true>, epilogue_state_size, epilogue_prepare, matmul_partition<true>,
     matmul_run<Operands::kPacked>},
};

}  // namespace

PF_FLOAT32(matmul, epilogue_state_size, epilogue_prepare, matmul_partition<false>,
           matmul_run<Operands::kPlain, PF_DTYPE_float32>)
PF_FLOAT32(matmul_pack, nullptr, nullptr, matmul_pack_cut, matmul_pack_floats)
PF_FLOAT32(matmul_packed, epilogue_state_size, epilogue_prepare, matmul_partition<true>,
           matmul_run<Operands::kPacked, PF_DTYPE_float32>)
PF_FLOAT32_AS(matmul_packed_narrow, matmul_packed, epilogue_state_size, epilogue_prepare, matmul_partition<true>,
              matmul_run<Operands::kNarrow, PF_DTYPE_float32>)

const pf_kernel* matmul_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
