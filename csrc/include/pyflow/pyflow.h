/* libpyflow: runs a plan that Python saved (session.save_plan) in a C or C++ program, without Python.
 *
 * Threads: a model is immutable and shared between threads. A state holds the values of variables: runs that write
 * them take turns, the others share it. A context is one caller's memory: one thread at a time, cheap to make, as many
 * as wanted. There are no hidden threads: a context has those that it is given or asks for.
 * Errors: whatever can fail returns a pf_code and fills the status, which may be NULL. Nothing aborts or throws, and
 * what a failed call would have written is as it was.
 * Ownership: whoever makes a handle releases it; a context keeps its state and model alive, a state its model. A
 * release of NULL does nothing.
 * docs/abi.md says what stays as it is from version to version. */
#ifndef PYFLOW_PYFLOW_H
#define PYFLOW_PYFLOW_H

#include <stddef.h>
#include <stdint.h>

#include "pyflow/backend.h"

#if defined(_WIN32)
#define PF_API __declspec(dllexport)
#else
#define PF_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PF_API_VERSION 1
#define PF_LATE (-1) /* a dim that only the run tells */

typedef struct pf_model pf_model;
typedef struct pf_state pf_state;
typedef struct pf_context pf_context;

/* What went wrong: code is PF_OK and message empty after a call that succeeded. */
typedef struct pf_status {
  pf_code code;
  char message[1020]; /* NUL-terminated UTF-8: what came, what was expected, the next step */
} pf_status;

/* An array: row-major, without gaps. */
typedef struct pf_tensor {
  uint32_t struct_size; /* sizeof(pf_tensor) */
  int32_t dtype;        /* enum pf_dtype */
  int32_t ndim;
  int32_t reserved;
  int64_t dims[PF_MAX_NDIM];
  void* data;   /* aligned to its elements; inputs are only read */
  size_t bytes; /* of the memory at data */
} pf_tensor;

/* A name, a dtype and dims: an input, an output or a variable. Valid as long as the model. */
typedef struct pf_port {
  const char* name;
  int32_t dtype;
  int32_t ndim;
  const char* const* dims; /* one text per axis: "3", "batch", "4*batch + 1" */
} pf_port;

typedef struct pf_entry {
  const char* name;
  int32_t ninputs;
  int32_t noutputs;
  const pf_port* inputs;
  const pf_port* outputs;
  int32_t writes; /* non-zero: a run writes variables */
} pf_entry;

/* Memory on the host, 64-byte aligned. allocate returns NULL when there is none. */
typedef struct pf_allocator {
  uint32_t struct_size;
  void* self;
  void* (*allocate)(void* self, size_t bytes, size_t alignment);
  void (*release)(void* self, void* memory, size_t bytes);
} pf_allocator;

/* Told what pyflow does, one line each; never called unless given. */
typedef struct pf_logger {
  uint32_t struct_size;
  void* self;
  void (*log)(void* self, const char* line);
} pf_logger;

typedef struct pf_context_options {
  uint32_t struct_size;
  int32_t threads;               /* of its own: 1 (and 0) makes none, negative: one per CPU; not with an executor */
  const pf_executor* executor;   /* the host's threads, or NULL; must outlive the context */
  const pf_allocator* allocator; /* of the arena, or NULL; must outlive the context */
  const pf_logger* logger;       /* or NULL; must outlive the context */
} pf_context_options;

typedef struct pf_run_options {
  uint32_t struct_size;
  uint32_t reserved;
  const volatile int32_t* cancel; /* set to non-zero from any thread: the run ends with PF_CANCELLED; or NULL */
  int64_t timeout;                /* nanoseconds, 0 for none: then PF_DEADLINE_EXCEEDED */
} pf_run_options;

/* The functions. New ones are added at the end; struct_size says how many there are. */
typedef struct pf_api {
  uint32_t struct_size;
  uint32_t version;
  const char* (*version_text)(void);

  /* Opens a saved plan. The file is mapped and must not change while the model lives. */
  pf_code (*model_load)(const char* path, pf_model** model, pf_status* status);
  /* The same from memory (64-byte aligned, kept by the caller as long as the model). */
  pf_code (*model_from_memory)(const void* data, size_t bytes, pf_model** model, pf_status* status);
  void (*model_release)(pf_model* model);
  int32_t (*model_entries)(const pf_model* model);
  /* NULL if there is no such entry. */
  const pf_entry* (*model_entry)(const pf_model* model, int32_t index);
  const pf_entry* (*model_find_entry)(const pf_model* model, const char* name);
  int32_t (*model_variables)(const pf_model* model);
  const pf_port* (*model_variable)(const pf_model* model, int32_t index);

  /* Variables start with the values that the file holds; others have none until set. */
  pf_code (*state_create)(const pf_model* model, pf_state** state, pf_status* status);
  void (*state_release)(pf_state* state);
  /* Back to the values of the file. */
  pf_code (*state_reset)(pf_state* state, pf_status* status);
  /* Copies a value out (tensor->data and bytes given, the rest filled in) or in (all given). With data NULL, get only
   * fills in dtype, dims and bytes. */
  pf_code (*state_get)(const pf_state* state, const char* variable, pf_tensor* tensor, pf_status* status);
  pf_code (*state_set)(pf_state* state, const char* variable, const pf_tensor* tensor, pf_status* status);
  /* A checkpoint: the file that Python's train.Saver reads and writes. Written beside and renamed. */
  pf_code (*state_save)(const pf_state* state, const char* path, pf_status* status);
  pf_code (*state_load)(pf_state* state, const char* path, pf_status* status);

  /* options may be NULL. */
  pf_code (*context_create)(pf_state* state, const char* entry, const pf_context_options* options, pf_context** context,
                            pf_status* status);
  void (*context_release)(pf_context* context);
  /* From the inputs' dtypes and dims (data is not looked at) the outputs' dtypes, dims and bytes; PF_LATE dims have 0
   * bytes. Binding is remembered: the next runs at these sizes allocate nothing. */
  pf_code (*context_bind)(pf_context* context, const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs,
                          int32_t noutputs, pf_status* status);
  /* Bytes of memory that runs at the sizes bound last take; late sizes come on top. */
  size_t (*context_bytes)(const pf_context* context);
  /* Runs the entry. Each output's data and bytes are given, its dtype and dims filled in. An output with data NULL
   * stays in the context: its dims and bytes are filled in and context_output copies it, until the next run. No output
   * may overlap an input or another output. options may be NULL. */
  pf_code (*context_run)(pf_context* context, const pf_tensor* inputs, int32_t ninputs, pf_tensor* outputs,
                         int32_t noutputs, const pf_run_options* options, pf_status* status);
  pf_code (*context_output)(const pf_context* context, int32_t index, void* data, size_t bytes, pf_status* status);
} pf_api;

/* The table of that version, NULL if this library has none. The one symbol that libpyflow exports. */
PF_API const pf_api* pf_get_api(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif
