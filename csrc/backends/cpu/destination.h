/* Where the finished sums of a product go: to any strided output, through an epilogue if there is one. */
#ifndef PYFLOW_BACKENDS_CPU_DESTINATION_H
#define PYFLOW_BACKENDS_CPU_DESTINATION_H

#include <stdint.h>

#include "backends/cpu/finish.h"
#include "backends/cpu/kernels.h"
#include "kernels/program.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {

/* The axes before a view's row axis that can be walked as one with it, and the stride of the result. */
struct Folding {
  int32_t axes;
  int64_t stride;
};

/* `dims` are those of the output; a view with a dim of 1 or a stride of 0 is broadcast along it. `rows` is the row
 * axis; at most `limit` axes are folded. */
static inline Folding fold_rows(const pf_view& view, const int64_t* dims, int32_t rows, int32_t limit) {
  const auto stride_of = [&](int32_t axis) { return view.dims[axis] == 1 ? 0 : view.strides[axis]; };
  int64_t extent = dims[rows];
  Folding folding = {0, view.dims[rows] == 1 && extent != 1 ? 0 : view.strides[rows]};
  for (int32_t axis = rows - 1; folding.axes < limit; --axis, ++folding.axes) {
    if (dims[axis] == 1) continue;
    if (extent == 1) {
      folding.stride = stride_of(axis);
    } else if (stride_of(axis) != folding.stride * extent) {
      break;
    }
    extent *= dims[axis];
  }
  return folding;
}

/* An output [outer..., rows, columns] with the first axes before `rows` folded into it. */
struct Destination {
  const void* program;  // a compiled epilogue or nullptr
  int32_t ndim;
  int32_t nextras;
  bool direct;  // sums may be written straight to the output: no program, adjacent columns
  pf_view output;
  const pf_view* extras;
  pf_view folded[kMaxProgramOperands];
  int64_t dims[PF_MAX_NDIM];
  int64_t strides[1 + kMaxProgramOperands][PF_MAX_NDIM];
  bool straight;         // rows of whole vectors may be stored straight to the output, finished in registers
  const Finish* finish;  // what then happens to them, or nullptr
  Finish bound;

  int64_t rows() const { return output.dims[ndim - 2]; }
  int64_t columns() const { return output.dims[ndim - 1]; }
  int64_t row_stride() const { return output.strides[ndim - 2]; }
};

/* The most axes that output and extras can fold. */
static inline int32_t destination_fold(const pf_view& output, const pf_view* extras, int32_t nextras) {
  const int32_t rows = output.ndim - 2;
  int32_t fold = rows;
  if (fold > 0) fold = fold_rows(output, output.dims, rows, fold).axes;
  for (int32_t i = 0; i < nextras && fold > 0; ++i) fold = fold_rows(extras[i], output.dims, rows, fold).axes;
  return fold;
}

static inline void destination_init(Destination* to, const pf_view& output, const pf_view* extras, int32_t nextras,
                                    const void* program, int32_t fold) {
  to->program = program;
  to->nextras = nextras;
  to->ndim = output.ndim - fold;
  to->direct = program == nullptr && (output.strides[output.ndim - 1] == 1 || output.dims[output.ndim - 1] == 1);
  to->output = output;
  to->extras = extras;
  if (fold == 0) return;
  const int32_t rows = output.ndim - 2;
  for (int32_t axis = 0; axis < to->ndim; ++axis)
    to->dims[axis] = output.dims[axis < to->ndim - 2 ? axis : axis + fold];
  for (int32_t axis = rows - fold; axis < rows; ++axis) to->dims[to->ndim - 2] *= output.dims[axis];
  for (int32_t i = -1; i < nextras; ++i) {
    const pf_view& view = i < 0 ? output : extras[i];
    int64_t* strides = to->strides[i + 1];
    for (int32_t axis = 0; axis < to->ndim - 2; ++axis) {
      strides[axis] = view.dims[axis] == 1 ? 0 : view.strides[axis];
    }
    strides[to->ndim - 2] = fold_rows(view, output.dims, rows, fold).stride;
    strides[to->ndim - 1] = view.dims[output.ndim - 1] == 1 ? 0 : view.strides[output.ndim - 1];
    pf_view& target = i < 0 ? to->output : to->folded[i];
    target = pf_view{view.data, to->dims, strides, to->ndim, view.dtype};
  }
  to->extras = to->folded;
}

/* Element offset of an index of the output. */
static inline int64_t destination_offset(const Destination& to, const int64_t* index) {
  int64_t offset = 0;
  for (int32_t axis = 0; axis < to.ndim; ++axis) offset += index[axis] * to.output.strides[axis];
  return offset;
}

/* Writes a block of sums that starts at `index`. */
template <typename T>
static void destination_write(const Destination& to, const T* sums, int64_t sums_stride, int64_t rows, int64_t columns,
                              const int64_t* index, void* scratch, uint32_t* faults) {
  if (to.program != nullptr) {
    EpilogueBlock block;
    block.sums = sums;
    block.sums_stride = sums_stride;
    block.rows = rows;
    block.cols = columns;
    block.row_axis = to.ndim - 2;
    block.col_axis = to.ndim - 1;
    block.index = index;
    block.extras = to.extras;
    block.output = &to.output;
    epilogue_block(to.program, block, scratch, faults);
    return;
  }
  T* out = static_cast<T*>(to.output.data) + destination_offset(to, index);
  const int64_t row_stride = to.output.strides[to.ndim - 2];
  const int64_t column_stride = to.output.strides[to.ndim - 1];
  if (column_stride == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      __builtin_memcpy(out + i * row_stride, sums + i * sums_stride, static_cast<size_t>(columns) * sizeof(T));
    }
    return;
  }
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) out[i * row_stride + j * column_stride] = sums[i * sums_stride + j];
  }
}

