// The register tiles and the packing behind gemm.h, once per ISA for all that multiplies.
#include "backends/cpu/gemm.h"

#include "kernels/transpose.h"

namespace pf {
namespace PF_ISA {
namespace gemm {
namespace {

#if defined(__AVX512F__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif
/* Rows of the least tile of two vectors: with fewer sums than a unit has additions in flight, fewer rows take no less
 * time. */
constexpr int kLeastRows = 4;
/* Rows of the least and of the highest tile of three, which holds as many sums as one of two; where none is, one of one
 * has sums enough. */
#if defined(__AVX512F__)
constexpr bool kThree = false;
#else
constexpr bool kThree = true;
#endif
constexpr int kLeastOfThree = 3, kMostOfThree = 4;
/* Rows of the highest tile of four vectors; and where products are narrow, so that programs of them are small. */
constexpr int kWideRows = 3;
#if defined(__AVX2__)
constexpr int kNarrowRows = 3;
#else
constexpr int kNarrowRows = 2;
#endif

constexpr int64_t kTurn = 4;  // k of a turn of a tile's loop

/* What tiles share. Row r of the left operand begins at rows[r], or else r strides behind the tile's own begin; its k
 * are `run_count` runs of `run_length`, run i at runs[i]. Each turn fetches a line `next_step` bytes behind the last.
 */
template <typename T>
struct Product {
  const T* const* rows;
  const int64_t* runs;
  int64_t run_count, run_length;
  int64_t stride;
  int64_t k_stride, panel_stride;
  int64_t c_stride;
  int64_t next_step;
  const Store* how;
};

/* `tiles` of ROWS x (COUNT vectors) of c, one below the other, each in registers from the first k to the last. a, b, c
 * and next are where the first begins, row and column too. */
template <typename T, int ROWS, int COUNT>
__attribute__((noinline)) void tile(const Product<T>& product, int64_t tiles, const T* a, const T* b, T* c,
                                    const char* next, int64_t row, int64_t column) {
  constexpr int lanes = static_cast<int>(kLanes<T>);
  const int64_t length = product.run_length, c_stride = product.c_stride;
  const int64_t k_stride = product.k_stride, panel_stride = product.panel_stride;
  const int64_t next_step = product.next_step;
  for (; tiles > 0; --tiles, row += ROWS) {
    if constexpr (sizeof(T) == sizeof(float)) {
      const Store& how = *product.how;
      if (how.finish != nullptr) fetch_extras(ROWS, COUNT * lanes, *how.finish, how.row + row, how.column + column);
    }
    Vector<T> sum[ROWS][COUNT];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < COUNT; ++j) sum[i][j] = Vector<T>{};
    }
    if (product.how->accumulate) {
      const T* from = c;
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i, from += c_stride) {
#pragma GCC unroll 8
        for (int j = 0; j < COUNT; ++j) sum[i][j] = load(from + j * lanes);
      }
    }
    const T* at[ROWS];
    if (product.rows == nullptr) {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i, a += product.stride) at[i] = a;
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i) at[i] = product.rows[row + i];
    }
    const T* right = b;
    const auto add = [&](int64_t k) __attribute__((always_inline)) {
      Vector<T> factors[COUNT];
#pragma GCC unroll 8
      for (int j = 0; j < COUNT; ++j) {
        factors[j] = load(right + (j * lanes / kPanel) * panel_stride + j * lanes % kPanel);
        if constexpr (ROWS > 1 && (ROWS + 1) * COUNT < kRegisters) asm("" : "+v"(factors[j]));  // loaded once
      }
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i) {
        const Vector<T> factor = at[i][k] - Vector<T>{};
#pragma GCC unroll 8
        for (int j = 0; j < COUNT; ++j) add_product(factor, factors[j], &sum[i][j]);
      }
      right += k_stride;
    };
    for (const int64_t *run = product.runs, *last = run + product.run_count; run != last; ++run) {
      int64_t k = *run;
      const int64_t end = k + length, whole = end - length % kTurn;
      for (; k != whole; k += kTurn) {
        __builtin_prefetch(next, 0, 2);
        next += next_step;
#pragma GCC unroll 4
        for (int64_t i = 0; i < kTurn; ++i) add(k + i);
      }
      for (; k != end; ++k) add(k);
    }
    if constexpr (sizeof(T) == sizeof(float)) {
      const Store& how = *product.how;
      if (how.finish != nullptr) finish_tile(*how.finish, how.row + row, how.column + column, sum);
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i, c += c_stride) {
#pragma GCC unroll 8
      for (int j = 0; j < COUNT; ++j) store(c + j * lanes, sum[i][j]);
    }
  }
}

/* The tiles of one height and width. */
template <typename T>
struct Kind {
  decltype(&tile<T, 1, 1>) make;
  int64_t rows, count;
};

