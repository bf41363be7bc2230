// winograd_pack, conv2d_winograd: docs/kernels.md. Tiles of the source are transformed, multiplied by the transformed
// weights point by point (each a product of tiles x channels by channels x columns), and transformed back. What an
// element becomes depends on its tile alone, so every cut gives the same bits.
#include "backends/cpu/winograd.h"

#include <stdint.h>
#include <string.h>

#include "backends/cpu/destination.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/kernels.h"
#include "kernels/lanes.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int32_t kInts = 3;                 // of conv2d_winograd; behind them may stand the edge of windows of results
constexpr int64_t kPair = 2 * gemm::kPanel;  // columns of results at a time
constexpr int64_t kLine = 16;         // floats that set neighbouring points apart, else they would share cache sets
constexpr int64_t kSharedTiles = 64;  // up to here all tasks share the transformed source
constexpr int64_t kBlockTiles = 16;   // tiles of a task beyond that, about
constexpr int64_t kMostTiles = 32;    // tiles of a task up to that

struct Winograd {
  int64_t tile, points;
  int64_t pool;                   // edge of the windows of results of which the target has the largest, 1 or 2
  int64_t images, height, width;  // of the results
  int64_t down, across, tiles;    // tiles of a column, of a row, of all images
  int64_t source_height, source_width, pad_top, pad_left;
  int64_t source_strides[4];
  int64_t channels, depth;  // of the source; in whole vectors
  int64_t columns, panels;  // of the target
  int64_t pairs;            // of panels
  int64_t blocks, block_tiles;
  bool shared;             // transformed by a phase of its own
  bool adjacent;           // channels are adjacent whole vectors
  int64_t source_stride;   // from a point of a block's transformed source to the next
  int64_t product_stride;  // from a point of its products to the next
  Destination destination;

  int64_t edge() const { return tile + 2; }
  int64_t block_begin(int64_t block) const { return gemm::part_begin(tiles, blocks, block); }
  int64_t source_elements() const { return points * source_stride; }  // of a block
};

void winograd_init(const pf_call* call, Winograd* plan) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  constexpr int64_t lanes = kLanes<float>;
  plan->tile = call->ints[2];
  plan->points = plan->edge() * plan->edge();
  plan->pool = call->step->nints > kInts ? call->ints[kInts] : 1;
  plan->images = y.dims[0];
  plan->height = y.dims[1] * plan->pool;
  plan->width = y.dims[2] * plan->pool;
  plan->down = ceildiv(plan->height, plan->tile);
  plan->across = ceildiv(plan->width, plan->tile);
  plan->tiles = plan->images * plan->down * plan->across;
  plan->source_height = x.dims[1];
  plan->source_width = x.dims[2];
  plan->pad_top = call->ints[0];
  plan->pad_left = call->ints[1];
  for (int32_t i = 0; i < 4; ++i) plan->source_strides[i] = x.strides[i];
  plan->channels = x.dims[3];
  plan->depth = ceildiv(plan->channels, lanes) * lanes;
  plan->adjacent = x.strides[3] == 1 && plan->depth == plan->channels;
  plan->columns = y.dims[3];
  plan->panels = ceildiv(plan->columns, gemm::kPanel);
  plan->pairs = ceildiv(plan->columns, kPair);
  plan->shared = plan->tiles <= kSharedTiles;
  plan->blocks = ceildiv(plan->tiles, plan->shared ? kMostTiles : kBlockTiles);
  if (!plan->shared) plan->blocks = ceildiv(plan->blocks, 4) * 4;
  plan->blocks = maximum_of(1, plan->blocks);
  plan->block_tiles = ceildiv(plan->tiles, plan->blocks);
  plan->source_stride = plan->block_tiles * plan->depth + kLine;
  plan->product_stride = plan->block_tiles * kPair + kLine;
  const int32_t nextras = call->step->ninputs - 2;
  destination_init(&plan->destination, y, call->inputs + 2, nextras, epilogue_of(call),
                   destination_fold(y, call->inputs + 2, nextras));
  destination_straighten(&plan->destination, false);
}

