/* What a backend, or a kernel in a plugin, fills in. Plain C; layouts only grow at the end (struct_size tells).
 *
 * A plan's steps are cut into segments: maximal runs of steps of one backend, ending after a step that defines a
 * size. For each segment the executor calls
 *   prepare   once per plan                  (look kernels up, compile programs)
 *   bind      once per context and sizes     (choose variants, count tasks and scratch)
 *   run       each time                      (no allocation, no lock)
 * One bound segment is run by one caller at a time; prepared segments are shared between threads. */
#ifndef PYFLOW_BACKEND_H
#define PYFLOW_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "pyflow/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PF_BACKEND_ABI 1
#define PF_MAX_NDIM 16
#define PF_MAX_PHASES 4
#define PF_UNKNOWN INT64_MIN /* an int attribute not known before binding, as `supports` sees it */

typedef enum pf_code {
  PF_OK = 0,
  PF_INVALID_ARGUMENT = 1,
  PF_OUT_OF_RANGE = 2,
  PF_FAILED_PRECONDITION = 3,
  PF_NOT_FOUND = 4,
  PF_UNIMPLEMENTED = 5,
  PF_RESOURCE_EXHAUSTED = 6,
  PF_DEADLINE_EXCEEDED = 7,
  PF_CANCELLED = 8,
  PF_DATA_LOSS = 9,
  PF_INTERNAL = 10
} pf_code;

/* Filled by whoever returns a code other than PF_OK. */
typedef struct pf_error {
  int32_t step;      /* index within the segment, -1 if it is not about one step */
  char message[500]; /* NUL-terminated UTF-8: what came and what was expected */
} pf_error;

/* A strided window on a buffer. Strides count elements and may be 0 (broadcast) or negative. */
typedef struct pf_view {
  void* data;
  const int64_t* dims;
  const int64_t* strides;
  int32_t ndim;
  int32_t dtype;
} pf_view;

/* Element-wise programs: a straight line of scalar functions. Registers 0..ninputs-1 are the inputs; instruction i
 * writes register ninputs+i. `op` is a row of scalar_ops.def, "const" (imm holds the bits of the value) or "cast". */
typedef struct pf_instr {
  const char* op;
  int32_t dtype; /* of the result */
  int32_t nargs;
  int32_t args[4];
  uint64_t imm;
} pf_instr;

typedef struct pf_program {
  int32_t ninputs;
  int32_t ninstrs;
  int32_t noutputs;
  const pf_instr* instrs;
  const int32_t* outputs;         /* registers */
  const int32_t* register_dtypes; /* ninputs + ninstrs */
} pf_program;

typedef struct pf_operand {
  int32_t dtype;
  int32_t ndim;
} pf_operand;

/* What is known of a step before sizes are. `ints` may hold PF_UNKNOWN. */
typedef struct pf_step {
  const char* kernel;
  const char* text;   /* a message (assert, print), "" otherwise */
  const char* origin; /* the user's line, for messages */
  int32_t ninputs;
  int32_t noutputs;
  int32_t nints;
  int32_t nfloats;
  int32_t nprograms;
  int32_t ndefines;
  const pf_operand* inputs;
  const pf_operand* outputs;
  const int64_t* ints;
  const double* floats;
  const pf_program* programs;
} pf_step;

/* A step at known sizes. In bind, `data` pointers are NULL. */
typedef struct pf_call {
  const pf_step* step;
  const pf_view* inputs;
  const pf_view* outputs;
  const int64_t* ints;
  int64_t* defines; /* values of the sizes that this step defines, written by it */
  void* state;      /* the kernel's, made by `prepare` */
} pf_call;

/* How a call is cut: by sizes alone, never by the number of threads. Phases run one after the other; the tasks of a
 * phase run in any order on any thread. */
typedef struct pf_partition {
  int32_t phases;
  int64_t tasks[PF_MAX_PHASES];
  size_t thread_scratch; /* bytes that each thread gets, 64-byte aligned */
  size_t shared_scratch; /* bytes that all tasks of the call share, kept from phase to phase */
  double cost;           /* rough single-thread time in nanoseconds */
} pf_partition;

typedef struct pf_task {
  int32_t phase;
  int64_t begin, end; /* tasks [begin, end) of the phase */
  void* thread_scratch;
  void* shared_scratch;
} pf_task;

