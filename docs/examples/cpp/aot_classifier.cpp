// Tells which digit each picture of a file shows: a host of a library that `pyflow compile` made.
//   classifier pictures.bin     (count x 1 x 8 x 8 float32)
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "digits.h"

int main(int argc, char** argv) {
  std::FILE* file = argc > 1 ? std::fopen(argv[1], "rb") : nullptr;
  if (file == nullptr) return 2;
  digits_status status;
  digits_state* state;
  const size_t state_bytes = digits_state_bytes(), arena_bytes = digits_predict_arena_bytes(1, 1);
  void* memory = std::aligned_alloc(DIGITS_ARENA_ALIGN, (state_bytes + 63) / 64 * 64);
  void* arena = std::aligned_alloc(DIGITS_ARENA_ALIGN, (arena_bytes + 63) / 64 * 64);
  if (digits_state_init(memory, state_bytes, nullptr, 0, &state, &status)) return std::puts(status.message);
  float picture[64], scores[10];
  while (std::fread(picture, sizeof(picture), 1, file) == 1) {
    if (digits_predict(state, arena, arena_bytes, 1, picture, scores, nullptr, &status))
      return std::puts(status.message);
    std::printf("%d\n", static_cast<int>(std::max_element(scores, scores + 10) - scores));
  }
}