/* Thread scratch: a tile of the source, products, results of a tile, the transformed source, the epilogue's own. */
struct WinogradScratch {
  size_t products, results, source, epilogue;
};

WinogradScratch winograd_scratch(const Winograd& plan) {
  const auto lines = [](int64_t floats) { return (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64; };
  WinogradScratch scratch;
  scratch.products = lines(plan.points * plan.depth);
  scratch.results = scratch.products + lines(plan.points * plan.product_stride);
  scratch.source = scratch.results + lines(plan.tile * plan.tile * kPair);
  scratch.epilogue = scratch.source + lines(plan.shared ? 0 : plan.source_elements());
  return scratch;
}

/* Where a tile of the target lies. */
struct Place {
  int64_t image, row, column;

  Place(const Winograd& plan, int64_t index)
      : image(index / (plan.down * plan.across)),
        row(index / plan.across % plan.down * plan.tile),
        column(index % plan.across * plan.tile) {}
};

/* The pixels that a tile reads, in place where they can be, else copied to `memory` (room for a point of `depth` each),
 * which begins with zeros for what lies outside of the image. */
void find_pixels(const Winograd& plan, const float* source, const Place& at, float* memory, const float** pixels) {
  const int64_t* strides = plan.source_strides;
  const int64_t edge = plan.edge();
  const float* image = source + at.image * strides[0];
  for (int64_t y = 0; y < edge; ++y) {
    const int64_t row = at.row + y - plan.pad_top;
    for (int64_t x = 0; x < edge; ++x) {
      const int64_t column = at.column + x - plan.pad_left;
      const bool inside = row >= 0 && row < plan.source_height && column >= 0 && column < plan.source_width;
      const float* from = inside ? image + row * strides[1] + column * strides[2] : nullptr;
      if (plan.adjacent) {
        pixels[y * edge + x] = inside ? from : memory;
        continue;
      }
      float* to = memory + (y * edge + x) * plan.depth;
      for (int64_t c = 0; c < plan.depth; ++c) to[c] = inside && c < plan.channels ? from[c * strides[3]] : 0.0f;
      pixels[y * edge + x] = to;
    }
  }
}

/* Transforms tiles [begin, end); the first becomes row `row` of a block's transformed source. */
template <int TILE>
void transform_source(const Winograd& plan, const float* source, int64_t begin, int64_t end, int64_t row, float* memory,
                      float* to) {
  constexpr int edge = TILE + 2;
  constexpr int64_t lanes = kLanes<float>;
  const int64_t depth = plan.depth, stride = plan.source_stride;
  const float* pixels[edge * edge];
  if (plan.adjacent) memset(memory, 0, static_cast<size_t>(plan.depth) * sizeof(float));
  to += row * depth;
  for (int64_t t = begin; t < end; ++t, to += depth) {
    find_pixels(plan, source, Place(plan, t), memory, pixels);
    for (int64_t c = 0; c < depth; c += lanes) {
      Vector<float> made[edge * edge];
      winograd_source<TILE>([&](int y, int x) { return load(pixels[y * edge + x] + c); }, made);
#pragma GCC unroll 64
      for (int i = 0; i < edge * edge; ++i) store(to + i * stride + c, made[i]);
    }
  }
}

/* `columns` of the products of a block of `tiles`, from panel `panel` on. */
void multiply_points(const Winograd& plan, int64_t tiles, int64_t panel, int64_t columns, const float* source,
                     const float* weights, float* products) {
  const int64_t parts = maximum_of(1, ceildiv(plan.channels, gemm::kDepth));
  const int64_t panel_elements = plan.channels * gemm::kPanel;
  const int64_t point_elements = plan.panels * panel_elements;
  const int64_t before = (ceildiv(columns, gemm::kPanel) - 1) * panel_elements;  // of the last panel
  for (int64_t point = 0; point < plan.points; ++point) {
    const float* left = source + point * plan.source_stride;
    const float* right = weights + point * point_elements + panel * panel_elements;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t k0 = gemm::part_begin(plan.channels, parts, part);
      const int64_t depth = gemm::part_begin(plan.channels, parts, part + 1) - k0;
      const int64_t ahead = (part + 1 < parts ? depth * gemm::kPanel : point_elements - k0 * gemm::kPanel) - before;
      gemm::multiply_columns<float>(tiles, columns, depth, {left + k0, plan.depth},
                                    {right + k0 * gemm::kPanel, gemm::kPanel, panel_elements, ahead},
                                    products + point * plan.product_stride, kPair, {k0 > 0, nullptr, 0, 0});
    }
  }
}

