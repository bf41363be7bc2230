// Plans and writes of destination.h, once for all ISAs.
#include "backends/cpu/destination.h"

#include <math.h>
#include <string.h>

#include "pyflow/loops.h"

namespace pf {
namespace plain {
namespace {

/* The instructions of a program, also where a compiled loop stands for them; nullptr if it hides them. */
const pf_instr* instructions_of(const pf_program& program) {
  const pf_instr* instrs = program.instrs;
  if (program.ninstrs == 0 || strcmp(instrs[0].op, "loop") != 0) return instrs;
  return reinterpret_cast<const pf_loops*>(instrs)->instrs;
}

/* The float32 constant that register `reg` holds; false if it holds none. */
bool finish_constant(const pf_program& program, int32_t reg, float* value) {
  if (reg < program.ninputs) return false;
  const pf_instr& instr = instructions_of(program)[reg - program.ninputs];
  if (strcmp(instr.op, "const") != 0 || instr.dtype != PF_DTYPE_float32) return false;
  memcpy(value, &instr.imm, sizeof(float));
  return *value == *value;
}

}  // namespace

__attribute__((cold)) Finish finish_of(const pf_program& program) {
  const Finish none = {-1, {}};
  Finish finish = {0, {}};
  int32_t sum = 0;
  for (int32_t i = 0; i < program.ninputs; ++i) {
    if (program.register_dtypes[i] != PF_DTYPE_float32) return none;
  }
  const pf_instr* instrs = instructions_of(program);
  if (instrs == nullptr && program.ninstrs > 0) return none;
  for (int32_t i = 0; i < program.ninstrs; ++i) {
    const pf_instr& instr = instrs[i];
    if (strcmp(instr.op, "const") == 0) continue;
    if (finish.count == kMaxFinishSteps || instr.dtype != PF_DTYPE_float32) return none;
    FinishStep& step = finish.steps[finish.count++];
    const bool add = strcmp(instr.op, "add") == 0;
    if (add || strcmp(instr.op, "mul") == 0) {
      if ((instr.args[0] == sum) == (instr.args[1] == sum)) return none;
      const int32_t other = instr.args[0] == sum ? instr.args[1] : instr.args[0];
      if (other < 1 || other >= program.ninputs) return none;
      step.op = add ? FinishOp::kAdd : FinishOp::kMultiply;
      step.extra = other - 1;
    } else if (strcmp(instr.op, "relu") == 0 && instr.args[0] == sum) {
      step.op = FinishOp::kClip;
      step.low = 0;
      step.high = INFINITY;
    } else if (strcmp(instr.op, "clip") == 0 && instr.args[0] == sum &&
               finish_constant(program, instr.args[1], &step.low) &&
               finish_constant(program, instr.args[2], &step.high)) {
      step.op = FinishOp::kClip;
    } else {
      return none;
    }
    sum = program.ninputs + i;
  }
  return program.noutputs == 1 && program.outputs[0] == sum ? finish : none;
}

Folding fold_rows(const pf_view& view, const int64_t* dims, int32_t rows, int32_t limit) {
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

int32_t destination_fold(const pf_view& output, const pf_view* extras, int32_t nextras) {
  const int32_t rows = output.ndim - 2;
  int32_t fold = rows;
  if (fold > 0) fold = fold_rows(output, output.dims, rows, fold).axes;
  for (int32_t i = 0; i < nextras && fold > 0; ++i) fold = fold_rows(extras[i], output.dims, rows, fold).axes;
  return fold;
}

void destination_init(Destination* to, const pf_view& output, const pf_view* extras, int32_t nextras,
                      const Epilogue* epilogue, int32_t fold) {
  to->epilogue = epilogue;
  to->nextras = nextras;
  to->ndim = output.ndim - fold;
  to->direct = epilogue == nullptr && (output.strides[output.ndim - 1] == 1 || output.dims[output.ndim - 1] == 1);
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

template <typename T>
void destination_write(const Destination& to, const T* sums, int64_t sums_stride, int64_t rows, int64_t columns,
                       const int64_t* index, void* scratch, uint32_t* faults) {
  if (to.epilogue != nullptr) {
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
    to.epilogue->write(reinterpret_cast<const char*>(to.epilogue) + kEpilogueBytes, block, scratch, faults);
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

template <typename T>
void destination_write_flat(const Destination& to, const T* sums, int64_t sums_stride, int64_t row, int64_t rows,
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

/* Makes one step of an addition of the same operand to all rows and the clip that follows. */
static void merge_clips(Finish* finish) {
  int32_t count = 0;
  for (int32_t i = 0; i < finish->count; ++i) {
    const FinishStep& step = finish->steps[i];
    FinishStep* before = count > 0 ? &finish->steps[count - 1] : nullptr;
    if (step.op == FinishOp::kClip && before != nullptr && before->op == FinishOp::kAdd && before->row_stride == 0) {
      before->op = FinishOp::kAddRowAndClip;
      before->low = step.low;
      before->high = step.high;
    } else {
      finish->steps[count++] = step;
    }
  }
  if (finish->count > 0) finish->count = count;
}

void destination_straighten(Destination* to, bool in_stretches) {
  to->finish = nullptr;
  to->straight = to->direct && to->ndim == 2;
  if (to->epilogue == nullptr || to->ndim != 2) return;
  to->bound = to->epilogue->finish;
  const int64_t columns = to->columns();
  bool chain = to->bound.count >= 0 && (to->output.strides[1] == 1 || columns == 1);
  for (int32_t i = 0; i < to->bound.count; ++i) {
    FinishStep& step = to->bound.steps[i];
    if (step.op == FinishOp::kClip) continue;
    const pf_view& extra = to->extras[step.extra];
    chain = chain && (columns == 1 || (extra.strides[1] == 1 && extra.dims[1] != 1));
    chain = chain && !(in_stretches && extra.data == to->output.data);
    step.data = static_cast<const float*>(extra.data);
    step.row_stride = extra.dims[0] == 1 ? 0 : extra.strides[0];
  }
  merge_clips(&to->bound);
  to->straight = chain;
  to->finish = chain ? &to->bound : nullptr;
}

template void destination_write(const Destination&, const float*, int64_t, int64_t, int64_t, const int64_t*, void*,
                                uint32_t*);
template void destination_write(const Destination&, const double*, int64_t, int64_t, int64_t, const int64_t*, void*,
                                uint32_t*);
template void destination_write(const Destination&, const int32_t*, int64_t, int64_t, int64_t, const int64_t*, void*,
                                uint32_t*);
template void destination_write(const Destination&, const int64_t*, int64_t, int64_t, int64_t, const int64_t*, void*,
                                uint32_t*);
template void destination_write_flat(const Destination&, const float*, int64_t, int64_t, int64_t, int64_t, int64_t,
                                     void*, uint32_t*);
template void destination_write_flat(const Destination&, const double*, int64_t, int64_t, int64_t, int64_t, int64_t,
                                     void*, uint32_t*);

}  // namespace plain
}  // namespace pf
