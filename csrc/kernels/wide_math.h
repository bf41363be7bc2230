// Functions of float32 by way of float64, and those that float64 has by itself.
#ifndef PYFLOW_KERNELS_WIDE_MATH_H
#define PYFLOW_KERNELS_WIDE_MATH_H

#include "kernels/scalar_math.h"

// Not every compiler has a builtin for it, and <math.h> brings the C++ library.
extern "C" double lgamma_r(double x, int* sign) noexcept;

namespace pf {
namespace PF_ISA {
namespace math {

// For what becomes a float32, V being double or a vector of them: exp and log within 1e-11, far below an ulp of it.

// exp(x), or what rounds to infinity or 0 for |x| > 200.
template <class V>
PF_FUNCTION V by_exponential(V x) {
  const Reduced<V> reduced = reduce_exponent(at_least(at_most(x, 200.0), -200.0), kRound64 + 1023.0);
  const V near = horner(reduced.remainder, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0,
                        1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0);
  return near * power_of_low_bits(reduced.rounded);
}

// log(x) for finite x > 0 that are no denormals of float64.
template <class V>
PF_FUNCTION V by_ordinary_logarithm(V x) {
  const Split<V> split = split_exponent(x);
  const V s = split.f / (2.0 + split.f);
  const V z = s * s;
  const V p = horner(z, 2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0);
  return multiply_add(split.n, all<V>(0.69314718055994530942), multiply_add(z * p, s, s + s));
}

template <class V>
PF_FUNCTION V by_logarithm(V x) {
  const V beyond = x == 0.0 ? all<V>(-__builtin_inf()) : all<V>(__builtin_nan(""));
  const V inside = x > 3.5e38 ? x : by_ordinary_logarithm(x);
  return x > 0.0 ? inside : beyond;
}

template <class V>
PF_FUNCTION V by_exponential2(V x) {
  return by_exponential(x * 0.69314718055994530942);
}
template <class V>
PF_FUNCTION V by_logarithm2(V x) {
  return by_logarithm(x) * 1.44269504088896340736;
}
template <class V>
PF_FUNCTION V by_logarithm10(V x) {
  return by_logarithm(x) * 0.43429448190325182765;
}
template <class V>
PF_FUNCTION V by_cube_root(V x) {
  const V y = by_exponential(by_logarithm(absolute(x)) * (1.0 / 3.0));
  return x < 0.0 ? -y : x == 0.0 ? x : y;
}
template <class V>
PF_FUNCTION V by_hyperbolic_sine(V x) {
  const V e = by_exponential(x);
  return absolute(x) < 1e-4 ? x : 0.5 * (e - 1.0 / e);
}
template <class V>
PF_FUNCTION V by_hyperbolic_cosine(V x) {
  const V e = by_exponential(absolute(x));
  return 0.5 * (e + 1.0 / e);
}

// Do float32 a and b have an ordinary power: are both finite and a not 0?
PF_FUNCTION bool has_ordinary_power(float a, float b) {
  return a != 0.0f && (a - a) + (b - b) == 0.0f;
}

template <class V>
PF_FUNCTION auto is_whole(V x) {
  const V told = absolute(x) < 2251799813685248.0 ? x : all<V>(0.0);  // larger ones are
  return (told + kRound64) - kRound64 == told;
}

// a^b of those that have one.
template <class V>
PF_FUNCTION V ordinary_power(V a, V b) {
  const V y = by_exponential(b * by_ordinary_logarithm(absolute(a)));
  const V negative = is_whole(0.5 * b) ? y : -y;
  return a > 0.0 ? y : is_whole(b) ? negative : all<V>(__builtin_nan(""));
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
