// Tells which digit each picture of a file shows: a host of a library that `pyflow compile` made.
//   classifier pictures.bin     (count x 1 x 8 x 8 float32)
#include <algorithm>
#include <cstdio>
#include <vector>

#include "digits.h"

struct alignas(DIGITS_ARENA_ALIGN) Line {
  char bytes[64];
};

int main(int argc, char** argv) {
  std::vector<Line> memory(digits_state_bytes() / 64 + 1), arena(digits_predict_arena_bytes(1, 1) / 64 + 1);
  digits_status status;
  digits_state* state;
  std::FILE* file = argc > 1 ? std::fopen(argv[1], "rb") : nullptr;
  if (file == nullptr) return 2;
  if (digits_state_init(memory.data(), memory.size() * 64, nullptr, 0, &state, &status))
    return std::puts(status.message);
  for (float picture[64], scores[10]; std::fread(picture, sizeof(picture), 1, file) == 1;) {
    if (digits_predict(state, arena.data(), arena.size() * 64, 1, picture, scores, nullptr, &status)) break;
    std::printf("%d\n", static_cast<int>(std::max_element(scores, scores + 10) - scores));
  }
  return std::fclose(file) || status.code ? std::puts(status.message) : 0;
}
