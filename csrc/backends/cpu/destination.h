/* Where the finished sums of a product go: to any strided output, through an epilogue if there is one. */
#ifndef PYFLOW_BACKENDS_CPU_DESTINATION_H
#define PYFLOW_BACKENDS_CPU_DESTINATION_H

#include <stdint.h>

#include "backends/cpu/finish.h"
#include "backends/cpu/kernels.h"
#include "kernels/program.h"
#include "kernels/view.h"

namespace pf {
namespace plain {

/* The axes before a view's row axis that can be walked as one with it, and the stride of the result. */
struct Folding {
  int32_t axes;
  int64_t stride;
};

/* `dims` are those of the output; a view with a dim of 1 or a stride of 0 is broadcast along it. `rows` is the row
 * axis; at most `limit` axes are folded. */
Folding fold_rows(const pf_view& view, const int64_t* dims, int32_t rows, int32_t limit);

/* The state of a kernel with an epilogue: what is known of its program, which follows at kEpilogueBytes. */
struct Epilogue {
  Finish finish;
  void (*write)(const void* program, const EpilogueBlock& block, void* scratch, uint32_t* faults);
  size_t scratch;  // of a thread
  double cost;     // of an element
};
constexpr size_t kEpilogueBytes = (sizeof(Epilogue) + 63) / 64 * 64;

/* An output [outer..., rows, columns] with the first axes before `rows` folded into it. */
struct Destination {
  const Epilogue* epilogue;  // or nullptr
  int32_t ndim;
  int32_t nextras;
  bool direct;  // sums may be written straight to the output: no epilogue, adjacent columns
  pf_view output;
  const pf_view* extras;
  pf_view folded[kMaxProgramOperands];
  int64_t dims[PF_MAX_NDIM];
  int64_t strides[1 + kMaxProgramOperands][PF_MAX_NDIM];
  bool straight;         // rows of whole vectors may be stored straight to the output, finished in registers
  const Finish* finish;  // what then happens to them, or nullptr
  Finish bound;

  PF_ALWAYS_INLINE int64_t rows() const { return output.dims[ndim - 2]; }
  PF_ALWAYS_INLINE int64_t columns() const { return output.dims[ndim - 1]; }
  PF_ALWAYS_INLINE int64_t row_stride() const { return output.strides[ndim - 2]; }
};

/* The most axes that output and extras can fold. */
int32_t destination_fold(const pf_view& output, const pf_view* extras, int32_t nextras);

void destination_init(Destination* to, const pf_view& output, const pf_view* extras, int32_t nextras,
                      const Epilogue* epilogue, int32_t fold);

/* Lets rows be stored straight where all axes but the columns are folded and the epilogue, if any, is a chain. With
 * `in_stretches` sums go through the output before they are whole: then the epilogue may read nothing that lies there.
 */
void destination_straighten(Destination* to, bool in_stretches);

/* Writes a block of sums that starts at `index`. T is float, double, int32_t or int64_t. */
template <typename T>
void destination_write(const Destination& to, const T* sums, int64_t sums_stride, int64_t rows, int64_t columns,
                       const int64_t* index, void* scratch, uint32_t* faults);

/* Writes rows [row, row + rows) of all outer and row indices counted as one, cut where an outer index changes. T is
 * float or double. */
template <typename T>
void destination_write_flat(const Destination& to, const T* sums, int64_t sums_stride, int64_t row, int64_t rows,
                            int64_t column, int64_t columns, void* scratch, uint32_t* faults);

/* The chain that a program is whose register 0 is the sum. */
Finish finish_of(const pf_program& program);

}  // namespace plain

namespace PF_ISA {

/* Element offset of an index of the output. */
static inline int64_t destination_offset(const Destination& to, const int64_t* index) {
  int64_t offset = 0;
  for (int32_t axis = 0; axis < to.ndim; ++axis) offset += index[axis] * to.output.strides[axis];
  return offset;
}

/* What `supports` asks of the optional epilogue of a kernel whose own operands are the first `own` inputs. */
int32_t epilogue_supported(const pf_step* step, char* why, size_t why_size, int32_t own = 2);
size_t epilogue_state_size(const pf_step* step);
pf_code epilogue_prepare(const pf_step* step, void* state, pf_error* error);

static inline const Epilogue* epilogue_of(const pf_call* call) {
  return call->step->nprograms == 0 ? nullptr : static_cast<const Epilogue*>(call->state);
}

}  // namespace PF_ISA
}  // namespace pf

#endif