constexpr int64_t kMostVectors = 3;  // of a row of a tile that may have fewer rows

/* `tiles` one below the other, of `rows` rows each though their kind has more: the last row stands for what is missing,
 * and memory beside for c. */
template <typename T>
void fewer_rows(const Kind<T>& kind, int64_t rows, const Product<T>& product, int64_t tiles, const T* a, const T* b,
                T* c, const char* next, int64_t row, int64_t column) {
  constexpr int64_t lanes = kLanes<T>;
  alignas(64) T sums[kRows * kMostVectors * lanes];
  const T* at[kRows];
  const Store unfinished = {product.how->accumulate, nullptr, 0, 0};
  Product<T> own = product;
  own.rows = at;
  own.c_stride = kind.count * lanes;
  own.how = &unfinished;
  for (; tiles > 0; --tiles, row += rows, a += rows * product.stride, c += rows * product.c_stride) {
    for (int64_t i = 0; i < kRows; ++i) {
      const int64_t from = minimum_of(i, rows - 1);
      at[i] = product.rows != nullptr ? product.rows[row + from] : a + from * product.stride;
      for (int64_t j = 0; product.how->accumulate && j < own.c_stride; j += lanes) {
        store(sums + i * own.c_stride + j, load(c + from * product.c_stride + j));
      }
    }
    kind.make(own, 1, a, b, sums, next, 0, 0);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < own.c_stride; j += lanes) {
        Vector<T> sum[1][1] = {{load(sums + i * own.c_stride + j)}};
        if constexpr (sizeof(T) == sizeof(float)) {
          const Store& how = *product.how;
          if (how.finish != nullptr) finish_tile(*how.finish, how.row + row + i, how.column + column + j, sum);
        }
        store(c + i * product.c_stride + j, sum[0][0]);
      }
    }
  }
}

/* The least kind of COUNT vectors that has `rows` rows, of those with ROWS rows, STEP fewer and so on to LEAST. */
template <typename T, int COUNT, int LEAST, int ROWS, int STEP = 1>
Kind<T> least_kind(int64_t rows) {
  if constexpr (ROWS - STEP >= LEAST) {
    if (rows <= ROWS - STEP) return least_kind<T, COUNT, LEAST, ROWS - STEP, STEP>(rows);
  }
  return {tile<T, ROWS, COUNT>, ROWS, COUNT};
}

/* Vectors of a row of a tile and rows of the highest of four, where a product is so wide; and whether there is a tile
 * of one vector. */
template <typename T, Width WIDTH>
struct Kinds {
  static constexpr bool narrow = WIDTH == Width::kNarrow;
  static constexpr int64_t vectors = kNarrow / kLanes<T>;
  static constexpr int64_t widest = !narrow ? 8 : vectors < 4 ? vectors : 4;
  static constexpr int64_t wide_rows = narrow ? kNarrowRows : kWideRows;
  static constexpr bool single = !narrow || kPanel == kLanes<T>;
  static constexpr bool three = kThree && !narrow;
  static constexpr int step = narrow && kRows == 8 ? 2 : 1;  // of the heights of tiles of two

  /* Vectors of a row where `left` are left: few rows have wider tiles, so that enough sums are in flight; they are in
   * the tile of three that stands for one of two and one of one. */
  static int64_t vectors_of(int64_t rows, int64_t left, int64_t column) {
    if (widest >= 8 && rows == 1 && left >= 8) return 8;
    if (widest >= 4 && rows <= wide_rows && left >= 4) return 4;
    if (three && rows >= 2 * kLeastOfThree && left == 3 && column % kPanel == 0) return 3;
    return minimum_of(left, 2);
  }

  /* Rows of the highest tile of more than a few rows. */
  static int64_t highest(int64_t count) { return count == 3 ? kMostOfThree : kRows; }

  /* The least kind that has `rows` rows of `count` vectors. */
  static Kind<T> of(int64_t rows, int64_t count) {
    if constexpr (widest >= 8) {
      if (count == 8) return {tile<T, 1, 8>, 1, 8};
    }
    if constexpr (widest >= 4) {
      if (wide_rows >= 3 && count == 4 && rows == 3) return {tile<T, 3, 4>, 3, 4};
      if (count == 4 && rows == 2) return {tile<T, 2, 4>, 2, 4};
      if (count == 4) return {tile<T, 1, 4>, 1, 4};
    }
    if constexpr (three) {
      if (count == 3) return least_kind<T, 3, kLeastOfThree, kMostOfThree>(rows);
    }
    if (single && count == 1) return {tile<T, kRows, 1>, kRows, 1};
    return least_kind<T, 2, kLeastRows, kRows, step>(rows);
  }
};

}  // namespace