/* The largest of each window of POOL x POOL results of a tile. */
template <int TILE, int POOL>
inline void keep_largest(const Vector<float> (&made)[TILE][TILE], Vector<float> (*kept)[TILE / POOL]) {
#pragma GCC unroll 4
  for (int y = 0; y < TILE; ++y) {
#pragma GCC unroll 4
    for (int x = 0; x < TILE; ++x) {
      Vector<float>& to = kept[y / POOL][x / POOL];
      to = y % POOL + x % POOL == 0 ? made[y][x] : Max::apply(to, made[y][x]);
    }
  }
}

/* One tile of results for up to kPair columns from `column` on. */
template <int TILE, int POOL>
void transform_result(const Winograd& plan, const Place& at, const float* products, int64_t column, int64_t columns,
                      float* results, char* scratch, uint32_t* faults) {
  constexpr int64_t lanes = kLanes<float>;
  const Destination& destination = plan.destination;
  constexpr int EDGE = TILE / POOL;
  const int64_t rows = minimum_of(TILE, plan.height - at.row) / POOL;
  const int64_t width = minimum_of(TILE, plan.width - at.column) / POOL;
  const int64_t across = plan.width / POOL;  // of the target
  const int64_t pixel = (at.image * (plan.height / POOL) + at.row / POOL) * across + at.column / POOL;
  const int64_t product_stride = plan.product_stride;
  const bool straight = destination.straight && columns % lanes == 0;
  const Finish none = {0, {}};
  const Finish& finish = destination.finish != nullptr ? *destination.finish : none;
  for (int64_t c = 0; c < columns; c += lanes) {
    Vector<float> made[TILE][TILE], kept[EDGE][EDGE];
    winograd_result<TILE>([&](int i) { return load(products + i * product_stride + c); }, made);
    keep_largest<TILE, POOL>(made, kept);
    if (!straight) {
      for (int y = 0; y < EDGE; ++y) {
        for (int x = 0; x < EDGE; ++x) store(results + (y * EDGE + x) * kPair + c, kept[y][x]);
      }
      continue;
    }
    const int64_t stride = destination.row_stride();
    float* to = static_cast<float*>(destination.output.data) + pixel * stride + column + c;
    for (int64_t y = 0; y < rows; ++y, to += across * stride) {
      const int64_t first = pixel + y * across;
      if (width == EDGE) {
        Vector<float> line[EDGE][1];
        for (int x = 0; x < EDGE; ++x) line[x][0] = kept[y][x];
        finish_tile<EDGE, 1>(finish, first, column + c, line);
        for (int x = 0; x < EDGE; ++x) store(to + x * stride, line[x][0]);
        continue;
      }
      for (int64_t x = 0; x < width; ++x) {
        Vector<float> one[1][1] = {{kept[y][x]}};
        finish_tile<1, 1>(finish, first + x, column + c, one);
        store(to + x * stride, one[0][0]);
      }
    }
  }
  if (straight) return;
  for (int64_t y = 0; y < rows; ++y) {
    destination_write_flat(destination, results + y * EDGE * kPair, kPair, pixel + y * across, width, column, columns,
                           scratch, faults);
  }
}

