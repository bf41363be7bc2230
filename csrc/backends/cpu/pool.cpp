// max_pool2d, avg_pool2d and their gradients: docs/kernels.md. A window's taps are taken in order (kernel row, kernel
// column); gradients are added to an element of dx in the order of the windows.
#include <stdint.h>

#include "backends/cpu/kernels.h"
#include "kernels/lanes.h"
#include "kernels/view.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int64_t kChannels = 64;  // channels taken at a time

struct Pool {
  int64_t images, height, width, channels;  // of x
  int64_t out_height, out_width;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  bool include_pad;

  int64_t chunks() const { return ceildiv(channels, kChannels); }
  int64_t outputs() const { return images * out_height * out_width * channels; }
};

/* Taps of one window along one axis that lie inside: [begin, end), the first at `first`. */
struct Span {
  int64_t begin, end, first;
};

Span window_span(int64_t position, int64_t stride, int64_t pad, int64_t dilation, int64_t taps, int64_t size) {
  const int64_t origin = position * stride - pad;
  Span span;
  span.begin = origin < 0 ? minimum_of(taps, ceildiv(-origin, dilation)) : 0;
  const bool inside = origin + (taps - 1) * dilation < size;
  span.end = inside ? taps : origin >= size ? span.begin : maximum_of(span.begin, ceildiv(size - origin, dilation));
  span.first = origin + span.begin * dilation;
  return span;
}

Pool pool_of(const pf_call* call, bool max, bool grad) {
  const pf_view& x = max || !grad ? call->inputs[0] : call->outputs[0];
  const pf_view& y = !grad ? call->outputs[0] : call->inputs[max ? 1 : 0];
  const int64_t* ints = call->ints;
  Pool pool;
  pool.images = x.dims[0];
  pool.height = x.dims[1];
  pool.width = x.dims[2];
  pool.channels = x.dims[3];
  pool.out_height = y.dims[1];
  pool.out_width = y.dims[2];
  pool.kernel_h = ints[0];
  pool.kernel_w = ints[1];
  pool.stride_h = ints[2];
  pool.stride_w = ints[3];
  pool.pad_top = ints[4];
  pool.pad_left = ints[5];
  pool.dilation_h = max ? ints[6] : 1;
  pool.dilation_w = max ? ints[7] : 1;
  pool.include_pad = !max && ints[6] != 0;
  return pool;
}

/* One window. */
struct Window2d {
  Span rows, columns;

  Window2d(const Pool& pool, int64_t y, int64_t x)
      : rows(window_span(y, pool.stride_h, pool.pad_top, pool.dilation_h, pool.kernel_h, pool.height)) {
    move_to(pool, x);
  }
  void move_to(const Pool& pool, int64_t x) {
    columns = window_span(x, pool.stride_w, pool.pad_left, pool.dilation_w, pool.kernel_w, pool.width);
  }
  int64_t taps() const { return (rows.end - rows.begin) * (columns.end - columns.begin); }
};

/* What the mean divides by. */
int64_t divisor(const Pool& pool, const Window2d& window) {
  return pool.include_pad ? pool.kernel_h * pool.kernel_w : maximum_of(1, window.taps());
}

/* As Sum of lanes.h, but the sum of nothing is +0. */
struct SumOf {
  template <typename T>
  static T identity() {
    return T(0);
  }
  template <typename V>
  static V apply(V sum, V value) {
    return sum + value;
  }
};

/* Calls each(offset) for the taps of a window, in order; offsets are elements of a view with these strides. */
template <typename Each>
inline void for_taps(const Pool& pool, const Window2d& window, const int64_t* strides, const Each& each) {
  int64_t row = window.rows.first;
  for (int64_t i = window.rows.begin; i < window.rows.end; ++i, row += pool.dilation_h) {
    int64_t column = window.columns.first;
    for (int64_t j = window.columns.begin; j < window.columns.end; ++j, column += pool.dilation_w) {
      each(row * strides[1] + column * strides[2]);
    }
  }
}

