// How a copy is walked. Nothing here takes long, so it is compiled to be small.
#include "backends/cpu/copy_plan.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int64_t kCopyTaskBytes = 64 * 1024;
constexpr int64_t kTransposeTile = 64;

}  // namespace

void plan_walk(const pf_view& x, const pf_view& y, CopyWalk* walk) {
  const int64_t bytes = element_size(x.dtype);
  for (int32_t i = 0; i < x.ndim; ++i) walk->blocks.push(x.dims[i], {x.strides[i], y.strides[i]});
  walk->blocks.sort(1);
  walk->blocks.pop(&walk->columns, walk->column_strides);
  int32_t nearest = walk->blocks.ndim - 1;
  if (walk->column_strides[0] != 1) {
    for (int32_t i = 0; i < walk->blocks.ndim; ++i) {
      if (magnitude(walk->blocks.strides[0][i]) == 1) nearest = i;
    }
  }
  if (nearest >= 0) walk->blocks.move_to_end(nearest);
  walk->blocks.pop(&walk->rows, walk->row_strides);
  const bool runs = walk->column_strides[0] == 1 && walk->column_strides[1] == 1;
  const int64_t task_elements = kCopyTaskBytes / bytes;
  walk->block_columns = minimum_of(walk->columns, runs ? task_elements : kTransposeTile);
  walk->block_rows =
      minimum_of(walk->rows, runs ? maximum_of(1, task_elements / maximum_of(1, walk->columns)) : kTransposeTile);
  walk->row_blocks = ceildiv(walk->rows, maximum_of(1, walk->block_rows));
  walk->column_blocks = ceildiv(walk->columns, maximum_of(1, walk->block_columns));
  walk->count = walk->blocks.count() * walk->row_blocks * walk->column_blocks;
  walk->blocks_per_task = maximum_of(1, task_elements / maximum_of(1, walk->block_rows * walk->block_columns));
}

}  // namespace PF_ISA
}  // namespace pf
