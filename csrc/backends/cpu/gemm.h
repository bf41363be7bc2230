/* The pieces that matmul and convolution share: panel packing, and the product of one block by register tiles.
 *
 * Right operands come in panels of 16 columns, [ceildiv(N,16)][K][16], zero padded: one format for every ISA. Each
 * element of a result is one chain over k in increasing order, acc = fma(a, b, acc) from 0. A block product may be
 * cut along k: the partial sum goes through memory in its own type, so that no blocking changes a bit. */
#ifndef PYFLOW_BACKENDS_CPU_GEMM_H
#define PYFLOW_BACKENDS_CPU_GEMM_H

#include <stdint.h>

#include "backends/cpu/finish.h"
#include "kernels/simd.h"
#include "kernels/view.h"

namespace pf {
namespace plain {

constexpr int64_t kPanel = 16;  // columns of a panel

/* The longest stretch of k between two visits of sums to memory: rows of the left operand for a tile stay in a
 * first-level cache while a panel passes by. */
constexpr int64_t kDepth = 1024;

/* Packs depth x columns (at most 16) into one panel [depth][16], zero padded; and the padding alone. T is float or
 * double. */
template <typename T>
void pack_panel(int64_t depth, int64_t columns, const T* b, int64_t k_stride, int64_t column_stride, T* to);
template <typename T>
void pad_panel(int64_t depth, int64_t columns, T* to);

}  // namespace plain

namespace PF_ISA {
namespace gemm {

using plain::kDepth;
using plain::kPanel;

// Rows of a register tile.
#if defined(__AVX512F__)
constexpr int kRows = 8;
#elif defined(__AVX2__)
constexpr int kRows = 6;
#else
constexpr int kRows = 4;
#endif

/* Where part `index` of `parts` nearly equal parts of `count` begins. */
static inline int64_t part_begin(int64_t count, int64_t parts, int64_t index) {
  return count * index / parts;
}

/* The same for rows, which stay in register tiles of nearly equal height. */
static inline int64_t row_begin(int64_t count, int64_t parts, int64_t index) {
  const int64_t tiles = ceildiv(count, kRows);
  return tiles == 0 ? 0 : part_begin(count, tiles, part_begin(tiles, parts, index));
}

/* At most so many rows of so high tiles has such a part. */
static inline int64_t most_rows(int64_t count, int64_t height, int64_t parts) {
  return minimum_of(count, ceildiv(ceildiv(count, height), parts) * height);
}

/* The same for panels, which stay in pairs: a tile of the widest vectors spans two. */
static inline int64_t panel_begin(int64_t count, int64_t parts, int64_t index) {
  return minimum_of(count, 2 * part_begin(ceildiv(count, 2), parts, index));
}

/* At most so many panels has such a part. */
static inline int64_t most_panels(int64_t count, int64_t parts) {
  return minimum_of(count, 2 * ceildiv(ceildiv(count, 2), parts));
}

/* A block of rows of the left operand, along which k is adjacent. Row r begins at data + r * stride; or, if `rows` is
 * not nullptr, at rows[r], and its k are `run_count` runs of `run_length`, run i at rows[r] + runs[i]. */
template <typename T>
struct Left {
  const T* data;
  int64_t stride;
  const T* const* rows = nullptr;
  const int64_t* runs = nullptr;
  int64_t run_count = 1, run_length = 0;
};

/* Panels of the right operand: element (k, j) of panel p at data + p * panel_stride + k * k_stride + j. `ahead` is the
 * way from the last panel to what the caller multiplies by next: it is fetched while this is multiplied. */
template <typename T>
struct Right {
  const T* data;
  int64_t k_stride;
  int64_t panel_stride;
  int64_t ahead = 0;
};

/* What happens to sums: they are added to what c holds, and finished before they are stored. `row` and `column` are
 * those of c's first element for the finish. */
struct Store {
  bool accumulate;
  const Finish* finish;  // or nullptr
  int64_t row, column;
};

/* What is known of a product when it is compiled: whole panels, of kNarrow columns at most, take fewer kinds of tiles.
 */
constexpr int64_t kNarrow = 2 * kPanel;
enum class Width { kAny, kNarrow };

/* c[rows, columns] = a b as `how` says, c rows `c_stride` apart; columns are whole vectors. T is float or double. */
template <typename T, Width WIDTH = Width::kAny>
void multiply_columns(int64_t rows, int64_t columns, int64_t depth, const Left<T>& a, const Right<T>& b, T* c,
                      int64_t c_stride, const Store& how);

/* c[rows, panels * 16] = a b, or += with `accumulate`: always whole panels, c rows `c_stride` apart. */
template <typename T>
static inline void multiply(int64_t rows, int64_t panels, int64_t depth, const Left<T>& a, const Right<T>& b, T* c,
                            int64_t c_stride, bool accumulate) {
  multiply_columns<T>(rows, panels * kPanel, depth, a, b, c, c_stride, {accumulate, nullptr, 0, 0});
}

/* Copies rows x depth of any strides to rows `stride` apart along which k is adjacent. */
template <typename T>
void pack_left(int64_t rows, int64_t depth, const T* a, int64_t row_stride, int64_t k_stride, T* to, int64_t stride);

/* What plain::pack_panel does, in vectors where elements are adjacent. */
template <typename T>
void pack_panel(int64_t depth, int64_t columns, const T* b, int64_t k_stride, int64_t column_stride, T* to);

}  // namespace gemm
}  // namespace PF_ISA
}  // namespace pf

#endif
