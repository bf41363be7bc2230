// A static arena, no threads, no exceptions: once started, nothing is allocated.
#include <cstdio>
#include <cstdlib>

#include "fixed.h"

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

static long count = 0;

extern "C" void* malloc(size_t size) {
  ++count;
  return __libc_malloc(size);
}
extern "C" void* calloc(size_t number, size_t size) {
  ++count;
  return __libc_calloc(number, size);
}
extern "C" void* realloc(void* memory, size_t size) {
  ++count;
  return __libc_realloc(memory, size);
}
extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  ++count;
  return __libc_memalign(alignment, size);
}

alignas(FIXED_ARENA_ALIGN) static unsigned char memory[FIXED_STATE_BYTES];
alignas(FIXED_ARENA_ALIGN) static unsigned char arena[FIXED_ARENA_BYTES];

int main() {
  float x[12], y[9];
  for (int i = 0; i < 12; ++i) x[i] = static_cast<float>(i) / 8;
  const long before = count;
  fixed_status status;
  fixed_state* state = nullptr;
  if (fixed_state_init(memory, sizeof(memory), nullptr, 0, &state, &status) != FIXED_OK)
    return std::puts(status.message);
  for (int turn = 0; turn < 100; ++turn) {
    if (fixed_predict(state, arena, sizeof(arena), x, y, nullptr, &status) != FIXED_OK)
      return std::puts(status.message);
    if (fixed_grow(state, arena, sizeof(arena), nullptr, &status) != FIXED_OK) return std::puts(status.message);
  }
  const long after = count;
  if (after != before) std::printf("%ld allocations\n", after - before);
  for (float value : y) std::printf("%.9g\n", static_cast<double>(value));
  return after != before;
}
