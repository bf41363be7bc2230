// Transcendental functions as branch-free code: templates on V are for one element and for a vector of them, with the
// same bits. float32 is ours throughout; float64 is ours for exp and log and libm's for the rest. Bounds are in
// docs/numerics.md and tested.
#ifndef PYFLOW_KERNELS_SCALAR_MATH_H
#define PYFLOW_KERNELS_SCALAR_MATH_H

#include <stdint.h>
#include <string.h>

#include "kernels/simd.h"

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

PF_FUNCTION Vector<uint32_t> bits_of(Vector<float> x) {
  return (Vector<uint32_t>)x;
}
PF_FUNCTION Vector<uint64_t> bits_of(Vector<double> x) {
  return (Vector<uint64_t>)x;
}
PF_FUNCTION Vector<float> from_bits(Vector<uint32_t> bits) {
  return (Vector<float>)bits;
}
PF_FUNCTION Vector<double> from_bits(Vector<uint64_t> bits) {
  return (Vector<double>)bits;
}

// What V is made of, and unsigned integers of its size.
template <class V>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float Element;
  typedef uint32_t Bits;
};
template <>
struct Lanes<double> {
  typedef double Element;
  typedef uint64_t Bits;
};
template <>
struct Lanes<Vector<float>> {
  typedef float Element;
  typedef Vector<uint32_t> Bits;
};
template <>
struct Lanes<Vector<double>> {
  typedef double Element;
  typedef Vector<uint64_t> Bits;
};
template <class V>
using Element = typename Lanes<V>::Element;
template <class V>
using Bits = typename Lanes<V>::Bits;

template <class V>
PF_FUNCTION V all(Element<V> value) {
  if constexpr (sizeof(V) == sizeof(value)) {
    return value;
  } else {
    return broadcast(value);
  }
}

// NaN stays NaN.
template <class V>
PF_FUNCTION V at_most(V x, Element<V> bound) {
  return lesser(all<V>(bound), x);
}
template <class V>
PF_FUNCTION V at_least(V x, Element<V> bound) {
  return greater(all<V>(bound), x);
}

// p x^n + ... + last.
template <class V, class... Rest>
PF_FUNCTION V horner_from(V p, V x, Rest... rest) {
  ((p = multiply_add(p, x, all<V>(rest))), ...);
  return p;
}
template <class V, class... Rest>
PF_FUNCTION V horner(V x, Element<V> first, Rest... rest) {
  return horner_from(all<V>(first), x, rest...);
}