template <typename T, Width WIDTH>
void multiply_columns(int64_t rows, int64_t columns, int64_t depth, const Left<T>& a, const Right<T>& b, T* c,
                      int64_t c_stride, const Store& how) {
  if (rows == 0) return;
  constexpr int64_t lanes = kLanes<T>;
  const int64_t none = 0;
  const bool scattered = a.rows != nullptr;
  Product<T> product = {a.rows,
                        scattered ? a.runs : &none,
                        scattered ? a.run_count : 1,
                        scattered ? a.run_length : depth,
                        a.stride,
                        b.k_stride,
                        b.panel_stride,
                        c_stride,
                        0,
                        &how};
  for (int64_t column = 0, count; column + lanes <= columns; column += count * lanes) {
    count = Kinds<T, WIDTH>::vectors_of(rows, (columns - column) / lanes, column);
    const T* left = a.data;
    const T* right = b.data + column / kPanel * b.panel_stride + column % kPanel;
    const bool last = (column / kPanel + 1) * kPanel >= columns;
    const char* next = reinterpret_cast<const char*>(right + (last ? b.ahead : b.panel_stride));
    const int64_t tiles = ceildiv(rows, Kinds<T, WIDTH>::highest(count));
    const int64_t low = rows / tiles, higher = rows - low * tiles;  // tiles of low + 1 rows
    product.next_step = count > 2 ? 0 : kTurn * b.k_stride * static_cast<int64_t>(sizeof(T)) / tiles;
    for (int64_t row = 0; row < rows;) {
      const bool high = row < higher * (low + 1);
      const int64_t height = low + high, many = high ? higher : tiles - higher;
      const Kind<T> kind = Kinds<T, WIDTH>::of(height, count);
      T* const to = c + row * c_stride + column;
      if (kind.rows == height) {
        kind.make(product, many, left, right, to, next, row, column);
      } else {
        fewer_rows(kind, height, product, many, left, right, to, next, row, column);
      }
      row += many * height;
      left += many * height * a.stride;
      next += many * (depth / kTurn) * product.next_step;
    }
  }
}

template <typename T>
void pack_left(int64_t rows, int64_t depth, const T* a, int64_t row_stride, int64_t k_stride, T* to, int64_t stride) {
  if (row_stride == 1 && k_stride != 1) {
    transpose_block(depth, rows, a, k_stride, to, stride);
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    if (k_stride == 1) {
      __builtin_memcpy(to + i * stride, a + i * row_stride, static_cast<size_t>(depth) * sizeof(T));
    } else {
      for (int64_t k = 0; k < depth; ++k) to[i * stride + k] = a[i * row_stride + k * k_stride];
    }
  }
}

template <typename T>
void pack_panel(int64_t depth, int64_t columns, const T* b, int64_t k_stride, int64_t column_stride, T* to) {
  if (column_stride == 1 && columns == kPanel) {
    constexpr int64_t ahead = 16;  // rows lie apart, where no hardware fetches them early
    for (int64_t k = 0; k < depth; ++k) {
      const T* const from = b + k * k_stride;
      const T* const later = b + minimum_of(k + ahead, depth - 1) * k_stride;
      for (int64_t j = 0; j < kPanel; j += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(later + j, 0, 2);
#pragma GCC unroll 16
      for (int64_t j = 0; j < kPanel; j += kLanes<T>) store(to + k * kPanel + j, load(from + j));
    }
  } else if (k_stride == 1 && column_stride != 1) {
    transpose_block(columns, depth, b, column_stride, to, kPanel);
    plain::pad_panel(depth, columns, to);
  } else {
    plain::pack_panel(depth, columns, b, k_stride, column_stride, to);
  }
}

template void multiply_columns<float>(int64_t, int64_t, int64_t, const Left<float>&, const Right<float>&, float*,
                                      int64_t, const Store&);
template void multiply_columns<double>(int64_t, int64_t, int64_t, const Left<double>&, const Right<double>&, double*,
                                       int64_t, const Store&);
template void multiply_columns<float, Width::kNarrow>(int64_t, int64_t, int64_t, const Left<float>&,
                                                      const Right<float>&, float*, int64_t, const Store&);
template void multiply_columns<double, Width::kNarrow>(int64_t, int64_t, int64_t, const Left<double>&,
                                                       const Right<double>&, double*, int64_t, const Store&);

template void pack_left(int64_t, int64_t, const float*, int64_t, int64_t, float*, int64_t);
template void pack_left(int64_t, int64_t, const double*, int64_t, int64_t, double*, int64_t);

template void pack_panel(int64_t, int64_t, const float*, int64_t, int64_t, float*);
template void pack_panel(int64_t, int64_t, const double*, int64_t, int64_t, double*);

}  // namespace gemm
}  // namespace PF_ISA
}  // namespace pf
