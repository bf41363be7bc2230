/* What the machine can do at most: multiply-adds that wait for nothing, and streams of memory. */
#include <stdint.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float lanes __attribute__((vector_size(BYTES)));
enum { kChains = 12, kLanes = BYTES / 4 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Floating-point operations per second of `turns` rounds of independent multiply-adds. */
double multiply_adds(int64_t turns, float* sink) {
  lanes sums[kChains], factor, one;
  for (int l = 0; l < kLanes; ++l) {
    factor[l] = 0.999f;
    one[l] = 0.001f;
  }
  for (int c = 0; c < kChains; ++c) sums[c] = one;
  const double begin = now();
  for (int64_t t = 0; t < turns; ++t) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * factor + one;
  }
  const double seconds = now() - begin;
  lanes all = sums[0];
  for (int c = 1; c < kChains; ++c) all += sums[c];
  *sink = all[0];
  return 2.0 * kChains * kLanes * (double)turns / seconds;
}

/* Bytes read and written per second while `count` floats are copied `turns` times. */
double copy(int64_t count, int64_t turns, const float* from, float* to) {
  const double begin = now();
  for (int64_t t = 0; t < turns; ++t) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    __asm__ volatile("" ::: "memory");
  }
  return 8.0 * (double)count * (double)turns / (now() - begin);
}