/* Writes rows [row, row + rows) of all outer and row indices counted as one, cut where an outer index changes. */
template <typename T>
static void destination_write_flat(const Destination& to, const T* sums, int64_t sums_stride, int64_t row, int64_t rows,
                                   int64_t column, int64_t columns, void* scratch, uint32_t* faults) {
  int64_t index[PF_MAX_NDIM];
  const int64_t length = to.rows();
  while (rows > 0) {
    int64_t outer = row / length;
    index[to.ndim - 2] = row % length;
    index[to.ndim - 1] = column;
    for (int32_t axis = to.ndim - 3; axis >= 0; --axis) {
      index[axis] = outer % to.output.dims[axis];
      outer /= to.output.dims[axis];
    }
    const int64_t run = minimum_of(rows, length - index[to.ndim - 2]);
    destination_write(to, sums, sums_stride, run, columns, index, scratch, faults);
    sums += run * sums_stride;
    row += run;
    rows -= run;
  }
}

/* What `supports` asks of the optional epilogue of a kernel whose own operands are the first `own` inputs. */
static inline int32_t epilogue_supported(const pf_step* step, char* why, size_t why_size, int32_t own = 2) {
  if (step->ninputs < own || step->noutputs != 1) {
    return refuse(why, why_size, "%s takes at least %d inputs and 1 output, got %d and %d", step->kernel, own,
                  step->ninputs, step->noutputs);
  }
  const int32_t dtype = step->inputs[0].dtype;
  if (step->nprograms == 0) {
    if (step->ninputs != own)
      return refuse(why, why_size, "%s without an epilogue takes %d inputs, got %d", step->kernel, own, step->ninputs);
    if (step->outputs[0].dtype != dtype) {
      return refuse(why, why_size, "%s without an epilogue gives %s, not %s", step->kernel, dtype_name(dtype),
                    dtype_name(step->outputs[0].dtype));
    }
    return 1;
  }
  if (step->nprograms != 1)
    return refuse(why, why_size, "%s takes one epilogue, got %d", step->kernel, step->nprograms);
  const pf_program& program = step->programs[0];
  if (program.ninputs != step->ninputs - own + 1 || program.noutputs != 1) {
    return refuse(why, why_size, "the epilogue of %s has %d inputs and %d outputs, expected %d and 1", step->kernel,
                  program.ninputs, program.noutputs, step->ninputs - own + 1);
  }
  if (program.register_dtypes[0] != dtype) {
    return refuse(why, why_size, "register 0 of the epilogue of %s is %s, expected %s", step->kernel,
                  dtype_name(program.register_dtypes[0]), dtype_name(dtype));
  }
  return program_supported(&program, why, why_size);
}

/* The state of a kernel with an epilogue: its Finish, then the compiled program. */
constexpr size_t kFinishBytes = (sizeof(Finish) + 63) / 64 * 64;

static inline size_t epilogue_state_size(const pf_step* step) {
  return step->nprograms == 0 ? 0 : kFinishBytes + program_state_size(&step->programs[0]);
}

static inline pf_code epilogue_prepare(const pf_step* step, void* state, pf_error* error) {
  if (step->nprograms == 0) return PF_OK;
  *static_cast<Finish*>(state) = finish_of(step->programs[0]);
  return program_prepare(&step->programs[0], static_cast<char*>(state) + kFinishBytes, error);
}

static inline const void* epilogue_of(const pf_call* call) {
  return call->step->nprograms == 0 ? nullptr : static_cast<const char*>(call->state) + kFinishBytes;
}

/* Lets rows be stored straight where all axes but the columns are folded and the epilogue, if any, is a chain. */
static inline void destination_straighten(Destination* to, const pf_call* call) {
  to->finish = nullptr;
  to->straight = to->direct && to->ndim == 2;
  if (to->program == nullptr || to->ndim != 2) return;
  to->bound = *static_cast<const Finish*>(call->state);
  const int64_t columns = to->columns();
  bool chain = to->bound.count >= 0 && (to->output.strides[1] == 1 || columns == 1);
  for (int32_t i = 0; i < to->bound.count; ++i) {
    FinishStep& step = to->bound.steps[i];
    if (step.op != FinishOp::kAdd && step.op != FinishOp::kMultiply) continue;
    const pf_view& extra = to->extras[step.extra];
    chain = chain && (columns == 1 || (extra.strides[1] == 1 && extra.dims[1] != 1));
    step.data = static_cast<const float*>(extra.data);
    step.row_stride = extra.dims[0] == 1 ? 0 : extra.strides[0];
  }
  to->straight = chain;
  to->finish = chain ? &to->bound : nullptr;
}

}  // namespace PF_ISA
}  // namespace pf

#endif
