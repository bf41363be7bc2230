// Floats of 16 bits and less: to float32, exactly, and from it, rounded to the nearest, ties to even.
#ifndef PYFLOW_KERNELS_NARROW_FLOATS_H
#define PYFLOW_KERNELS_NARROW_FLOATS_H

#include "kernels/scalar_math.h"

namespace pf {
namespace PF_ISA {
namespace narrow {

// What the bit patterns at the top of the range mean.
enum class Specials {
  kIeee,  // infinities, then NaNs
  kNan,   // all ones is NaN; no infinity
  kZero,  // the pattern of -0 is NaN; no infinity, no -0
  kNone   // all are numbers; NaN becomes 0 of the other sign, as in ml_dtypes
};

template <typename Storage, int kExponentBits, int kMantissaBits, int kExponentBias, Specials kMeaning>
struct Format {
  typedef Storage Bits;
  static constexpr int kMantissa = kMantissaBits;
  static constexpr int kBias = kExponentBias;
  static constexpr Specials kSpecials = kMeaning;
  static constexpr uint32_t kSign = 1u << (kExponentBits + kMantissaBits);
  static constexpr uint32_t kInfinity = ((1u << kExponentBits) - 1u) << kMantissaBits;
  // The pattern of the largest number.
  static constexpr uint32_t kLargest = kMeaning == Specials::kIeee  ? kInfinity - 1u
                                       : kMeaning == Specials::kNan ? kSign - 2u
                                                                    : kSign - 1u;
  static constexpr bool kExponentOnly = false;
  static constexpr bool kInHardware = sizeof(Storage) == 2 && kMantissaBits == 10;
};

typedef Format<uint16_t, 5, 10, 15, Specials::kIeee> float16;
typedef Format<uint16_t, 8, 7, 127, Specials::kIeee> bfloat16;
typedef Format<uint8_t, 4, 3, 7, Specials::kNan> float8_e4m3fn;
typedef Format<uint8_t, 4, 3, 8, Specials::kZero> float8_e4m3fnuz;
typedef Format<uint8_t, 5, 2, 15, Specials::kIeee> float8_e5m2;
typedef Format<uint8_t, 5, 2, 16, Specials::kZero> float8_e5m2fnuz;
typedef Format<uint8_t, 2, 1, 1, Specials::kNone> float4_e2m1fn;
// Powers of two from 2^-127, and NaN: no sign, no mantissa, no 0.
struct float8_e8m0fnu {
  typedef uint8_t Bits;
  static constexpr bool kExponentOnly = true;
  static constexpr bool kInHardware = false;
};

PF_FUNCTION float decode_exponent(uint32_t stored) {
  const uint32_t bits = stored == 0 ? 0x00400000u : stored << 23;
  return math::from_bits(stored == 255 ? 0x7FC00000u : bits);
}

template <typename F>
PF_FUNCTION float decode_bits(uint32_t stored) {
  const uint32_t magnitude = stored & (F::kSign - 1u);
  const uint32_t sign = (stored & F::kSign) != 0 ? 0x80000000u : 0u;
  const uint32_t bits = magnitude << (23 - F::kMantissa);
  uint32_t result = bits;
  if constexpr (F::kBias != 127) {
    // Subnormals too: the product with a power of two is exact.
    result = math::bits_of(math::from_bits(bits) * math::power_of_two32(127u - F::kBias));
    if constexpr (F::kSpecials == Specials::kIeee) result = magnitude >= F::kInfinity ? bits | 0x7F800000u : result;
    if constexpr (F::kSpecials == Specials::kNan) result = magnitude > F::kLargest ? 0x7FC00000u : result;
    if constexpr (F::kSpecials == Specials::kZero) result = stored == F::kSign ? 0x7FC00000u : result;
  }
  return math::from_bits(result | sign);
}

template <typename F>
PF_FUNCTION float decode(typename F::Bits stored) {
  if constexpr (F::kExponentOnly) {
    return decode_exponent(stored);
  } else {
    return decode_bits<F>(stored);
  }
}

template <typename F, bool kSaturate>
PF_FUNCTION uint32_t encode_bits(float x) {
  const uint32_t all = math::bits_of(x);
  const uint32_t sign = (all >> 31) != 0 ? F::kSign : 0u;
  const uint32_t bits = all & 0x7FFFFFFFu;
  constexpr int kDropped = 23 - F::kMantissa;
  const uint32_t odd = (bits >> kDropped) & 1u;
  constexpr uint32_t kRebias = static_cast<uint32_t>(127 - F::kBias) << 23;
  uint32_t rounded = (bits - kRebias + ((1u << (kDropped - 1)) - 1u) + odd) >> kDropped;
  if constexpr (F::kBias != 127) {
    // Below the least normal number the sum with this one rounds to a multiple of the least subnormal.
    constexpr uint32_t kShift = static_cast<uint32_t>(1 - F::kBias + kDropped + 127) << 23;
    const uint32_t subnormal = math::bits_of(math::from_bits(bits) + math::from_bits(kShift)) - kShift;
    constexpr uint32_t kLeastNormal = static_cast<uint32_t>(1 - F::kBias + 127) << 23;
    rounded = bits < kLeastNormal ? subnormal : rounded;
  }
  constexpr bool kStays = F::kSpecials == Specials::kNone || kSaturate;
  constexpr uint32_t kOver = kStays ? F::kLargest : F::kSpecials == Specials::kZero ? F::kSign : F::kLargest + 1u;
  constexpr uint32_t kNan = F::kSpecials == Specials::kIeee  ? F::kInfinity | 1u << (F::kMantissa - 1)
                            : F::kSpecials == Specials::kNan ? F::kSign - 1u
                                                             : F::kSign;
  rounded = rounded > F::kLargest ? kOver : rounded;
  rounded = bits > 0x7F800000u ? kNan : rounded;
  const bool unsigned_zero = F::kSpecials == Specials::kZero && (rounded == 0u || rounded == F::kSign);
  return rounded ^ (unsigned_zero ? 0u : sign);
}

// Halves go up; 0, negative numbers and what is too large become NaN, as in ml_dtypes.
template <bool kSaturate>
PF_FUNCTION uint32_t encode_exponent(float x) {
  const uint32_t bits = math::bits_of(x);
  const uint32_t normal = (bits + 0x00400000u) >> 23;
  const uint32_t tiny = bits > 0x00400000u ? 1u : 0u;
  uint32_t result = bits < 0x00800000u ? tiny : normal;
  if constexpr (kSaturate) result = result > 254u ? 254u : result;
  return (bits - 1u) >= (kSaturate ? 0x7F800000u : 0x7F7FFFFFu) ? 255u : result;
}

// `kSaturate` makes a difference where one byte is stored.
template <typename F, bool kSaturate>
PF_FUNCTION uint32_t encode(float x) {
  if constexpr (F::kExponentOnly) {
    return encode_exponent<kSaturate>(x);
  } else {
    return encode_bits < F, kSaturate && sizeof(typename F::Bits) == 1 > (x);
  }
}

// The first elements, as many as come in whole vectors, by the machine's own conversion; their number.
static inline int64_t decode_half(float* to, const uint16_t* from, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#else
  (void)to, (void)from, (void)n;
#endif
  return i;
}
static inline int64_t encode_half(uint16_t* to, const float* from, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  (void)to, (void)from, (void)n;
#endif
  return i;
}

// float32 towards zero, with an odd last bit unless exact: rounded again to fewer bits, that is as if rounded once.
PF_FUNCTION float to_odd(double x) {
  const float near = static_cast<float>(x);
  const double back = static_cast<double>(near);
  const bool inexact = back != x && x == x;
  const uint32_t beyond = math::absolute(back) > math::absolute(x) ? 1u : 0u;
  const uint32_t bits = math::bits_of(near);
  return math::from_bits(inexact ? (bits - beyond) | 1u : bits);
}
PF_FUNCTION double odd_double(uint64_t x) {
  const uint64_t kept = (x & ~uint64_t{0x7FF}) | ((x & 0x7FF) != 0 ? 0x800u : 0u);
  return static_cast<double>((x >> 53) != 0 ? kept : x);
}
PF_FUNCTION float to_odd(uint64_t x) {
  return to_odd(odd_double(x));
}
PF_FUNCTION float to_odd(int64_t x) {
  const double size = odd_double(x < 0 ? uint64_t{0} - static_cast<uint64_t>(x) : static_cast<uint64_t>(x));
  return to_odd(x < 0 ? -size : size);
}
PF_FUNCTION float to_odd(int32_t x) {
  return to_odd(static_cast<double>(x));
}

}  // namespace narrow
}  // namespace PF_ISA
}  // namespace pf

#endif
