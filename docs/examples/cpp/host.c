/* A C99 host: runs the entry "predict" of a saved plan on a row of ones and prints what comes out.
 *   host model.plan */
#include <stdio.h>
#include <stdlib.h>

#include "pyflow/pyflow.h"

static int fail(const pf_status* status) {
  fprintf(stderr, "%s\n", status->message);
  return 1;
}

int main(int argc, char** argv) {
  const pf_api* pf = pf_get_api(PF_API_VERSION);
  pf_model* model = NULL;
  pf_state* state = NULL;
  pf_context* context = NULL;
  pf_status status;
  if (argc != 2 || !pf) return 2;
  if (pf->model_load(argv[1], &model, &status) != PF_OK) return fail(&status);
  if (pf->state_create(model, &state, &status) != PF_OK) return fail(&status);
  if (pf->context_create(state, "predict", NULL, &context, &status) != PF_OK) return fail(&status);

  pf_tensor input = {.struct_size = sizeof(pf_tensor), .dtype = PF_DTYPE_float32, .ndim = 2, .dims = {2, 4}};
  pf_tensor output = {.struct_size = sizeof(pf_tensor)};
  float ones[8];
  for (int i = 0; i < 8; ++i) ones[i] = 1.0f;
  input.data = ones;
  input.bytes = sizeof(ones);
  if (pf->context_bind(context, &input, 1, &output, 1, &status) != PF_OK) return fail(&status);
  float* result = malloc(output.bytes);
  output.data = result;
  if (pf->context_run(context, &input, 1, &output, 1, NULL, &status) != PF_OK) return fail(&status);
  for (size_t i = 0; i < output.bytes / sizeof(float); ++i) printf("%.9g\n", result[i]);

  free(result);
  pf->context_release(context);
  pf->state_release(state);
  pf->model_release(model);
  return 0;
}
