/* Where windows read, along an axis; and rows of an image with the padding that they reach. */
#ifndef PYFLOW_BACKENDS_CPU_WINDOWS_H
#define PYFLOW_BACKENDS_CPU_WINDOWS_H

#include <stdint.h>
#include <string.h>

#include "backends/cpu/gemm.h"

namespace pf {
namespace PF_ISA {

/* Along one spatial axis, tap t of the window at position p reads (p * step + origin + t * tap_step) / divisor, if
 * that divides evenly and lies in [0, size). */
struct WindowAxis {
  int64_t taps, step, origin, tap_step, divisor, size;

  /* The place read, or -1. */
  int64_t at(int64_t position, int64_t tap) const {
    int64_t place = position * step + origin + tap * tap_step;
    if (place < 0) return -1;
    if (divisor != 1) {
      if (place % divisor != 0) return -1;
      place /= divisor;
    }
    return place < size ? place : -1;
  }
  /* True if every tap of the window lies inside; may miss some if there is a divisor. */
  bool inside(int64_t position) const {
    if (divisor != 1) return false;
    const int64_t first = position * step + origin;
    const int64_t last = first + (taps - 1) * tap_step;
    return first >= 0 && first < size && last >= 0 && last < size;
  }
};

static inline WindowAxis forward_axis(int64_t taps, int64_t stride, int64_t pad, int64_t dilation, int64_t size) {
  return {taps, stride, -pad, dilation, 1, size};
}

/* The windows of outputs that a given input took part in. */
static inline WindowAxis backward_axis(int64_t taps, int64_t stride, int64_t pad, int64_t dilation, int64_t size) {
  return {taps, 1, pad, -dilation, stride, size};
}

/* Row `row` of an image [.., H, W, C] with channels adjacent: `width` pixels of `to`, of which the first is pixel
 * -pad of the image; 0 where that has none. */
template <typename T>
static void copy_padded(const pf_view& images, int64_t image, int64_t row, int64_t pad, int64_t width, T* to) {
  const int64_t channels = images.dims[3];
  const int64_t before = minimum_of(width, maximum_of(0, pad));
  const int64_t inside = minimum_of(width, pad + images.dims[2]);
  if (row < 0 || row >= images.dims[1] || inside <= before) {
    memset(to, 0, static_cast<size_t>(width * channels) * sizeof(T));
    return;
  }
  const T* from = static_cast<const T*>(images.data) + image * images.strides[0] + row * images.strides[1];
  from += (before - pad) * images.strides[2];
  memset(to, 0, static_cast<size_t>(before * channels) * sizeof(T));
  memset(to + inside * channels, 0, static_cast<size_t>((width - inside) * channels) * sizeof(T));
  to += before * channels;
  const int64_t count = inside - before;
  if (images.strides[3] == 1 && images.strides[2] == channels) {
    memcpy(to, from, static_cast<size_t>(count * channels) * sizeof(T));
    return;
  }
  gemm::pack_left(count, channels, from, images.strides[2], images.strides[3], to, channels);
}

}  // namespace PF_ISA
}  // namespace pf

#endif
