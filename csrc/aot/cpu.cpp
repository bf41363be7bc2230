// What the CPU has. A file of its own, so that a program may bring another answer.
#include <cpuid.h>

#include "aot/state.h"

namespace pf {
namespace aot {

namespace {

struct Cpu {
  uint32_t a, b, c, d;
};

Cpu cpuid(uint32_t leaf, uint32_t sub) {
  Cpu cpu{0, 0, 0, 0};
  __cpuid_count(leaf, sub, cpu.a, cpu.b, cpu.c, cpu.d);
  return cpu;
}

// What the operating system saves of the vector registers.
uint32_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

constexpr uint32_t kBaseline = bit_SSE3 | bit_SSSE3 | bit_CMPXCHG16B | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT;
constexpr uint32_t kAvx2 = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C;
constexpr uint32_t kAvx2Leaf7 = bit_BMI | bit_AVX2 | bit_BMI2;
constexpr uint32_t kAvx512Leaf7 = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
constexpr uint32_t kYmm = 0x6, kZmm = 0xe6;

bool has(uint32_t word, uint32_t bits) {
  return (word & bits) == bits;
}

}  // namespace

int32_t machine_isa() {
  const uint32_t last = cpuid(0, 0).a, last_extended = cpuid(0x80000000u, 0).a;
  if (last < 1 || last_extended < 0x80000001u) return -1;
  const Cpu one = cpuid(1, 0), extended = cpuid(0x80000001u, 0);
  if (!has(one.c, kBaseline) || !has(extended.c, bit_LAHF_LM)) return -1;
  if (last < 7 || !has(one.c, kAvx2) || !has(extended.c, bit_ABM)) return 0;
  const uint32_t leaf7 = cpuid(7, 0).b, saved = saved_registers();
  if (!has(leaf7, kAvx2Leaf7) || !has(saved, kYmm)) return 0;
  return has(leaf7, kAvx512Leaf7) && has(saved, kZmm) ? 2 : 1;
}

}  // namespace aot
}  // namespace pf
