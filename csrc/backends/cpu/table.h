// What backend.cpp sees of each ISA's objects.
#ifndef PYFLOW_BACKENDS_CPU_TABLE_H
#define PYFLOW_BACKENDS_CPU_TABLE_H

#include "pyflow/backend.h"

namespace pf {

// One row of scalar_ops.def as the ISA's objects were compiled from it; `dtypes` has a bit per pf_dtype code that the
// function takes (of its last argument).
struct ScalarOp {
  const char* name;
  int32_t nargs;
  uint32_t dtypes;
};

#define PF_TABLE(isa)                                                \
  namespace isa {                                                    \
  /* Kernels of family `index`; count is -1 past the last family. */ \
  const pf_kernel* kernel_family(int32_t index, int32_t* count);     \
  const ScalarOp* scalar_op_rows(int32_t* count);                    \
  }
PF_TABLE(portable)
PF_TABLE(avx2)
PF_TABLE(avx512)
#undef PF_TABLE

}  // namespace pf

#endif
