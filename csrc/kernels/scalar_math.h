// Transcendental functions as branch-free scalar code that a compiler can vectorise. float32 is ours throughout;
// float64 is ours for exp and log and libm's for the rest. Bounds are in docs/numerics.md and tested.
#ifndef PYFLOW_KERNELS_SCALAR_MATH_H
#define PYFLOW_KERNELS_SCALAR_MATH_H

#include <stdint.h>
#include <string.h>

#include "kernels/simd.h"

// Not every compiler has a builtin for it, and <math.h> brings the C++ library.
extern "C" double lgamma_r(double x, int* sign) noexcept;

#ifdef __CUDACC__
#define PF_FUNCTION static __device__ __forceinline__
#else
#define PF_FUNCTION __attribute__((always_inline)) static inline
#endif

namespace pf {
namespace PF_ISA {
namespace math {

PF_FUNCTION uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
PF_FUNCTION uint64_t bits_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
PF_FUNCTION float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}
PF_FUNCTION double from_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

PF_FUNCTION float absolute(float x) {
  return __builtin_fabsf(x);
}
PF_FUNCTION double absolute(double x) {
  return __builtin_fabs(x);
}
PF_FUNCTION float with_sign(float x, float sign) {
  return __builtin_copysignf(x, sign);
}
PF_FUNCTION double with_sign(double x, double sign) {
  return __builtin_copysign(x, sign);
}
PF_FUNCTION float square_root(float x) {
  return __builtin_sqrtf(x);
}
PF_FUNCTION double square_root(double x) {
  return __builtin_sqrt(x);
}

// Adding one of these rounds a float32 (|x| < 2^22) or float64 (|x| < 2^51) to an integer, found in the low bits.
constexpr float kRound32 = 12582912.0f;
constexpr double kRound64 = 6755399441055744.0;

// 2^n for a float32 exponent n in [-126, 127].
PF_FUNCTION float power_of_two32(uint32_t n) {
  return from_bits((n + 127u) << 23);
}
PF_FUNCTION double power_of_two64(uint64_t n) {
  return from_bits((n + 1023u) << 52);
}

// y * 2^n for |n| <= 252, the result rounded once.
PF_FUNCTION float scale(float y, uint32_t n) {
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(n) >> 1);
  return y * power_of_two32(half) * power_of_two32(n - half);
}
// n counts from a non-negative bias so that no 64-bit arithmetic shift is needed.
PF_FUNCTION double scale(double y, uint64_t n) {
  const uint64_t half = ((n + 4096u) >> 1) - 2048u;
  return y * power_of_two64(half) * power_of_two64(n - half);
}

struct Reduced32 {
  float remainder;  // x - n log 2, |remainder| <= 0.3466
  uint32_t n;
};
PF_FUNCTION Reduced32 reduce_exponent(float x) {
  const float shifted = x * 1.44269504f + kRound32;
  const float n = shifted - kRound32;
  float remainder = multiply_add(n, -0.693145752f, x);
  remainder = multiply_add(n, -1.42860677e-6f, remainder);
  return {remainder, bits_of(shifted) - bits_of(kRound32)};
}

// (exp(r) - 1 - r) / r^2
PF_FUNCTION float exponential_tail(float r) {
  float p = 0.000197892659f;
  p = multiply_add(p, r, 0.00139457535f);
  p = multiply_add(p, r, 0.0083335042f);
  p = multiply_add(p, r, 0.0416662805f);
  p = multiply_add(p, r, 0.166666657f);
  return multiply_add(p, r, 0.5f);
}

PF_FUNCTION float exponential(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const Reduced32 reduced = reduce_exponent(x);
  const float r = reduced.remainder;
  const float y = multiply_add(exponential_tail(r) * r, r, r) + 1.0f;
  return scale(y, reduced.n);
}

PF_FUNCTION float exponential_minus_one(float x) {
  float z = x > 89.0f ? 89.0f : x;
  z = z < -30.0f ? -30.0f : z;
  const Reduced32 reduced = reduce_exponent(z);
  const float r = reduced.remainder;
  const float q = multiply_add(exponential_tail(r) * r, r, r);
  const float half = power_of_two32(reduced.n - 1u);
  const float y = 2.0f * multiply_add(half, q, half - 0.5f);
  return absolute(x) < 1e-8f ? x : y;
}

// log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1], less f.
PF_FUNCTION float logarithm_tail(float f) {
  float p = 0.0674769208f;
  p = multiply_add(p, f, -0.116775051f);
  p = multiply_add(p, f, 0.118887089f);
  p = multiply_add(p, f, -0.124053426f);
  p = multiply_add(p, f, 0.14219451f);
  p = multiply_add(p, f, -0.166680053f);
  p = multiply_add(p, f, 0.200021237f);
  p = multiply_add(p, f, -0.250000089f);
  p = multiply_add(p, f, 0.333333135f);
  const float z = f * f;
  return multiply_add(p * f, z, -0.5f * z);
}

// log(x) for a normal positive x, plus `correction` before the last rounding.
PF_FUNCTION float logarithm_of_normal(float x, float exponent_shift, float correction) {
  const uint32_t offset = bits_of(x) - 0x3f3504f3u;
  const float n = static_cast<float>(static_cast<int32_t>(offset) >> 23) + exponent_shift;
  const float f = from_bits((offset & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  float tail = multiply_add(n, 1.42860677e-6f, logarithm_tail(f) + correction);
  tail += f;
  return multiply_add(n, 0.693145752f, tail);
}

PF_FUNCTION float logarithm(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const float y = logarithm_of_normal(tiny ? x * 8388608.0f : x, tiny ? -23.0f : 0.0f, 0.0f);
  const float beyond = x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
  const float inside = x > 3.40282347e38f ? x : y;
  return x > 0.0f ? inside : beyond;
}

PF_FUNCTION float logarithm_plus_one(float x) {
  const float u = 1.0f + x;
  const float lost = absolute(x) < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x);
  const float y = logarithm_of_normal(u, 0.0f, lost / u);
  const float beyond = x == -1.0f ? -__builtin_inff() : __builtin_nanf("");
  const float inside = x > 3.40282347e38f || absolute(x) < 5e-8f ? x : y;
  return x > -1.0f ? inside : beyond;
}

PF_FUNCTION float hyperbolic_tangent(float x) {
  float t = absolute(x);
  t = t > 10.0f ? 10.0f : t;
  const float e = exponential_minus_one(2.0f * t);
  const float y = with_sign(e / (e + 2.0f), x);
  return absolute(x) < 0.0003f ? x : y;
}

// log(erfc(t)) for t in [0.92, 4], within an ulp of erf.
PF_FUNCTION float log_erfc(float t) {
  float p = -2.10950511e-05f;
  p = multiply_add(p, t, 0.000434462621f);
  p = multiply_add(p, t, -0.00417106319f);
  p = multiply_add(p, t, 0.0251194276f);
  p = multiply_add(p, t, -0.108280092f);
  p = multiply_add(p, t, -0.633346915f);
  p = multiply_add(p, t, -1.12951493f);
  return multiply_add(p, t, 0.00017468445f);
}

// log(erfc(t)) for t in [0.92, 10.1], within 1e-6 relative of erfc.
PF_FUNCTION float log_erfc_far(float t) {
  float p = 2.30547248e-09f;
  p = multiply_add(p, t, -1.39724008e-07f);
  p = multiply_add(p, t, 3.77492574e-06f);
  p = multiply_add(p, t, -6.02685905e-05f);
  p = multiply_add(p, t, 0.000636788784f);
  p = multiply_add(p, t, -0.00473979069f);
  p = multiply_add(p, t, 0.0259526651f);
  p = multiply_add(p, t, -0.108684309f);
  p = multiply_add(p, t, 0.366190702f);
  p = multiply_add(p, t, -1.12883079f);
  p = multiply_add(p, t, -7.38403833e-05f);
  return multiply_add(-t, t, p);
}

// erf(x) for |x| <= 0.9375.
PF_FUNCTION float erf_near(float x) {
  const float z = x * x;
  float p = 8.26745891e-05f;
  p = multiply_add(p, z, -0.000811807462f);
  p = multiply_add(p, z, 0.00519882981f);
  p = multiply_add(p, z, -0.0268584974f);
  p = multiply_add(p, z, 0.112836793f);
  p = multiply_add(p, z, -0.376126319f);
  p = multiply_add(p, z, 0.128379166f);
  return multiply_add(p, x, x);
}

PF_FUNCTION float error_function(float x) {
  float t = absolute(x);
  t = t > 4.0f ? 4.0f : t;
  const float far = with_sign(1.0f - exponential(log_erfc(t)), x);
  return absolute(x) < 0.9375f ? erf_near(x) : (x != x ? x : far);
}

// The normal distribution function: (1 + erf(x / sqrt 2)) / 2 without the cancellation for negative x.
PF_FUNCTION float normal_cdf(float x) {
  const float z = x * 0.707106781f;
  float t = absolute(z);
  t = t > 10.1f ? 10.1f : t;
  const float tail = 0.5f * exponential(log_erfc_far(t));
  const float far = z < 0.0f ? tail : 1.0f - tail;
  return absolute(z) < 0.9375f ? multiply_add(0.5f, erf_near(z), 0.5f) : (x != x ? x : far);
}

PF_FUNCTION float logistic(float x) {
  const float e = exponential(-absolute(x));
  const float numerator = x < 0.0f ? e : 1.0f;
  return numerator / (1.0f + e);
}

// Beyond this the three-part reduction below is not exact enough.
constexpr float kLargestAngle = 1.0e6f;

// sin(x + quarter * pi / 2) for |x| <= kLargestAngle.
PF_FUNCTION float sine(float x, uint32_t quarter) {
  const double wide = x;
  const double shifted = wide * 0.63661977236758134308 + kRound64;
  const double n = shifted - kRound64;
  // pi/2 in two parts; the first has 33 bits, so that its product with n is exact.
  const double r64 = (wide - n * 1.57079632673412561417e+00) - n * 6.07710050650619224932e-11;
  const uint32_t quadrant = static_cast<uint32_t>(bits_of(shifted)) + quarter;
  const float r = static_cast<float>(r64);
  const float z = r * r;
  float s = 2.71823728e-06f;
  s = multiply_add(s, z, -0.000198393274f);
  s = multiply_add(s, z, 0.00833332911f);
  s = multiply_add(s, z, -0.166666672f);
  s = multiply_add(s * z, r, r);
  float c = -2.72095463e-07f;
  c = multiply_add(c, z, 2.47995122e-05f);
  c = multiply_add(c, z, -0.00138888834f);
  c = multiply_add(c, z, 0.0416666679f);
  c = multiply_add(c * z, z, multiply_add(-0.5f, z, 1.0f));
  const float unsigned_y = (quadrant & 1u) != 0 ? c : s;
  const float y = from_bits(bits_of(unsigned_y) ^ ((quadrant & 2u) << 30));
  return quarter == 0 && absolute(x) < 0.0001f ? x : y;
}

PF_FUNCTION double exponential(double x) {
  x = x > 710.0 ? 710.0 : x;
  x = x < -746.0 ? -746.0 : x;
  const double shifted = x * 1.44269504088896340736 + kRound64;
  const double n = shifted - kRound64;
  double r = multiply_add(n, -6.93147180369123816490e-01, x);
  r = multiply_add(n, -1.90821492927058770002e-10, r);
  double p = 1.0 / 6227020800.0;
  p = multiply_add(p, r, 1.0 / 479001600.0);
  p = multiply_add(p, r, 1.0 / 39916800.0);
  p = multiply_add(p, r, 1.0 / 3628800.0);
  p = multiply_add(p, r, 1.0 / 362880.0);
  p = multiply_add(p, r, 1.0 / 40320.0);
  p = multiply_add(p, r, 1.0 / 5040.0);
  p = multiply_add(p, r, 1.0 / 720.0);
  p = multiply_add(p, r, 1.0 / 120.0);
  p = multiply_add(p, r, 1.0 / 24.0);
  p = multiply_add(p, r, 1.0 / 6.0);
  p = multiply_add(p, r, 0.5);
  const double y = multiply_add(p * r, r, r) + 1.0;
  return scale(y, bits_of(shifted) - bits_of(kRound64));
}

PF_FUNCTION double logarithm(double x) {
  const bool tiny = x < 2.2250738585072014e-308;
  const uint64_t offset = bits_of(tiny ? x * 18014398509481984.0 : x) - 0x3fe6a09e667f3bcdu;
  // The exponent as a double without a 64-bit conversion: 2048 more than it in the low bits of 2^52.
  const double biased = from_bits(((offset >> 52) ^ 2048u) | 0x4330000000000000u);
  const double n = (biased - 4503599627372544.0) + (tiny ? -54.0 : 0.0);
  const double f = from_bits((offset & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double p = 2.0 / 21.0;
  p = multiply_add(p, z, 2.0 / 19.0);
  p = multiply_add(p, z, 2.0 / 17.0);
  p = multiply_add(p, z, 2.0 / 15.0);
  p = multiply_add(p, z, 2.0 / 13.0);
  p = multiply_add(p, z, 2.0 / 11.0);
  p = multiply_add(p, z, 2.0 / 9.0);
  p = multiply_add(p, z, 2.0 / 7.0);
  p = multiply_add(p, z, 2.0 / 5.0);
  p = multiply_add(p, z, 2.0 / 3.0);
  const double half_square = 0.5 * f * f;
  const double tail = multiply_add(n, 1.90821492927058770002e-10, s * (half_square + p * z));
  const double y = multiply_add(n, 6.93147180369123816490e-01, f - (half_square - tail));
  const double beyond = x == 0.0 ? -__builtin_inf() : __builtin_nan("");
  const double inside = x > 1.7976931348623157e308 ? x : y;
  return x > 0.0 ? inside : beyond;
}

PF_FUNCTION double exponential_minus_one(double x) {
  return __builtin_expm1(x);
}
PF_FUNCTION double logarithm_plus_one(double x) {
  return __builtin_log1p(x);
}
PF_FUNCTION double hyperbolic_tangent(double x) {
  return __builtin_tanh(x);
}
PF_FUNCTION double error_function(double x) {
  return __builtin_erf(x);
}
PF_FUNCTION double normal_cdf(double x) {
  return 0.5 * __builtin_erfc(x * -0.70710678118654752440);
}
PF_FUNCTION double logistic(double x) {
  const double e = exponential(-absolute(x));
  const double numerator = x < 0.0 ? e : 1.0;
  return numerator / (1.0 + e);
}

// The logarithm of the magnitude of gamma(x).
PF_FUNCTION double log_gamma(double x) {
  int sign;
  return lgamma_r(x, &sign);
}

// Derivatives of log gamma: reflected to the right, raised by their recurrence to where the asymptotic series
// (DLMF 5.11.2, 5.15.8) holds to the last bits.
static inline double digamma(double x) {
  if (x == 0.0) return with_sign(__builtin_inf(), -x);
  double shift = 0.0;
  if (x < 0.0) {
    const double fraction = x - __builtin_floor(x);
    if (fraction == 0.0) return __builtin_nan("");
    shift = -3.14159265358979323846 / __builtin_tan(3.14159265358979323846 * fraction);
    x = 1.0 - x;
  }
  for (; x < 10.0; x += 1.0) shift -= 1.0 / x;
  const double z = 1.0 / (x * x);
  double tail = 1.0 / 12.0;
  tail = tail * z - 691.0 / 32760.0;
  tail = tail * z + 1.0 / 132.0;
  tail = tail * z - 1.0 / 240.0;
  tail = tail * z + 1.0 / 252.0;
  tail = tail * z - 1.0 / 120.0;
  tail = tail * z + 1.0 / 12.0;
  return shift + __builtin_log(x) - 0.5 / x - tail * z;
}

static inline double trigamma(double x) {
  double shift = 0.0;
  double sign = 1.0;
  if (x <= 0.0) {
    const double fraction = x - __builtin_floor(x);
    if (fraction == 0.0) return __builtin_inf();
    const double ratio = 3.14159265358979323846 / __builtin_sin(3.14159265358979323846 * fraction);
    shift = ratio * ratio;
    sign = -1.0;
    x = 1.0 - x;
  }
  double sum = 0.0;
  for (; x < 12.0; x += 1.0) sum += 1.0 / (x * x);
  const double z = 1.0 / (x * x);
  double tail = 7.0 / 6.0;
  tail = tail * z - 691.0 / 2730.0;
  tail = tail * z + 5.0 / 66.0;
  tail = tail * z - 1.0 / 30.0;
  tail = tail * z + 1.0 / 42.0;
  tail = tail * z - 1.0 / 30.0;
  tail = tail * z + 1.0 / 6.0;
  return shift + sign * (sum + 1.0 / x + 0.5 * z + tail * z / x);
}

}  // namespace math
}  // namespace PF_ISA
}  // namespace pf

#endif