/* One kernel: built in, or a user's in a plugin. */
typedef struct pf_kernel {
  const char* name;
  /* Non-zero if it runs this step; else a reason in `why`. */
  int32_t (*supports)(const pf_step* step, char* why, size_t why_size);
  /* Optional: bytes of state, then its filling. NULL when the kernel keeps none. */
  size_t (*state_size)(const pf_step* step);
  pf_code (*prepare)(const pf_step* step, void* state, pf_error* error);
  pf_code (*partition)(const pf_call* call, pf_partition* partition, pf_error* error);
  pf_code (*run)(const pf_call* call, const pf_task* task, pf_error* error);
} pf_kernel;

typedef struct pf_segment {
  int32_t nsteps;
  const pf_step* steps;
} pf_segment;

/* An operand of a bound segment: where it is once `buffers` are known. */
typedef struct pf_place {
  int32_t buffer;
  int64_t offset; /* bytes */
  const int64_t* dims;
  const int64_t* strides;
} pf_place;

typedef struct pf_step_sizes {
  const pf_place* inputs;
  const pf_place* outputs;
  const int64_t* ints;
  int64_t* defines;
} pf_step_sizes;

typedef struct pf_needs {
  size_t scratch; /* bytes the executor must lend to `run` */
  double cost;    /* rough single-thread time in nanoseconds */
} pf_needs;

/* Threads, ours or the host's. `parallel_for` calls body(arg, task, thread) for each task in [0, ntasks), thread in
 * [0, nthreads), and returns when all are done. `gang` is the runtime's own pool or NULL for a host's. */
typedef struct pf_executor {
  uint32_t struct_size;
  int32_t nthreads;
  void* self;
  void (*parallel_for)(void* self, int64_t ntasks, void (*body)(void* arg, int64_t task, int32_t thread), void* arg);
  void* gang;
} pf_executor;

/* Told of every step when present: tracing, numeric checks, watching. A code other than PF_OK stops the run. */
typedef struct pf_observer {
  void* self;
  pf_code (*before)(void* self, int32_t step, const pf_call* call, pf_error* error);
  pf_code (*after)(void* self, int32_t step, const pf_call* call, pf_error* error);
} pf_observer;

typedef struct pf_run {
  void* const* buffers;
  void* scratch;
  const pf_executor* executor;
  const volatile int32_t* cancel; /* non-zero: stop between steps with PF_CANCELLED */
  int64_t deadline;               /* CLOCK_MONOTONIC nanoseconds, 0 for none */
  int32_t last_cancellable;       /* steps after this index are neither cancelled nor timed out */
  const pf_observer* observer;    /* NULL for none */
} pf_run;

typedef enum pf_direction { PF_TO_DEVICE = 0, PF_TO_HOST = 1, PF_WITHIN = 2 } pf_direction;

typedef struct pf_backend {
  uint32_t struct_size;
  uint32_t abi; /* PF_BACKEND_ABI */
  const char* name;
  int32_t host_memory; /* non-zero: its buffers are ordinary host memory, shared with other such backends */
  void* self;
  int32_t (*supports)(void* self, const pf_step* step, char* why, size_t why_size);
  /* Memory of its own; not called when host_memory is set. */
  void* (*allocate)(void* self, size_t bytes);
  void (*release)(void* self, void* memory, size_t bytes);
  pf_code (*copy)(void* self, void* to, const void* from, size_t bytes, pf_direction direction, pf_error* error);
  pf_code (*prepare)(void* self, const pf_segment* segment, void** prepared, pf_error* error);
  void (*unprepare)(void* self, void* prepared);
  pf_code (*bind)(void* self, void* prepared, const pf_step_sizes* sizes, void** bound, pf_needs* needs,
                  pf_error* error);
  void (*unbind)(void* self, void* bound);
  pf_code (*run)(void* self, void* bound, const pf_run* run, pf_error* error);
} pf_backend;

/* The one symbol that a backend plugin exports. `index` counts from 0; NULL ends the list. */
typedef const pf_backend* (*pf_plugin_backend_fn)(int32_t index);
#define PF_PLUGIN_BACKEND_SYMBOL "pyflow_plugin_backend"
/* Likewise for single kernels that join the cpu backend. */
typedef const pf_kernel* (*pf_plugin_kernel_fn)(int32_t index);
#define PF_PLUGIN_KERNEL_SYMBOL "pyflow_plugin_kernel"

#ifdef __cplusplus
}
#endif

#endif
