// Vectors of the ISA a file is compiled for, as GCC vector types: + - * / and comparisons are operators.
#ifndef PYFLOW_KERNELS_SIMD_H
#define PYFLOW_KERNELS_SIMD_H

#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace pf {
namespace PF_ISA {

#if defined(__AVX512F__)
#define PF_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define PF_VECTOR_BYTES 32
#else
#define PF_VECTOR_BYTES 16
#endif

template <typename T>
struct VectorOf;
#define PF_VECTOR(type)                                                                                     \
  template <>                                                                                               \
  struct VectorOf<type> {                                                                                   \
    typedef type Aligned __attribute__((vector_size(PF_VECTOR_BYTES)));                                     \
    typedef type Anywhere __attribute__((vector_size(PF_VECTOR_BYTES), aligned(alignof(type)), may_alias)); \
  };
PF_VECTOR(float)
PF_VECTOR(double)
PF_VECTOR(int32_t)
PF_VECTOR(int64_t)
PF_VECTOR(uint8_t)
PF_VECTOR(uint32_t)
PF_VECTOR(uint64_t)
#undef PF_VECTOR

template <typename T>
using Vector = typename VectorOf<T>::Aligned;

template <typename T>
constexpr int64_t kLanes = PF_VECTOR_BYTES / sizeof(T);

// Unaligned.
template <typename T>
static inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorOf<T>::Anywhere*>(from);
}
template <typename T>
static inline void store(T* to, Vector<T> value) {
  *reinterpret_cast<typename VectorOf<T>::Anywhere*>(to) = value;
}
template <typename T>
static inline Vector<T> broadcast(T value) {
  return Vector<T>{} + value;
}

// The first `count` lanes, 0 in the others.
template <typename T>
static inline Vector<T> load_first(const T* from, int64_t count) {
  Vector<T> result{};
  for (int64_t i = 0; i < count; ++i) result[i] = from[i];
  return result;
}
template <typename T>
static inline void store_first(T* to, Vector<T> value, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = value[i];
}

// a*b + c: one rounding where the ISA has it (avx2, avx512), two on portable. The only place that fuses.
static inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
static inline double multiply_add(double a, double b, double c) {
#if defined(__FMA__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}
static inline int32_t multiply_add(int32_t a, int32_t b, int32_t c) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b) + static_cast<uint32_t>(c));
}
static inline int64_t multiply_add(int64_t a, int64_t b, int64_t c) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b) + static_cast<uint64_t>(c));
}
static inline Vector<float> multiply_add(Vector<float> a, Vector<float> b, Vector<float> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}
static inline Vector<double> multiply_add(Vector<double> a, Vector<double> b, Vector<double> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}
/* *sum = multiply_add(a, b, *sum) in the register where *sum is. Left to itself gcc moves sums about where nearly all
 * registers hold one. */
static inline void add_product(Vector<float> a, Vector<float> b, Vector<float>* sum) {
#if defined(__FMA__)
  asm("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "vm"(b));
#else
  *sum = multiply_add(a, b, *sum);
#endif
}
static inline void add_product(Vector<double> a, Vector<double> b, Vector<double>* sum) {
#if defined(__FMA__)
  asm("vfmadd231pd %2, %1, %0" : "+v"(*sum) : "v"(a), "vm"(b));
#else
  *sum = multiply_add(a, b, *sum);
#endif
}
// Integers wrap (files are compiled with -fwrapv).
static inline Vector<int32_t> multiply_add(Vector<int32_t> a, Vector<int32_t> b, Vector<int32_t> c) {
  return a * b + c;
}
static inline Vector<int64_t> multiply_add(Vector<int64_t> a, Vector<int64_t> b, Vector<int64_t> c) {
  return a * b + c;
}

// a < b ? a : b and a > b ? a : b, lane by lane: b where either is NaN.
template <typename V>
static inline V lesser(V a, V b) {
  return a < b ? a : b;
}
template <typename V>
static inline V greater(V a, V b) {
  return a > b ? a : b;
}
#if defined(__AVX512F__)
#define PF_WIDE(name) _mm512_##name
#elif defined(__AVX2__)
#define PF_WIDE(name) _mm256_##name
#elif defined(__SSE2__)
#define PF_WIDE(name) _mm_##name
#endif
#if defined(PF_WIDE)
template <>
inline Vector<float> lesser(Vector<float> a, Vector<float> b) {
  return PF_WIDE(min_ps)(a, b);
}
template <>
inline Vector<float> greater(Vector<float> a, Vector<float> b) {
  return PF_WIDE(max_ps)(a, b);
}
template <>
inline Vector<double> lesser(Vector<double> a, Vector<double> b) {
  return PF_WIDE(min_pd)(a, b);
}
template <>
inline Vector<double> greater(Vector<double> a, Vector<double> b) {
  return PF_WIDE(max_pd)(a, b);
}
#undef PF_WIDE
#endif

}  // namespace PF_ISA
}  // namespace pf

#endif
