// One functor per row of scalar_ops.def: `apply` takes arguments of one dtype and returns the result; what may go
// wrong is or-ed into `faults` (see Fault). bool is uint8_t holding 0 or 1.
#ifndef PYFLOW_KERNELS_SCALAR_OPS_H
#define PYFLOW_KERNELS_SCALAR_OPS_H

#include "kernels/program.h"
#include "kernels/scalar_math.h"
#include "kernels/wide_math.h"

namespace pf {
namespace PF_ISA {
namespace ops {

template <typename T>
struct Unsigned {
  typedef T type;
};
template <>
struct Unsigned<int32_t> {
  typedef uint32_t type;
};
template <>
struct Unsigned<int64_t> {
  typedef uint64_t type;
};
// The type to calculate in: integers wrap.
template <typename T>
using Wrapping = typename Unsigned<T>::type;

template <typename T>
constexpr bool kIsFloat = T(0.5) != T(0);

#define PF_UNARY(name, ...)                       \
  struct name {                                   \
    template <typename T>                         \
    PF_MEMBER auto apply(T x, uint32_t& faults) { \
      (void)faults;                               \
      __VA_ARGS__                                 \
    }                                             \
  };
#define PF_BINARY(name, ...)                           \
  struct name {                                        \
    template <typename T>                              \
    PF_MEMBER auto apply(T a, T b, uint32_t& faults) { \
      (void)faults;                                    \
      __VA_ARGS__                                      \
    }                                                  \
  };
#ifdef __CUDACC__
#define PF_MEMBER static __device__ __forceinline__
#else
#define PF_MEMBER __attribute__((always_inline)) static inline
#endif

PF_UNARY(neg, return static_cast<T>(kIsFloat<T> ? -x : T(Wrapping<T>(0) - Wrapping<T>(x)));)
PF_UNARY(abs, {
  if constexpr (kIsFloat<T>) {
    return math::absolute(x);
  } else {
    return x < 0 ? static_cast<T>(Wrapping<T>(0) - Wrapping<T>(x)) : x;
  }
})
PF_UNARY(sign, {
  const T unit = x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
  return x != x ? x : unit;
})
PF_UNARY(square, return static_cast<T>(Wrapping<T>(x) * Wrapping<T>(x));)
PF_UNARY(sqrt, return math::square_root(x);)
PF_UNARY(rsqrt, return T(1) / math::square_root(x);)
PF_UNARY(reciprocal, return T(1) / x;)
PF_UNARY(exp, return math::exponential(x);)
PF_UNARY(expm1, return math::exponential_minus_one(x);)
PF_UNARY(log, return math::logarithm(x);)
PF_UNARY(log1p, return math::logarithm_plus_one(x);)
PF_UNARY(tanh, return math::hyperbolic_tangent(x);)
PF_UNARY(erf, return math::error_function(x);)
PF_UNARY(sigmoid, return math::logistic(x);)
PF_UNARY(softplus, {
  const T tail = math::logarithm_plus_one(math::exponential(-math::absolute(x)));
  const T zero = math::all<T>(0);
  return (x < zero ? zero : x) + tail;
})
PF_UNARY(relu, return x < T(0) ? T(0) : x;)
PF_UNARY(gelu, return math::gelu(x);)
PF_UNARY(gelu_tanh, {
  // (1 + tanh(u)) / 2 is the logistic function of 2u.
  const T u = math::all<T>(1.5957691216057308) * (x + math::all<T>(0.044715) * x * x * x);
  const T y = x * math::logistic(u);
  return x < math::all<T>(-1e10) ? math::all<T>(-0.0) : y;
})
PF_UNARY(silu, {
  const T y = x * math::logistic(x);
  return x < math::all<T>(-1e30) ? math::all<T>(-0.0) : y;
})
PF_UNARY(isnan, return static_cast<uint8_t>(x != x);)
PF_UNARY(isinf, return static_cast<uint8_t>(math::absolute(x) == static_cast<T>(__builtin_inf()));)
PF_UNARY(isfinite, return static_cast<uint8_t>(math::absolute(x) < static_cast<T>(__builtin_inf()));)
PF_UNARY(signbit, return static_cast<uint8_t>(math::with_sign(T(1), x) < T(0));)
PF_UNARY(bitwise_not, return static_cast<T>(sizeof(T) == 1 ? x ^ 1 : ~x);)
PF_UNARY(logical_not, return static_cast<uint8_t>(x == T(0));)

#define PF_BY_WIDTH(name, of_float, of_double)                        \
  struct name {                                                       \
    PF_MEMBER float apply(float x, uint32_t&) { return of_float; }    \
    PF_MEMBER double apply(double x, uint32_t&) { return of_double; } \
  };
PF_BY_WIDTH(floor, __builtin_floorf(x), __builtin_floor(x))
PF_BY_WIDTH(ceil, __builtin_ceilf(x), __builtin_ceil(x))
PF_BY_WIDTH(round, __builtin_rintf(x), __builtin_rint(x))
PF_BY_WIDTH(trunc, __builtin_truncf(x), __builtin_trunc(x))
// The C library's, whose errors are a few ulps at most (docs/numerics.md).
PF_BY_WIDTH(tan, __builtin_tanf(x), __builtin_tan(x))
PF_BY_WIDTH(asin, __builtin_asinf(x), __builtin_asin(x))
PF_BY_WIDTH(acos, __builtin_acosf(x), __builtin_acos(x))
PF_BY_WIDTH(atan, __builtin_atanf(x), __builtin_atan(x))
PF_BY_WIDTH(asinh, __builtin_asinhf(x), __builtin_asinh(x))
PF_BY_WIDTH(acosh, __builtin_acoshf(x), __builtin_acosh(x))
PF_BY_WIDTH(atanh, __builtin_atanhf(x), __builtin_atanh(x))
PF_BY_WIDTH(erfc, __builtin_erfcf(x), __builtin_erfc(x))
// float32 by way of float64, some at a time (`wide`).
#define PF_BY_WIDER(name, of_wide, of_double)                                                 \
  struct name {                                                                               \
    template <typename V>                                                                     \
    PF_MEMBER V wide(V x) {                                                                   \
      return math::of_wide(x);                                                                \
    }                                                                                         \
    PF_MEMBER float apply(float x, uint32_t&) { return static_cast<float>(wide(double{x})); } \
    PF_MEMBER double apply(double x, uint32_t&) { return of_double; }                         \
  };
PF_BY_WIDER(sinh, by_hyperbolic_sine, __builtin_sinh(x))
PF_BY_WIDER(cosh, by_hyperbolic_cosine, __builtin_cosh(x))
PF_BY_WIDER(exp2, by_exponential2, __builtin_exp2(x))
PF_BY_WIDER(log2, by_logarithm2, __builtin_log2(x))
PF_BY_WIDER(log10, by_logarithm10, __builtin_log10(x))
PF_BY_WIDER(cbrt, by_cube_root, __builtin_cbrt(x))
#undef PF_BY_WIDER
// float32 by way of float64: gamma's logarithm and its derivatives cross zero, where relative errors grow.
PF_BY_WIDTH(lgamma, static_cast<float>(math::log_gamma(x)), math::log_gamma(x))
PF_BY_WIDTH(digamma, static_cast<float>(math::digamma(x)), math::digamma(x))
PF_BY_WIDTH(trigamma, static_cast<float>(math::trigamma(x)), math::trigamma(x))
// float32 holds up to kLargestAngle; the tile loop hands what lies beyond to `apply_beyond`.
struct sin {
  PF_MEMBER float apply(float x, uint32_t&) { return math::sine(x, 0); }
  PF_MEMBER double apply(double x, uint32_t&) { return __builtin_sin(x); }
  PF_MEMBER float apply_beyond(float x) { return __builtin_sinf(x); }
};
struct cos {
  PF_MEMBER float apply(float x, uint32_t&) { return math::sine(x, 1); }
  PF_MEMBER double apply(double x, uint32_t&) { return __builtin_cos(x); }
  PF_MEMBER float apply_beyond(float x) { return __builtin_cosf(x); }
};

PF_BINARY(add, return static_cast<T>(Wrapping<T>(a) + Wrapping<T>(b));)
PF_BINARY(sub, return static_cast<T>(Wrapping<T>(a) - Wrapping<T>(b));)
PF_BINARY(mul, return static_cast<T>(Wrapping<T>(a) * Wrapping<T>(b));)

// Towards zero; a divisor of 0 or -1 never reaches the machine's division.
template <typename T>
PF_FUNCTION T divide_integers(T a, T b, uint32_t& faults) {
  faults |= b == 0 ? kFaultDivision : 0u;
  if constexpr (static_cast<T>(-1) > T(0)) return b == 0 ? T(0) : a / (b == 0 ? T(1) : b);
  const bool special = b == 0 || b == T(-1);
  const T quotient = a / (special ? T(1) : b);
  return b == T(-1) ? static_cast<T>(Wrapping<T>(0) - Wrapping<T>(a)) : b == 0 ? T(0) : quotient;
}

PF_FUNCTION float remainder_of(float a, float b) {
  return __builtin_fmodf(a, b);
}
PF_FUNCTION double remainder_of(double a, double b) {
  return __builtin_fmod(a, b);
}

// The remainder with the divisor's sign, as in Python.
template <typename T>
PF_FUNCTION T modulo(T a, T b, uint32_t& faults) {
  if constexpr (kIsFloat<T>) {
    const T remainder = remainder_of(a, b);
    if (b == T(0)) return remainder;
    if (remainder == T(0)) return math::with_sign(T(0), b);
    return (b < T(0)) != (remainder < T(0)) ? remainder + b : remainder;
  } else {
    const T quotient = divide_integers(a, b, faults);
    const T remainder = static_cast<T>(Wrapping<T>(a) - Wrapping<T>(quotient) * Wrapping<T>(b));
    const T fixed = remainder != 0 && ((remainder < 0) != (b < 0)) ? remainder + b : remainder;
    return b == 0 ? T(0) : fixed;
  }
}

template <typename T>
PF_FUNCTION T floor_divide(T a, T b, uint32_t& faults) {
  if constexpr (kIsFloat<T>) {
    if (b == T(0)) return a / b;
    const T remainder = remainder_of(a, b);
    T quotient = (a - remainder) / b;
    if (remainder != T(0) && (b < T(0)) != (remainder < T(0))) quotient -= T(1);
    if (quotient == T(0)) return math::with_sign(T(0), a / b);
    const T whole = floor::apply(quotient, faults);
    return quotient - whole > T(0.5) ? whole + T(1) : whole;
  } else {
    const T quotient = divide_integers(a, b, faults);
    const T remainder = static_cast<T>(Wrapping<T>(a) - Wrapping<T>(quotient) * Wrapping<T>(b));
    return b != 0 && remainder != 0 && ((remainder < 0) != (b < 0)) ? quotient - 1 : quotient;
  }
}

PF_FUNCTION float power(float a, float b, uint32_t&) {
  const double wide_a = a, wide_b = b;
  return math::has_ordinary_power(a, b) ? static_cast<float>(math::ordinary_power(wide_a, wide_b))
                                        : __builtin_powf(a, b);
}
PF_FUNCTION double power(double a, double b, uint32_t&) {
  return __builtin_pow(a, b);
}
template <typename T>
PF_FUNCTION T power(T a, T b, uint32_t& faults) {
  faults |= b < 0 ? kFaultPower : 0u;
  Wrapping<T> base = static_cast<Wrapping<T>>(a), result = 1;
  for (Wrapping<T> left = b < 0 ? 0 : static_cast<Wrapping<T>>(b); left != 0; left >>= 1) {
    if ((left & 1) != 0) result *= base;
    base *= base;
  }
  return static_cast<T>(result);
}

PF_BINARY(div, {
  if constexpr (kIsFloat<T>) {
    return a / b;
  } else {
    return divide_integers(a, b, faults);
  }
})
// The remainder with the dividend's sign, as in C.
PF_BINARY(fmod, {
  if constexpr (kIsFloat<T>) {
    return remainder_of(a, b);
  } else {
    const T quotient = divide_integers(a, b, faults);
    return b == 0 ? T(0) : static_cast<T>(Wrapping<T>(a) - Wrapping<T>(quotient) * Wrapping<T>(b));
  }
})
PF_BINARY(floordiv, return floor_divide(a, b, faults);)
PF_BINARY(mod, return modulo(a, b, faults);)
PF_BINARY(pow, return power(a, b, faults);)
// NaN wins; of two NaNs the first.
PF_BINARY(minimum, {
  const T smaller = b < a || b != b ? b : a;
  return a != a ? a : smaller;
})
PF_BINARY(maximum, {
  const T larger = b > a || b != b ? b : a;
  return a != a ? a : larger;
})
PF_BINARY(equal, return static_cast<uint8_t>(a == b);)
PF_BINARY(not_equal, return static_cast<uint8_t>(a != b);)
PF_BINARY(less, return static_cast<uint8_t>(a < b);)
PF_BINARY(less_equal, return static_cast<uint8_t>(a <= b);)
PF_BINARY(greater, return static_cast<uint8_t>(a > b);)
PF_BINARY(greater_equal, return static_cast<uint8_t>(a >= b);)
PF_BINARY(logical_and, return static_cast<uint8_t>((a != T(0)) & (b != T(0)));)
PF_BINARY(logical_or, return static_cast<uint8_t>((a != T(0)) | (b != T(0)));)
PF_BINARY(logical_xor, return static_cast<uint8_t>((a != T(0)) ^ (b != T(0)));)

#define PF_PAIR_BY_WIDTH(name, of_float, of_double)                             \
  struct name {                                                                 \
    PF_MEMBER float apply(float a, float b, uint32_t&) { return of_float; }     \
    PF_MEMBER double apply(double a, double b, uint32_t&) { return of_double; } \
  };
PF_PAIR_BY_WIDTH(atan2, __builtin_atan2f(a, b), __builtin_atan2(a, b))
PF_PAIR_BY_WIDTH(hypot, __builtin_hypotf(a, b), __builtin_hypot(a, b))
PF_PAIR_BY_WIDTH(copysign, math::with_sign(a, b), math::with_sign(a, b))
PF_PAIR_BY_WIDTH(nextafter, __builtin_nextafterf(a, b), __builtin_nextafter(a, b))

PF_BINARY(gcd, {
  Wrapping<T> x = a < 0 ? Wrapping<T>(0) - Wrapping<T>(a) : Wrapping<T>(a);
  Wrapping<T> y = b < 0 ? Wrapping<T>(0) - Wrapping<T>(b) : Wrapping<T>(b);
  while (y != 0) {
    const Wrapping<T> rest = x % y;
    x = y;
    y = rest;
  }
  return static_cast<T>(x);
})
PF_BINARY(bitwise_and, return static_cast<T>(a & b);)
PF_BINARY(bitwise_or, return static_cast<T>(a | b);)
PF_BINARY(bitwise_xor, return static_cast<T>(a ^ b);)
// A shift by as many bits as there are, or by a negative number, moves every bit out.
PF_BINARY(left_shift, {
  const bool fits = Wrapping<T>(b) < Wrapping<T>(sizeof(T) * 8);
  return fits ? static_cast<T>(Wrapping<T>(a) << (fits ? b : T(0))) : T(0);
})
PF_BINARY(right_shift, {
  const bool fits = Wrapping<T>(b) < Wrapping<T>(sizeof(T) * 8);
  return fits ? static_cast<T>(a >> (fits ? b : T(0))) : static_cast<T>(a < 0 ? -1 : 0);
})

struct clip {
  template <typename T>
  PF_MEMBER T apply(T x, T low, T high, uint32_t& faults) {
    return minimum::apply(maximum::apply(x, low, faults), high, faults);
  }
};

// Float to integer: truncates; what does not fit becomes the nearest integer that does, NaN 0. Integers wrap; bool is
// x != 0.
template <typename To>
struct cast {
  template <typename From>
  PF_MEMBER To apply(From x) {
    if constexpr (sizeof(To) == 1) {
      return static_cast<To>(x != From(0));
    } else if constexpr (kIsFloat<From> && !kIsFloat<To>) {
      constexpr bool kSigned = static_cast<To>(-1) < To(0);
      constexpr int kBits = static_cast<int>(sizeof(To)) * 8 - (kSigned ? 1 : 0);
      constexpr From kTop = From(2) * static_cast<From>(uint64_t{1} << (kBits - 1));
      constexpr From kBottom = kSigned ? -kTop : From(0);
      constexpr To kLow = kSigned ? static_cast<To>(uint64_t{1} << (kBits % 64)) : To(0);
      const bool inside = (x > kBottom) & (x < kTop);
      const To whole = static_cast<To>(inside ? x : From(0));
      const To low = x <= kBottom ? kLow : whole;
      return x >= kTop ? static_cast<To>(~kLow) : low;
    } else {
      return static_cast<To>(x);
    }
  }
};

#undef PF_UNARY
#undef PF_BINARY
#undef PF_BY_WIDTH
#undef PF_PAIR_BY_WIDTH

}  // namespace ops
}  // namespace PF_ISA
}  // namespace pf

#endif
