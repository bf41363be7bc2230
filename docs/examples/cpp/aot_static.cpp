// A model in memory that is there from the start: for programs without an allocator, exceptions, RTTI or threads.
//   c++ -std=c++17 -Os -fno-exceptions -fno-rtti aot_static.cpp libfixed.a -lm
// `fixed` has the entry "predict" of an input of 3 x 4 and an output of 3 x 3 float32; every size is known, so the
// header tells how much memory it takes.
#include <cstdio>

#include "fixed.h"

alignas(FIXED_ARENA_ALIGN) static unsigned char memory[FIXED_STATE_BYTES];
alignas(FIXED_ARENA_ALIGN) static unsigned char arena[FIXED_ARENA_BYTES];

int main() {
  fixed_status status;
  fixed_state* state = nullptr;
  if (fixed_state_init(memory, sizeof(memory), nullptr, 0, &state, &status)) return std::puts(status.message);
  float x[3 * 4], y[3 * 3];
  for (int i = 0; i < 12; ++i) x[i] = static_cast<float>(i) / 8;
  if (fixed_predict(state, arena, sizeof(arena), x, y, nullptr, &status)) return std::puts(status.message);
  for (float value : y) std::printf("%.9g\n", static_cast<double>(value));
}
