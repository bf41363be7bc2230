/* What is refused gives a code and a message, and leaves outputs and state as they were. C99. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "layer.h"

static _Alignas(64) unsigned char memory[1 << 16];
static _Alignas(64) unsigned char arena[1 << 16];
static layer_status status;
static int failures = 0;

static void expect(const char* what, int32_t got, int32_t wanted, const char* words) {
  if (got == wanted && status.code == wanted && strstr(status.message, words) != NULL) return;
  printf("%s: code %d (status %d), expected %d with '%s' in: %s\n", what, got, status.code, wanted, words,
         status.message);
  ++failures;
}

int main(void) {
  layer_state* state = NULL;
  const size_t bytes = layer_state_bytes();
  float x[8] = {1, 1, 1, 1, 1, 1, 1, 1}, y[6] = {7, 7, 7, 7, 7, 7}, w[12];
  const size_t needed = layer_predict_arena_bytes(2, 1);
  layer_options options = {sizeof(layer_options), 1, NULL, NULL, NULL};
  volatile int32_t cancel = 1;

  expect("no memory", layer_state_init(NULL, bytes, NULL, 0, &state, &status), LAYER_INVALID_ARGUMENT, "NULL");
  expect("no place", layer_state_init(memory, bytes, NULL, 0, NULL, &status), LAYER_INVALID_ARGUMENT, "NULL");
  expect("short memory", layer_state_init(memory, bytes - 1, NULL, 0, &state, &status), LAYER_INVALID_ARGUMENT,
         "needs");
  expect("skewed memory", layer_state_init(memory + 8, bytes, NULL, 0, &state, &status), LAYER_INVALID_ARGUMENT,
         "aligned");
  expect("weights", layer_state_init(memory, bytes, x, sizeof(x), &state, &status), LAYER_INVALID_ARGUMENT, "inside");
  if (state != NULL || bytes > sizeof(memory) || needed > sizeof(arena)) return printf("a refused init gave a state\n");
  expect("good", layer_state_init(memory, bytes, NULL, 0, &state, &status), LAYER_OK, "");

  expect("no state", layer_predict(NULL, arena, needed, 2, x, y, NULL, &status), LAYER_INVALID_ARGUMENT, "state");
  expect("no input", layer_predict(state, arena, needed, 2, NULL, y, NULL, &status), LAYER_INVALID_ARGUMENT, "x");
  expect("no output", layer_predict(state, arena, needed, 2, x, NULL, NULL, &status), LAYER_INVALID_ARGUMENT, "y");
  expect("no arena", layer_predict(state, NULL, needed, 2, x, y, NULL, &status), LAYER_INVALID_ARGUMENT, "arena");
  expect("short arena", layer_predict(state, arena, needed - 1, 2, x, y, NULL, &status), LAYER_INVALID_ARGUMENT,
         "arena");
  expect("skewed arena", layer_predict(state, arena + 4, needed, 2, x, y, NULL, &status), LAYER_INVALID_ARGUMENT,
         "aligned");
  expect("negative", layer_predict(state, arena, needed, -1, x, y, NULL, &status), LAYER_INVALID_ARGUMENT, "batch");
  expect("huge", layer_predict(state, arena, needed, INT64_MAX / 2, x, y, NULL, &status), LAYER_INVALID_ARGUMENT,
         "batch");
  expect("overlap", layer_predict(state, arena, needed, 2, x, x + 1, NULL, &status), LAYER_INVALID_ARGUMENT,
         "overlaps");
  expect("skewed", layer_predict(state, arena, needed, 1, (const float*)((const char*)x + 2), y, NULL, &status),
         LAYER_INVALID_ARGUMENT, "aligned");
  options.struct_size = 4;
  expect("options", layer_predict(state, arena, needed, 2, x, y, &options, &status), LAYER_INVALID_ARGUMENT, "size");
  options.struct_size = sizeof(options);
  options.threads = 3;
  expect("threads", layer_predict(state, arena, needed, 2, x, y, &options, &status), LAYER_INVALID_ARGUMENT,
         "parallel_for");
  options.threads = 1;
  options.cancel = &cancel;
  expect("cancelled", layer_predict(state, arena, needed, 2, x, y, &options, &status), LAYER_CANCELLED, "cancelled");
  for (int i = 0; i < 6; ++i)
    if (y[i] != 7) return printf("a refused run wrote an output\n");

  expect("no variable", layer_state_get(state, "v", w, sizeof(w), &status), LAYER_NOT_FOUND, "v");
  expect("NULL variable", layer_state_get(state, NULL, w, sizeof(w), &status), LAYER_NOT_FOUND, "NULL");
  expect("short value", layer_state_get(state, "w", w, 4, &status), LAYER_INVALID_ARGUMENT, "48 bytes");
  expect("no value", layer_state_set(state, "w", NULL, sizeof(w), &status), LAYER_INVALID_ARGUMENT, "NULL");
  expect("no state", layer_state_reset(NULL, &status), LAYER_INVALID_ARGUMENT, "state");
  if (layer_predict(NULL, NULL, 0, 0, NULL, NULL, NULL, NULL) != LAYER_INVALID_ARGUMENT) ++failures;
  if (layer_predict_arena_bytes(-5, 1) != 0) ++failures;

  expect("runs", layer_predict(state, arena, needed, 2, x, y, NULL, &status), LAYER_OK, "");
  expect("nothing", layer_predict(state, arena, needed, 0, NULL, NULL, NULL, &status), LAYER_OK, "");
  if (y[0] == 7 || y[0] != y[3]) ++failures;
  if (failures == 0) puts("all as expected");
  return failures;
}
