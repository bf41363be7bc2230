/* A kernel in plain C, outside of pyflow's tree, for the cpu backend: docs/custom_ops.md walks through it.
 *
 * squared_distances   x[n, d], y[m, d] -> z[n, m], float32, any strides
 *                     z[i, j] is the sum over k of (x[i, k] - y[j, k]) squared */
#include <stdio.h>

#include "pyflow/backend.h"

static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  const int fits = step->ninputs == 2 && step->noutputs == 1 && step->inputs[0].ndim == 2 &&
                   step->inputs[1].ndim == 2 && step->outputs[0].ndim == 2;
  if (fits && step->inputs[0].dtype == PF_DTYPE_float32) return 1;
  snprintf(why, why_size, "squared_distances takes two float32 matrices, got dtype %d", step->inputs[0].dtype);
  return 0;
}

/* A task is a row of the result: sizes alone decide, so results do not depend on the number of threads. */
static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const int64_t rows = call->outputs[0].dims[0], columns = call->outputs[0].dims[1], depth = call->inputs[0].dims[1];
  (void)error;
  partition->phases = 1;
  partition->tasks[0] = rows;
  partition->cost = (double)rows * (double)columns * (double)depth;
  return PF_OK;
}

static pf_code run(const pf_call* call, const pf_task* task, pf_error* error) {
  const pf_view *x = &call->inputs[0], *y = &call->inputs[1], *z = &call->outputs[0];
  (void)error;
  for (int64_t i = task->begin; i < task->end; ++i) {
    for (int64_t j = 0; j < z->dims[1]; ++j) {
      const float* a = (const float*)x->data + i * x->strides[0];
      const float* b = (const float*)y->data + j * y->strides[0];
      float sum = 0;
      for (int64_t k = 0; k < x->dims[1]; ++k) {
        const float apart = a[k * x->strides[1]] - b[k * y->strides[1]];
        sum += apart * apart;
      }
      ((float*)z->data)[i * z->strides[0] + j * z->strides[1]] = sum;
    }
  }
  return PF_OK;
}

static const pf_kernel kernel = {"squared_distances", supports, NULL, NULL, partition, run};

__attribute__((visibility("default"))) const pf_kernel* pyflow_plugin_kernel(int32_t index) {
  return index == 0 ? &kernel : NULL;
}