/* COUNT vectors of channels of one window at a time, for as long as they fit. Returns the channels done. */
template <typename T, typename Op, bool MEAN, int COUNT>
int64_t pool_vectors(const Pool& pool, const Window2d& window, const int64_t* strides, const T* source, int64_t begin,
                     T* to) {
  constexpr int64_t lanes = kLanes<T>;
  for (; begin + COUNT * lanes <= pool.channels; begin += COUNT * lanes) {
    Vector<T> value[COUNT];
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) value[i] = broadcast(Op::template identity<T>());
    for_taps(pool, window, strides, [&](int64_t offset) {
      const T* from = source + offset + begin;
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) value[i] = Op::apply(value[i], load(from + i * lanes));
    });
    if constexpr (MEAN) {
      const Vector<T> by = broadcast(static_cast<T>(divisor(pool, window)));
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) value[i] /= by;
    }
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) store(to + begin + i * lanes, value[i]);
  }
  return begin;
}

/* Channels from `channel` on of one window, whatever their strides. */
template <typename T, typename Op, bool MEAN>
__attribute__((noinline)) void pool_channels(const Pool& pool, const Window2d& window, const int64_t* strides,
                                             const T* source, int64_t channel, T* to, int64_t to_stride) {
  const int64_t step = strides[3];
  alignas(64) T value[kChannels], taken[kChannels] = {};
  for (; channel < pool.channels; channel += kChannels) {
    const int64_t count = minimum_of(kChannels, pool.channels - channel);
    for (int64_t c = 0; c < kChannels; ++c) value[c] = Op::template identity<T>();
    for_taps(pool, window, strides, [&](int64_t offset) {
      const T* from = source + offset + channel * step;
#pragma GCC unroll 4
      for (int64_t c = 0; c < count; ++c) taken[c] = from[c * step];
      for (int64_t c = 0; c < count; c += kLanes<T>) {
        store(value + c, Op::apply(load(value + c), load(taken + c)));
      }
    });
    if constexpr (MEAN) {
      const T by = static_cast<T>(divisor(pool, window));
      for (int64_t c = 0; c < kChannels; ++c) value[c] /= by;
    }
    for (int64_t c = 0; c < count; ++c) to[(channel + c) * to_stride] = value[c];
  }
}

/* One row of outputs. */
template <typename T, typename Op, bool MEAN>
void pool_row(const Pool& pool, const pf_call* call, int64_t task) {
  const pf_view& x = call->inputs[0];
  const pf_view& y = call->outputs[0];
  const int64_t image = task / pool.out_height;
  const int64_t row = task % pool.out_height;
  const T* source = static_cast<const T*>(x.data) + image * x.strides[0];
  T* to = static_cast<T*>(y.data) + image * y.strides[0] + row * y.strides[1];
  const bool adjacent = x.strides[3] == 1 && y.strides[3] == 1;
  Window2d window(pool, row, 0);
  for (int64_t column = 0; column < pool.out_width; ++column, to += y.strides[2]) {
    window.move_to(pool, column);
    int64_t channel = 0;
    if (adjacent) {
      channel = pool_vectors<T, Op, MEAN, 4>(pool, window, x.strides, source, channel, to);
      channel = pool_vectors<T, Op, MEAN, 1>(pool, window, x.strides, source, channel, to);
    }
    if (channel < pool.channels) {
      pool_channels<T, Op, MEAN>(pool, window, x.strides, source, channel, to, y.strides[3]);
    }
  }
}

/* Clears channels [channel, channel + count) of one image of dx; returns its first element. */
template <typename T>
T* clear(const Pool& pool, const pf_view& dx, int64_t image, int64_t channel, int64_t count) {
  T* data = static_cast<T*>(dx.data) + image * dx.strides[0] + channel * dx.strides[3];
  for (int64_t row = 0; row < pool.height; ++row) {
    for (int64_t column = 0; column < pool.width; ++column) {
      T* to = data + row * dx.strides[1] + column * dx.strides[2];
      for (int64_t c = 0; c < count; ++c) to[c * dx.strides[3]] = T(0);
    }
  }
  return data;
}

