/* Winograd's minimal filtering (Lavin and Gray 2016, arXiv:1509.09308) for 3 x 3 windows of stride 1: a tile of
 * m x m results takes (m+2)² products per pair of channels instead of 9 m². Along each axis, with m = 2 the polynomials
 * are evaluated at 0, 1, -1 and infinity; with m = 4 at 0, ±3/4, ±3/2 and infinity, whose powers are exact and whose
 * error stays near that of the direct sum. */
#ifndef PYFLOW_BACKENDS_CPU_WINOGRAD_H
#define PYFLOW_BACKENDS_CPU_WINOGRAD_H

#include "kernels/simd.h"

namespace pf {
namespace PF_ISA {

/* Transforms along one axis: `source` of m+2 numbers, `result` from m+2 products, `weight` of 3 taps. */
template <int TILE>
struct WinogradAxis;

template <>
struct WinogradAxis<2> {
  template <typename V>
  static inline void source(const V* d, V* to) {
    to[0] = d[2] - d[0];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[3] - d[1];
  }
  template <typename V>
  static inline void result(const V* p, V* to) {
    to[0] = p[0] + (p[1] + p[2]);
    to[1] = (p[1] - p[2]) + p[3];
  }
  static inline void weight(const double* w, double* to) {
    to[0] = -w[0];
    to[1] = 0.5 * ((w[0] + w[2]) + w[1]);
    to[2] = 0.5 * ((w[0] + w[2]) - w[1]);
    to[3] = w[2];
  }
};

template <>
struct WinogradAxis<4> {
  static constexpr float a = 0.75f, b = 1.5f;

  template <typename V>
  static inline void source(const V* d, V* to) {
    constexpr float product = a * a * b * b, sum = a * a + b * b;
    const V even_a = scaled(-b * b, d[2], d[4]), odd_a = scaled(-b * b, d[1], d[3]);
    const V even_b = scaled(-a * a, d[2], d[4]), odd_b = scaled(-a * a, d[1], d[3]);
    to[0] = scaled(product, d[0], scaled(-sum, d[2], d[4]));
    to[1] = scaled(a, odd_a, even_a);
    to[2] = scaled(-a, odd_a, even_a);
    to[3] = scaled(b, odd_b, even_b);
    to[4] = scaled(-b, odd_b, even_b);
    to[5] = scaled(product, d[1], scaled(-sum, d[3], d[5]));
  }
  template <typename V>
  static inline void result(const V* p, V* to) {
    const V even_a = p[1] + p[2], odd_a = p[1] - p[2], even_b = p[3] + p[4], odd_b = p[3] - p[4];
    to[0] = p[0] + (even_a + even_b);
    to[1] = scaled(b, odd_b, V{} + a * odd_a);
    to[2] = scaled(b * b, even_b, V{} + a * a * even_a);
    to[3] = scaled(b * b * b, odd_b, scaled(a * a * a, odd_a, p[5]));
  }
  static inline void weight(const double* w, double* to) {
    // The products of the differences between a point and the others.
    constexpr double at_0 = double{a} * a * b * b;
    constexpr double at_a = 2.0 * a * a * (double{a} * a - double{b} * b);
    constexpr double at_b = 2.0 * b * b * (double{b} * b - double{a} * a);
    to[0] = w[0] / at_0;
    to[1] = ((w[0] + a * a * w[2]) + a * w[1]) / at_a;
    to[2] = ((w[0] + a * a * w[2]) - a * w[1]) / at_a;
    to[3] = ((w[0] + b * b * w[2]) + b * w[1]) / at_b;
    to[4] = ((w[0] + b * b * w[2]) - b * w[1]) / at_b;
    to[5] = w[2];
  }

 private:
  template <typename V>
  static inline V scaled(float by, V x, V more) {
    return multiply_add(broadcast(by), x, more);
  }
};

/* Along both axes: to[i * (m+2) + j]. `from(y, x)` gives number (y, x) of m+2 by m+2. */
template <int TILE, typename From>
static inline void winograd_source(const From& from, Vector<float>* to) {
  constexpr int edge = TILE + 2;
  Vector<float> half[edge][edge];
#pragma GCC unroll 8
  for (int x = 0; x < edge; ++x) {
    Vector<float> column[edge], done[edge];
#pragma GCC unroll 8
    for (int y = 0; y < edge; ++y) column[y] = from(y, x);
    WinogradAxis<TILE>::source(column, done);
#pragma GCC unroll 8
    for (int y = 0; y < edge; ++y) half[y][x] = done[y];
  }
#pragma GCC unroll 8
  for (int y = 0; y < edge; ++y) WinogradAxis<TILE>::source(half[y], to + y * edge);
}

/* Along both axes: to[y][x] from product(i * (m+2) + j). */
template <int TILE, typename Product>
static inline void winograd_result(const Product& product, Vector<float> (*to)[TILE]) {
  constexpr int edge = TILE + 2;
  Vector<float> half[TILE][edge];
#pragma GCC unroll 8
  for (int x = 0; x < edge; ++x) {
    Vector<float> column[edge], done[TILE];
#pragma GCC unroll 8
    for (int y = 0; y < edge; ++y) column[y] = product(y * edge + x);
    WinogradAxis<TILE>::result(column, done);
#pragma GCC unroll 8
    for (int y = 0; y < TILE; ++y) half[y][x] = done[y];
  }
#pragma GCC unroll 8
  for (int y = 0; y < TILE; ++y) WinogradAxis<TILE>::result(half[y], to[y]);
}

/* Transforms taps[y * 3 + x][j] of `count` weights, in double, rounded once: to(point, j, value). */
template <int TILE, int64_t WIDTH, typename To>
static inline void winograd_weights(const double (*taps)[WIDTH], int64_t count, const To& to) {
  constexpr int edge = TILE + 2;
  for (int64_t j = 0; j < count; ++j) {
    double half[edge][3];
    for (int x = 0; x < 3; ++x) {
      const double column[3] = {taps[x][j], taps[3 + x][j], taps[6 + x][j]};
      double done[edge];
      WinogradAxis<TILE>::weight(column, done);
      for (int y = 0; y < edge; ++y) half[y][x] = done[y];
    }
    for (int y = 0; y < edge; ++y) {
      double done[edge];
      WinogradAxis<TILE>::weight(half[y], done);
      for (int x = 0; x < edge; ++x) to(y * edge + x, j, static_cast<float>(done[x]));
    }
  }
}

}  // namespace PF_ISA
}  // namespace pf

#endif
