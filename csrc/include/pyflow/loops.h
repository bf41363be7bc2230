/* What a generated library has in the place of a program's instructions: a compiled loop for the whole program. */
#ifndef PYFLOW_LOOPS_H
#define PYFLOW_LOOPS_H

#include "pyflow/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* outputs[k][i] = what the program computes of inputs[..][i], i < n. An output is an input's memory or apart from all.
 * Faults are or-ed (kernels/program.h). */
typedef void (*pf_loop)(void* const* outputs, const void* const* inputs, int64_t n, uint32_t* faults);

typedef struct pf_loops {
  pf_instr head;    /* a program's `instrs` points here */
  pf_loop loops[3]; /* portable, avx2, avx512 */
  double cost;      /* rough nanoseconds per element */
  const char* anchors[3];
  const pf_instr* instrs; /* what the loop computes, where a kernel may do it itself: in an epilogue; else NULL */
} pf_loops;

#ifdef __cplusplus
}
#endif

#endif
