// Casts between any two real dtypes, as one to three tile operations: narrow types widen exactly, change kind in the
// middle and are rounded or cut once at the end.
#ifndef PYFLOW_BACKENDS_CPU_CASTS_H
#define PYFLOW_BACKENDS_CPU_CASTS_H

#include "backends/cpu/tile_ops.h"

namespace pf {
namespace PF_ISA {

constexpr int32_t kMaxCastStages = 3;

// The stages of a cast, in order; their number, 0 if there is no such cast. `saturate`: what is too large for a float8
// becomes its largest number.
int32_t find_cast(int32_t from, int32_t to, bool saturate, TileOp* stages);

}  // namespace PF_ISA
}  // namespace pf

#endif
