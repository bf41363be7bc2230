/* How a copy is walked. */
#ifndef PYFLOW_BACKENDS_CPU_COPY_PLAN_H
#define PYFLOW_BACKENDS_CPU_COPY_PLAN_H

#include <stdint.h>

#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

// Blocks of rows x columns: columns are adjacent in y (or nearly so), rows are what x has adjacent when its columns
// are not.
struct CopyWalk {
  Loops<2> blocks;  // x, y
  int64_t rows, columns;
  int64_t row_strides[2], column_strides[2];
  int64_t block_rows, block_columns;
  int64_t row_blocks, column_blocks;
  int64_t count;  // blocks
  int64_t blocks_per_task;
};

void plan_walk(const pf_view& x, const pf_view& y, CopyWalk* walk);

}  // namespace PF_ISA
}  // namespace pf

#endif