/* Products and results of a block for pairs of panels [begin, end). */
template <int TILE>
void run_panels(const Winograd& plan, const WinogradScratch& parts, int64_t block, const float* source,
                const float* weights, int64_t begin, int64_t end, char* scratch, uint32_t* faults) {
  constexpr int64_t lanes = kLanes<float>;
  float* products = reinterpret_cast<float*>(scratch + parts.products);
  float* results = reinterpret_cast<float*>(scratch + parts.results);
  const int64_t first = plan.block_begin(block);
  const int64_t tiles = plan.block_begin(block + 1) - first;
  const auto transform = plan.pool == 2 ? transform_result<TILE, 2> : transform_result<TILE, 1>;
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t column = pair * kPair;
    const int64_t columns = minimum_of(kPair, plan.columns - column);
    multiply_points(plan, tiles, 2 * pair, ceildiv(columns, lanes) * lanes, source, weights, products);
    for (int64_t t = 0; t < tiles; ++t) {
      transform(plan, Place(plan, first + t), products + t * kPair, column, columns, results, scratch + parts.epilogue,
                faults);
    }
  }
}

template <int TILE>
uint32_t run_tasks(const Winograd& plan, const pf_call* call, const pf_task* task) {
  const WinogradScratch parts = winograd_scratch(plan);
  const float* source = static_cast<const float*>(call->inputs[0].data);
  const float* weights = static_cast<const float*>(call->inputs[1].data);
  char* scratch = static_cast<char*>(task->thread_scratch);
  float* memory = reinterpret_cast<float*>(scratch);
  uint32_t faults = 0;
  if (!plan.shared) {
    float* made = reinterpret_cast<float*>(scratch + parts.source);
    for (int64_t block = task->begin; block < task->end; ++block) {
      transform_source<TILE>(plan, source, plan.block_begin(block), plan.block_begin(block + 1), 0, memory, made);
      run_panels<TILE>(plan, parts, block, made, weights, 0, plan.pairs, scratch, &faults);
    }
    return faults;
  }
  float* made = static_cast<float*>(task->shared_scratch);
  for (int64_t i = task->begin; i < task->end; ++i) {
    if (task->phase == 0) {
      int64_t block = 0;
      while (plan.block_begin(block + 1) <= i) ++block;
      transform_source<TILE>(plan, source, i, i + 1, i - plan.block_begin(block), memory,
                             made + block * plan.source_elements());
    } else {
      const int64_t block = i % plan.blocks;
      run_panels<TILE>(plan, parts, block, made + block * plan.source_elements(), weights, i / plan.blocks,
                       i / plan.blocks + 1, scratch, &faults);
    }
  }
  return faults;
}

int32_t winograd_supports(const pf_step* step, char* why, size_t why_size) {
  const bool pools = step->nints == kInts + 1;
  if (step->ninputs < 2 || step->noutputs != 1 || (step->nints != kInts && !pools)) {
    return refuse(why, why_size, "%s takes at least 2 inputs, 1 output and %d ints, got %d, %d and %d", step->kernel,
                  kInts, step->ninputs, step->noutputs, step->nints);
  }
  if (pools && step->ints[kInts] != 2) {
    return refuse(why, why_size, "%s keeps the largest of windows of 2, not %lld", step->kernel,
                  static_cast<long long>(step->ints[kInts]));
  }
  const pf_operand& x = step->inputs[0];
  const pf_operand& w = step->inputs[1];
  if (x.dtype != PF_DTYPE_float32 || w.dtype != x.dtype || x.ndim != 4 || w.ndim != 4 || step->outputs[0].ndim != 4) {
    return refuse(why, why_size, "%s takes float32 operands of rank 4, got %s of rank %d and %s of rank %d",
                  step->kernel, dtype_name(x.dtype), x.ndim, dtype_name(w.dtype), w.ndim);
  }
  if (step->ints[2] != 2 && step->ints[2] != 4) {
    return refuse(why, why_size, "%s has tiles of 2 or 4, not %lld", step->kernel,
                  static_cast<long long>(step->ints[2]));
  }
  return epilogue_supported(step, why, why_size);
}