/* One image's chunk of channels: each window's gradient goes to its first maximum. */
template <typename T>
void max_grad_chunk(const Pool& pool, const pf_call* call, int64_t task) {
  const pf_view& x = call->inputs[0];
  const pf_view& dy = call->inputs[1];
  const pf_view& dx = call->outputs[0];
  const int64_t image = task / pool.chunks();
  const int64_t channel = task % pool.chunks() * kChannels;
  const int64_t count = minimum_of(kChannels, pool.channels - channel);
  const T* source = static_cast<const T*>(x.data) + image * x.strides[0] + channel * x.strides[3];
  const T* gradient = static_cast<const T*>(dy.data) + image * dy.strides[0] + channel * dy.strides[3];
  T* target = clear<T>(pool, dx, image, channel, count);
  T best[kChannels];
  int64_t row_of[kChannels], column_of[kChannels];
  for (int64_t y = 0; y < pool.out_height; ++y) {
    for (int64_t z = 0; z < pool.out_width; ++z) {
      const Window2d window(pool, y, z);
      if (window.taps() == 0) continue;
      for (int64_t i = window.rows.begin; i < window.rows.end; ++i) {
        const int64_t row = window.rows.first + (i - window.rows.begin) * pool.dilation_h;
        for (int64_t j = window.columns.begin; j < window.columns.end; ++j) {
          const int64_t column = window.columns.first + (j - window.columns.begin) * pool.dilation_w;
          const T* from = source + row * x.strides[1] + column * x.strides[2];
          const bool first = i == window.rows.begin && j == window.columns.begin;
          for (int64_t c = 0; c < count; ++c) {
            const T value = from[c * x.strides[3]];
            const bool better = first || value > best[c] || (value != value && best[c] == best[c]);
            best[c] = better ? value : best[c];
            row_of[c] = better ? row : row_of[c];
            column_of[c] = better ? column : column_of[c];
          }
        }
      }
      const T* from = gradient + y * dy.strides[1] + z * dy.strides[2];
      for (int64_t c = 0; c < count; ++c) {
        target[row_of[c] * dx.strides[1] + column_of[c] * dx.strides[2] + c * dx.strides[3]] += from[c * dy.strides[3]];
      }
    }
  }
}

/* One image's chunk of channels: each window's gradient is shared by its taps. */
template <typename T>
void avg_grad_chunk(const Pool& pool, const pf_call* call, int64_t task) {
  const pf_view& dy = call->inputs[0];
  const pf_view& dx = call->outputs[0];
  const int64_t image = task / pool.chunks();
  const int64_t channel = task % pool.chunks() * kChannels;
  const int64_t count = minimum_of(kChannels, pool.channels - channel);
  const T* gradient = static_cast<const T*>(dy.data) + image * dy.strides[0] + channel * dy.strides[3];
  T* target = clear<T>(pool, dx, image, channel, count);
  T share[kChannels];
  for (int64_t y = 0; y < pool.out_height; ++y) {
    for (int64_t z = 0; z < pool.out_width; ++z) {
      const Window2d window(pool, y, z);
      const T by = static_cast<T>(divisor(pool, window));
      const T* from = gradient + y * dy.strides[1] + z * dy.strides[2];
      for (int64_t c = 0; c < count; ++c) share[c] = from[c * dy.strides[3]] / by;
      for_taps(pool, window, dx.strides, [&](int64_t offset) {
        T* to = target + offset;
        for (int64_t c = 0; c < count; ++c) to[c * dx.strides[3]] += share[c];
      });
    }
  }
}

