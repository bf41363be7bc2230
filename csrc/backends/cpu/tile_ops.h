// The scalar functions as loops over a tile, one function pointer per row of scalar_ops.def and dtype.
#ifndef PYFLOW_BACKENDS_CPU_TILE_OPS_H
#define PYFLOW_BACKENDS_CPU_TILE_OPS_H

#include <stdint.h>

#include "pyflow/dtype.h"

namespace pf {
namespace PF_ISA {

// out[i] = function(args[0][i], ...) for i < n; `out` may be one of the args. Faults are or-ed (kernels/program.h).
typedef void (*TileOp)(void* out, const void* const* args, int64_t n, uint32_t* faults);

// Dtypes that programs compute with (every dtype is loaded, stored, cast and chosen), in the order of the tables.
constexpr int32_t kTileDtypes[] = {PF_DTYPE_bool,   PF_DTYPE_int32,   PF_DTYPE_int64,
                                   PF_DTYPE_uint64, PF_DTYPE_float32, PF_DTYPE_float64};
constexpr int32_t kTileDtypeCount = 6;

// -1 for a dtype that programs do not compute with.
static inline int32_t tile_dtype_index(int32_t dtype) {
  for (int32_t index = 0; index < kTileDtypeCount; ++index)
    if (kTileDtypes[index] == dtype) return index;
  return -1;
}

struct TileOpRow {
  const char* name;
  int32_t nargs;
  int32_t returns_bool;
  TileOp loops[kTileDtypeCount];  // by dtype of the last argument, NULL where there is none
  double cost;                    // rough nanoseconds per element
};

const TileOpRow* tile_op_rows(int32_t* count);
const TileOpRow* find_tile_op(const char* name);
// The choice by a bool between elements of `bytes` each: any dtype. NULL if there are no elements of that size.
TileOp find_where(int64_t bytes);

}  // namespace PF_ISA
}  // namespace pf

#endif
