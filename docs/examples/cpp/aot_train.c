/* Trains the digits model in C, with no Python: the train step is an entry of the compiled library. C11.
 *   train folder train_count test_count steps batch     writes folder/weights.bin, the variables one after the other
 * The folder holds {train,test}_images.bin (count x 1 x 8 x 8 float32) and {train,test}_labels.bin (count int64). */
#include <stdio.h>
#include <stdlib.h>

#include "digits.h"

static const struct {
  const char* name;
  size_t count;
} variables[] = {{"conv1_w", 32 * 9},      {"conv1_b", 32}, {"conv2_w", 32 * 32 * 9}, {"conv2_b", 32},
                 {"conv3_w", 64 * 32 * 9}, {"conv3_b", 64}, {"hidden_w", 256 * 128},  {"hidden_b", 128},
                 {"out_w", 128 * 10},      {"out_b", 10}};
static float value[256 * 128];

static void fail(const char* why) {
  printf("%s\n", why);
  exit(1);
}

static void* aligned(size_t bytes) {
  void* memory = aligned_alloc(DIGITS_ARENA_ALIGN, (bytes + 63) / 64 * 64);
  if (memory == NULL) fail("there is no memory");
  return memory;
}

static void* read_file(const char* folder, const char* name, size_t bytes) {
  char path[1024];
  void* data = aligned(bytes);
  snprintf(path, sizeof(path), "%s/%s.bin", folder, name);
  FILE* file = fopen(path, "rb");
  if (file == NULL || fread(data, 1, bytes, file) != bytes) fail(path);
  fclose(file);
  return data;
}

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const char* folder = argv[1];
  const int64_t train_count = atoll(argv[2]), test_count = atoll(argv[3]), steps = atoll(argv[4]),
                batch = atoll(argv[5]);
  float* images = read_file(folder, "train_images", (size_t)train_count * 64 * sizeof(float));
  int64_t* labels = read_file(folder, "train_labels", (size_t)train_count * sizeof(int64_t));
  float* test_images = read_file(folder, "test_images", (size_t)test_count * 64 * sizeof(float));
  int64_t* test_labels = read_file(folder, "test_labels", (size_t)test_count * sizeof(int64_t));

  digits_status status;
  digits_state* state = NULL;
  void* memory = aligned(digits_state_bytes());
  if (digits_state_init(memory, digits_state_bytes(), NULL, 0, &state, &status)) fail(status.message);

  const size_t step_bytes = digits_train_step_arena_bytes(batch, 1);
  const size_t test_bytes = digits_predict_arena_bytes(test_count, 1);
  const size_t arena_bytes = step_bytes > test_bytes ? step_bytes : test_bytes;
  void* arena = aligned(arena_bytes);
  const float rate = 1e-3f;
  float loss = 0;
  for (int64_t turn = 0; turn < steps; ++turn) {
    const int64_t first = turn * batch % (train_count - batch + 1);
    if (digits_train_step(state, arena, arena_bytes, batch, images + first * 64, labels + first, &rate, &loss, NULL,
                          &status))
      fail(status.message);
  }

  float* scores = aligned((size_t)test_count * 10 * sizeof(float));
  if (digits_predict(state, arena, arena_bytes, test_count, test_images, scores, NULL, &status)) fail(status.message);
  int64_t right = 0;
  for (int64_t i = 0; i < test_count; ++i) {
    int best = 0;
    for (int digit = 1; digit < 10; ++digit)
      if (scores[i * 10 + digit] > scores[i * 10 + best]) best = digit;
    right += best == test_labels[i];
  }

  char path[1024];
  snprintf(path, sizeof(path), "%s/weights.bin", folder);
  FILE* file = fopen(path, "wb");
  for (size_t i = 0; file != NULL && i < sizeof(variables) / sizeof(variables[0]); ++i) {
    const size_t bytes = variables[i].count * sizeof(float);
    if (digits_state_get(state, variables[i].name, value, bytes, &status)) fail(status.message);
    if (fwrite(value, bytes, 1, file) != 1) fail(path);
  }
  if (file == NULL || fclose(file) != 0) fail(path);
  printf("loss %.4f, accuracy %.4f\n", (double)loss, (double)right / (double)test_count);
  void* all[] = {images, labels, test_images, test_labels, memory, arena, scores};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); ++i) free(all[i]);
  return 0;
}