pf_code winograd_partition(const pf_call* call, pf_partition* partition, pf_error*) {
  Winograd plan;
  winograd_init(call, &plan);
  const bool none = plan.tiles == 0 || plan.columns == 0;
  const double pairs = static_cast<double>(plan.points) * static_cast<double>(plan.tiles);
  const double transforms = static_cast<double>(plan.channels + plan.columns) * 0.15;
  partition->cost = 100.0 + pairs * (static_cast<double>(plan.channels * plan.columns) / 35.0 + transforms);
  partition->thread_scratch = winograd_scratch(plan).epilogue;
  partition->shared_scratch = 0;
  if (plan.destination.epilogue != nullptr && !none) {
    partition->thread_scratch += plan.destination.epilogue->scratch;
  }
  if (!plan.shared || none) return one_phase(partition, none ? 0 : plan.blocks, partition->cost);
  partition->phases = 2;
  partition->tasks[0] = plan.tiles;
  partition->tasks[1] = plan.blocks * plan.pairs;
  partition->shared_scratch = static_cast<size_t>(plan.blocks * plan.source_elements()) * sizeof(float);
  return PF_OK;
}

pf_code winograd_run(const pf_call* call, const pf_task* task, pf_error* error) {
  Winograd plan;
  winograd_init(call, &plan);
  const uint32_t faults = plan.tile == 2 ? run_tasks<2>(plan, call, task) : run_tasks<4>(plan, call, task);
  return faults == 0 ? PF_OK : program_fault(faults, error);
}

int32_t pack_supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs != 1 || step->noutputs != 1 || step->nints != 1 || step->inputs[0].dtype != PF_DTYPE_float32 ||
      step->outputs[0].dtype != PF_DTYPE_float32 || step->inputs[0].ndim != 4 || step->outputs[0].ndim != 4) {
    return refuse(why, why_size, "winograd_pack takes float32 weights of rank 4, 1 output of the same and 1 int");
  }
  if (step->ints[0] != 2 && step->ints[0] != 4) {
    return refuse(why, why_size, "winograd_pack has tiles of 2 or 4, not %lld", static_cast<long long>(step->ints[0]));
  }
  return 1;
}

/* A task is a panel. */
pf_code pack_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_view& w = call->inputs[0];
  if (w.dims[0] != 3 || w.dims[1] != 3) {
    return fail(error, PF_INVALID_ARGUMENT, "winograd_pack takes kernels of 3 by 3, got %lld by %lld",
                static_cast<long long>(w.dims[0]), static_cast<long long>(w.dims[1]));
  }
  partition->thread_scratch = 0;
  partition->shared_scratch = 0;
  return one_phase(partition, call->outputs[0].dims[1], 20.0 + 2.0 * static_cast<double>(count_elements(w)));
}

template <int TILE>
void pack_panel(const pf_call* call, int64_t panel) {
  const pf_view& w = call->inputs[0];
  const pf_view& panels = call->outputs[0];
  const int64_t channels = w.dims[2];
  const int64_t column = panel * gemm::kPanel;
  const int64_t columns = minimum_of(gemm::kPanel, w.dims[3] - column);
  const float* from = static_cast<const float*>(w.data) + column * w.strides[3];
  float* to = static_cast<float*>(panels.data) + panel * channels * gemm::kPanel;
  const int64_t point_stride = panels.dims[1] * channels * gemm::kPanel;
  double taps[9][gemm::kPanel] = {};
  for (int64_t c = 0; c < channels; ++c, from += w.strides[2], to += gemm::kPanel) {
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t tap = 0; tap < 9; ++tap) {
        taps[tap][j] = from[tap / 3 * w.strides[0] + tap % 3 * w.strides[1] + j * w.strides[3]];
      }
    }
    winograd_weights<TILE, gemm::kPanel>(
        taps, gemm::kPanel, [&](int point, int64_t j, float value) { to[point * point_stride + j] = value; });
  }
}

pf_code pack_run(const pf_call* call, const pf_task* task, pf_error*) {
  for (int64_t panel = task->begin; panel < task->end; ++panel) {
    call->ints[0] == 2 ? pack_panel<2>(call, panel) : pack_panel<4>(call, panel);
  }
  return PF_OK;
}

const pf_kernel kKernels[] = {
    {"winograd_pack", pack_supports, nullptr, nullptr, pack_partition, pack_run},
    {"conv2d_winograd", winograd_supports, epilogue_state_size, epilogue_prepare, winograd_partition, winograd_run},
};

}  // namespace

const pf_kernel* winograd_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