PF_FUNCTION float absolute(float x) {
  return __builtin_fabsf(x);
}
PF_FUNCTION double absolute(double x) {
  return __builtin_fabs(x);
}
PF_FUNCTION Vector<float> absolute(Vector<float> x) {
  return from_bits(bits_of(x) & 0x7fffffffu);
}
PF_FUNCTION Vector<double> absolute(Vector<double> x) {
  return from_bits(bits_of(x) & 0x7fffffffffffffffu);
}
PF_FUNCTION float with_sign(float x, float sign) {
  return __builtin_copysignf(x, sign);
}
PF_FUNCTION double with_sign(double x, double sign) {
  return __builtin_copysign(x, sign);
}
PF_FUNCTION Vector<float> with_sign(Vector<float> x, Vector<float> sign) {
  return from_bits((bits_of(x) & 0x7fffffffu) | (bits_of(sign) & 0x80000000u));
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
template <class U>
PF_FUNCTION auto power_of_two32(U n) {
  return from_bits((n + 127u) << 23);
}

// The low bits of a rounded exponent hold twice the bias more than it: halves of it are biased exponents.
constexpr float kBiasedRound32 = kRound32 + 254.0f;
constexpr double kBiasedRound64 = kRound64 + 2046.0;

/* An exponential times this does not underflow where the exponential does: see raised_exponential. */
template <class T>
constexpr T kRaise = sizeof(T) == 4 ? static_cast<T>(0x1p64) : static_cast<T>(0x1p512);
/* The low bits of an exponent that was rounded with these are those of 2^n kRaise, and 0 for the least n. */
constexpr float kRaisedRound32 = kRound32 + 127.0f + 64.0f;
constexpr double kRaisedRound64 = kRound64 + 1023.0 + 512.0;

// The power of two whose biased exponent the low bits are.
template <class V>
PF_FUNCTION V power_of_low_bits(V rounded) {
  return from_bits(bits_of(rounded) << (sizeof(Element<V>) == 4 ? 23 : 52));
}

// y * 2^n for |n| <= 252, the result rounded once; `rounded` is n + kBiasedRound32.
template <class V>
PF_FUNCTION V scale(V y, V rounded) {
  constexpr int mantissa = sizeof(Element<V>) == 4 ? 23 : 52;
  const Bits<V> whole = bits_of(rounded);
  const Bits<V> half = whole >> 1;
  return y * from_bits(half << mantissa) * from_bits((whole - half) << mantissa);
}

template <class V>
struct Reduced {
  V remainder;  // x - n log 2, |remainder| <= 0.3466
  V rounded;    // n + bias
};
// For float32; `bias` is one of those above.
template <class V>
PF_FUNCTION Reduced<V> reduce_exponent(V x, float bias) {
  const V rounded = multiply_add(x, all<V>(1.44269504f), all<V>(bias));
  const V n = rounded - bias;
  V remainder = multiply_add(n, all<V>(-0.693145752f), x);
  remainder = multiply_add(n, all<V>(-1.42860677e-6f), remainder);
  return {remainder, rounded};
}

// (exp(r) - 1 - r) / r^2 for |r| <= 0.3466.
template <class V>
PF_FUNCTION V exponential_tail(V r) {
  return horner(r, 0.00138145401f, 0.00836874516f, 0.0416683908f, 0.166665204f, 0.499999934f);
}

template <class V>
PF_FUNCTION V exponential_near(V r) {
  const V one = all<V>(1.0f);
  return multiply_add(multiply_add(exponential_tail(r), r, one), r, one);
}

template <class V>
PF_FUNCTION V exponential32(V x) {
  const Reduced<V> reduced = reduce_exponent(at_least(at_most(x, 89.0f), -104.0f), kBiasedRound32);
  return scale(exponential_near(reduced.remainder), reduced.rounded);
}

template <class V>
PF_FUNCTION V raised_exponential32(V x) {
  const Reduced<V> reduced = reduce_exponent(at_least(x, -132.4f), kRaisedRound32);
  return exponential_near(reduced.remainder) * power_of_low_bits(reduced.rounded);
}

// (exp(x) - 1) / 2 for x in [-30, 89].
template <class V>
PF_FUNCTION V half_exponential_minus_one(V x) {
  const Reduced<V> reduced = reduce_exponent(x, kRound32);
  const V r = reduced.remainder;
  const V half = power_of_two32(bits_of(reduced.rounded) - (bits_of(kRound32) + 1u));
  return multiply_add(half, multiply_add(exponential_tail(r) * r, r, r), half - 0.5f);
}

template <class V>
PF_FUNCTION V exponential_minus_one32(V x) {
  const V y = 2.0f * half_exponential_minus_one(at_least(at_most(x, 89.0f), -30.0f));
  return absolute(x) < 1e-8f ? x : y;
}

// log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1], less f.
template <class V>
PF_FUNCTION V logarithm_tail(V f) {
  const V p = horner(f, 0.0674769208f, -0.116775051f, 0.118887089f, -0.124053426f, 0.14219451f, -0.166680053f,
                     0.200021237f, -0.250000089f, 0.333333135f);
  const V z = f * f;
  return multiply_add(p * f, z, -0.5f * z);
}

PF_FUNCTION float signed_number(uint32_t bits) {
  return static_cast<float>(static_cast<int32_t>(bits) >> 23);
}
PF_FUNCTION Vector<float> signed_number(Vector<uint32_t> bits) {
  return __builtin_convertvector((Vector<int32_t>)bits >> 23, Vector<float>);
}

// log(x) for a normal positive x, plus `correction` before the last rounding.
template <class V>
PF_FUNCTION V logarithm_of_normal(V x, V exponent_shift, V correction) {
  const Bits<V> offset = bits_of(x) - 0x3f3504f3u;
  const V n = signed_number(offset) + exponent_shift;
  const V f = from_bits((offset & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  V tail = multiply_add(n, all<V>(1.42860677e-6f), logarithm_tail(f) + correction);
  tail += f;
  return multiply_add(n, all<V>(0.693145752f), tail);
}

template <class V>
PF_FUNCTION V logarithm32(V x) {
  const V zero = all<V>(0.0f);
  const V normal = x < 1.17549435e-38f ? x * 8388608.0f : x;
  const V y = logarithm_of_normal(normal, x < 1.17549435e-38f ? all<V>(-23.0f) : zero, zero);
  const V beyond = x == zero ? all<V>(-__builtin_inff()) : all<V>(__builtin_nanf(""));
  const V inside = x > 3.40282347e38f ? x : y;
  return x > zero ? inside : beyond;
}

template <class V>
PF_FUNCTION V logarithm_plus_one32(V x) {
  const V u = 1.0f + x;
  const V lost = absolute(x) < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x);
  const V y = logarithm_of_normal(u, all<V>(0.0f), lost / u);
  const V beyond = x == -1.0f ? all<V>(-__builtin_inff()) : all<V>(__builtin_nanf(""));
  const V large = x > 3.40282347e38f ? x : y;
  const V inside = absolute(x) < 5e-8f ? x : large;
  return x > -1.0f ? inside : beyond;
}

template <class V>
PF_FUNCTION V hyperbolic_tangent32(V x) {
  const V e = half_exponential_minus_one(2.0f * at_most(absolute(x), 10.0f));
  const V y = with_sign(e / (e + 1.0f), x);
  return absolute(x) < 0.0003f ? x : y;
}

// log(erfc(t)) for t in [0.92, 4], within an ulp of erf.
template <class V>
PF_FUNCTION V log_erfc(V t) {
  return horner(t, -2.10950511e-05f, 0.000434462621f, -0.00417106319f, 0.0251194276f, -0.108280092f, -0.633346915f,
                -1.12951493f, 0.00017468445f);
}

// erf(x) for |x| <= 0.9375.
template <class V>
PF_FUNCTION V erf_near(V x) {
  const V p = horner(x * x, 8.26745891e-05f, -0.000811807462f, 0.00519882981f, -0.0268584974f, 0.112836793f,
                     -0.376126319f, 0.128379166f);
  return multiply_add(p, x, x);
}

template <class V>
PF_FUNCTION V error_function32(V x) {
  const V erfc = raised_exponential32(log_erfc(at_most(absolute(x), 4.0f)));
  const V far = with_sign(multiply_add(erfc, all<V>(-1.0f / kRaise<float>), all<V>(1.0f)), x);
  return absolute(x) < 0.9375f ? erf_near(x) : far;
}

// x times the normal distribution function of x: max(x, 0) less t times that function at -t, t = |x|, which is
// exp(-t^2 / 2) times a quotient, found within 2e-8 relative for t <= 1 and 5e-6 for t <= 14.5.
template <class V>
PF_FUNCTION V gelu32(V x) {
  const V t = at_most(absolute(x), 14.5f);
  constexpr float lower = 1.0f / kRaise<float>;
  const V above = horner(t, lower * 0.398794144f, lower * 3.08436847f, lower * 9.9170742f, lower * 14.7904797f);
  const V below = horner_from(t + 7.71855879f, t, 26.0357876f, 43.4363136f, 29.5809593f);
  const V square = t * t;
  constexpr float round = kRaisedRound32 - 127.0f;  // the power is raised, so that it is normal; `near` has the bias
  const V rounded = multiply_add(square, all<V>(-0.72134752f), all<V>(round));
  const V fraction = multiply_add(square, all<V>(-0.72134752f), round - rounded);
  // 2^fraction within 1e-7 for |fraction| <= 1/2.
  const V near = horner(fraction, 0.00132695213f, 0.00967129134f, 0.0555071086f, 0.240222469f, 0.693147004f, 1.0f);
  const V power = from_bits(bits_of(near) + (bits_of(rounded) << 23));
  return multiply_add(-t, (above / below) * power, at_least(x, -0.0f));
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

// For float64; `bias` is one of those above.
template <class V>
PF_FUNCTION Reduced<V> reduce_exponent(V x, double bias) {
  const V rounded = multiply_add(x, all<V>(1.44269504088896340736), all<V>(bias));
  const V n = rounded - bias;
  V remainder = multiply_add(n, all<V>(-6.93147180369123816490e-01), x);
  remainder = multiply_add(n, all<V>(-1.90821492927058770002e-10), remainder);
  return {remainder, rounded};
}

template <class V>
PF_FUNCTION V exponential_near64(V r) {
  const V p = horner(r, 1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
                     1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5);
  return multiply_add(p * r, r, r) + 1.0;
}

template <class V>
PF_FUNCTION V exponential64(V x) {
  const Reduced<V> reduced = reduce_exponent(at_least(at_most(x, 710.0), -746.0), kBiasedRound64);
  return scale(exponential_near64(reduced.remainder), reduced.rounded);
}

template <class V>
PF_FUNCTION V raised_exponential64(V x) {
  const Reduced<V> reduced = reduce_exponent(at_least(x, -1064.0), kRaisedRound64);
  return exponential_near64(reduced.remainder) * power_of_low_bits(reduced.rounded);
}

// x = 2^n (1 + f) with f in [sqrt(1/2) - 1, sqrt(2) - 1], for a normal positive float64.
template <class V>
struct Split {
  V n, f;
};
template <class V>
PF_FUNCTION Split<V> split_exponent(V x) {
  const Bits<V> offset = bits_of(x) - 0x3fe6a09e667f3bcdu;
  // The exponent as a double without a 64-bit conversion: 2048 more than it in the low bits of 2^52.
  const V biased = from_bits(((offset >> 52) ^ 2048u) | 0x4330000000000000u);
  return {biased - 4503599627372544.0, from_bits((offset & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0};
}

template <class V>
PF_FUNCTION V logarithm64(V x) {
  const V normal = x < 2.2250738585072014e-308 ? x * 18014398509481984.0 : x;
  const Split<V> split = split_exponent(normal);
  const V n = split.n + (x < 2.2250738585072014e-308 ? all<V>(-54.0) : all<V>(0.0));
  const V f = split.f;
  const V s = f / (2.0 + f);
  const V z = s * s;
  const V p = horner(z, 2.0 / 21.0, 2.0 / 19.0, 2.0 / 17.0, 2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0,
                     2.0 / 5.0, 2.0 / 3.0);
  const V half_square = 0.5 * f * f;
  const V tail = multiply_add(n, all<V>(1.90821492927058770002e-10), s * (half_square + p * z));
  const V y = multiply_add(n, all<V>(6.93147180369123816490e-01), f - (half_square - tail));
  const V beyond = x == 0.0 ? all<V>(-__builtin_inf()) : all<V>(__builtin_nan(""));
  const V inside = x > 1.7976931348623157e308 ? x : y;
  return x > 0.0 ? inside : beyond;
}

// A function as that of the size of the elements.
#define PF_BY_SIZE_OF_LANES(name, of_double) \
  template <class V>                         \
  PF_FUNCTION V name(V x) {                  \
    if constexpr (sizeof(Element<V>) == 4) { \
      return name##32(x);                    \
    } else {                                 \
      return of_double;                      \
    }                                        \
  }
PF_BY_SIZE_OF_LANES(exponential, exponential64(x))
PF_BY_SIZE_OF_LANES(logarithm, logarithm64(x))
// exp(x) kRaise for x <= 0, 0 for minus infinity.
PF_BY_SIZE_OF_LANES(raised_exponential, raised_exponential64(x))
// Of float64 one element at a time, by libm.
PF_BY_SIZE_OF_LANES(exponential_minus_one, __builtin_expm1(x))
PF_BY_SIZE_OF_LANES(logarithm_plus_one, __builtin_log1p(x))
PF_BY_SIZE_OF_LANES(hyperbolic_tangent, __builtin_tanh(x))
PF_BY_SIZE_OF_LANES(error_function, __builtin_erf(x))
PF_BY_SIZE_OF_LANES(gelu, x < -1e30 ? -0.0 : x * (0.5 * __builtin_erfc(x * -0.70710678118654752440)))
#undef PF_BY_SIZE_OF_LANES

template <class V>
PF_FUNCTION V logistic(V x) {
  constexpr Element<V> one = kRaise<Element<V>>;
  const V e = raised_exponential(-absolute(x));
  return (x < Element<V>(0) ? e : all<V>(one)) / (one + e);
}

}  // namespace math
}  // namespace PF_ISA
}  // namespace pf

#endif