template <bool MAX, bool GRAD>
int32_t pool_supports(const pf_step* step, char* why, size_t why_size) {
  const int32_t ninputs = MAX && GRAD ? 2 : 1;
  const int32_t nints = MAX ? 8 : 7;
  if (step->ninputs != ninputs || step->noutputs != 1 || step->nints != nints) {
    return refuse(why, why_size, "%s takes %d inputs, 1 output and %d ints, got %d, %d and %d", step->kernel, ninputs,
                  nints, step->ninputs, step->noutputs, step->nints);
  }
  const int32_t dtype = step->outputs[0].dtype;
  if (!(MAX ? is_num(dtype) || dtype == PF_DTYPE_uint64 : is_float(dtype))) {
    return refuse(why, why_size, "%s does not take %s", step->kernel, dtype_name(dtype));
  }
  for (int32_t i = -1; i < ninputs; ++i) {
    const pf_operand& operand = i < 0 ? step->outputs[0] : step->inputs[i];
    if (operand.dtype != dtype || operand.ndim != 4) {
      return refuse(why, why_size, "%s takes operands of rank 4 and one dtype, got %s of rank %d beside %s",
                    step->kernel, dtype_name(operand.dtype), operand.ndim, dtype_name(dtype));
    }
  }
  return 1;
}

template <bool MAX, bool GRAD>
pf_code pool_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const Pool pool = pool_of(call, MAX, GRAD);
  if (pool.stride_h < 1 || pool.stride_w < 1 || pool.dilation_h < 1 || pool.dilation_w < 1) {
    return fail(error, PF_INVALID_ARGUMENT, "%s takes strides and dilations of at least 1", call->step->kernel);
  }
  partition->thread_scratch = 0;
  partition->shared_scratch = 0;
  const double work = static_cast<double>(pool.outputs()) * static_cast<double>(pool.kernel_h * pool.kernel_w);
  const int64_t tasks = GRAD ? pool.images * pool.chunks() : pool.images * pool.out_height;
  return one_phase(partition, tasks, 50.0 + work * (GRAD ? 1.0 : 0.3));
}

template <typename T, bool MAX, bool GRAD>
void pool_tasks(const pf_call* call, const pf_task* task) {
  const Pool pool = pool_of(call, MAX, GRAD);
  for (int64_t i = task->begin; i < task->end; ++i) {
    if constexpr (MAX && GRAD) {
      max_grad_chunk<T>(pool, call, i);
    } else if constexpr (GRAD) {
      avg_grad_chunk<T>(pool, call, i);
    } else if constexpr (MAX) {
      pool_row<T, Max, false>(pool, call, i);
    } else {
      pool_row<T, SumOf, true>(pool, call, i);
    }
  }
}

template <bool MAX, bool GRAD, int32_t ONLY = kEveryDtype>
pf_code pool_run(const pf_call* call, const pf_task* task, pf_error*) {
  const int32_t dtype = call->outputs[0].dtype;
  if (is_dtype<ONLY>(dtype, PF_DTYPE_float32)) {
    pool_tasks<float, MAX, GRAD>(call, task);
  } else if (dtype == PF_DTYPE_float64) {
    pool_tasks<double, MAX, GRAD>(call, task);
  } else if constexpr (MAX) {
    if (dtype == PF_DTYPE_int32) pool_tasks<int32_t, MAX, GRAD>(call, task);
    if (dtype == PF_DTYPE_int64) pool_tasks<int64_t, MAX, GRAD>(call, task);
    if (dtype == PF_DTYPE_uint64) pool_tasks<uint64_t, MAX, GRAD>(call, task);
  }
  return PF_OK;
}

template <bool MAX, bool GRAD>
constexpr pf_kernel row(const char* name) {
  return {name, pool_supports<MAX, GRAD>, nullptr, nullptr, pool_partition<MAX, GRAD>, pool_run<MAX, GRAD>};
}

constexpr pf_kernel kKernels[] = {
    row<true, false>("max_pool2d"),
    row<true, true>("max_pool2d_grad"),
    row<false, false>("avg_pool2d"),
    row<false, true>("avg_pool2d_grad"),
};

#define PF_ROW(name, max, grad) \
  PF_FLOAT32(name, nullptr, nullptr, pool_partition<max, grad>, pool_run<max, grad, PF_DTYPE_float32>)

}  // namespace

PF_ROW(max_pool2d, true, false)
PF_ROW(max_pool2d_grad, true, true)
PF_ROW(avg_pool2d, false, false)
PF_ROW(avg_pool2d_grad, false, true)
#undef PF_ROW

const pf_kernel* pool_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
