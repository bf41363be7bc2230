// The packing of right operands, once for all ISAs: whatever the strides, element by element.
#include <string.h>

#include "backends/cpu/matmul_plan.h"

namespace pf {
namespace plain {

template <typename T>
void pad_panel(int64_t depth, int64_t columns, T* to) {
  const size_t padding = static_cast<size_t>(kPanel - columns) * sizeof(T);
  for (int64_t k = 0; padding > 0 && k < depth; ++k) memset(to + k * kPanel + columns, 0, padding);
}

template <typename T>
void pack_panel(int64_t depth, int64_t columns, const T* b, int64_t k_stride, int64_t column_stride, T* to) {
  constexpr int64_t stretch = 16;  // a cache line of each column is used up before the next column is touched
  for (int64_t first = 0; first < depth; first += stretch) {
    const int64_t end = minimum_of(depth, first + stretch);
    if (column_stride == 1) {
      const size_t bytes = static_cast<size_t>(columns) * sizeof(T);
      for (int64_t k = first; k < end; ++k) memcpy(to + k * kPanel, b + k * k_stride, bytes);
    } else {
      for (int64_t j = 0; j < columns; ++j) {
        for (int64_t k = first; k < end; ++k) to[k * kPanel + j] = b[k * k_stride + j * column_stride];
      }
    }
  }
  pad_panel(depth, columns, to);
}

template <typename T>
void matmul_pack_panels(const pf_call* call, const pf_task* task, PackPanel<T> pack) {
  const pf_view& b = call->inputs[0];
  const pf_view& panels = call->outputs[0];
  const int32_t outer = b.ndim - 2;
  const int64_t depth = b.dims[outer];
  const int64_t per_copy = panels.dims[outer];
  for (int64_t i = task->begin; i < task->end; ++i) {
    const int64_t column = i % per_copy * kPanel;
    int64_t copy = i / per_copy;
    const T* from = static_cast<const T*>(b.data) + column * b.strides[outer + 1];
    for (int32_t axis = outer - 1; axis >= 0; --axis) {
      from += copy % b.dims[axis] * b.strides[axis];
      copy /= b.dims[axis];
    }
    pack(depth, minimum_of(kPanel, b.dims[outer + 1] - column), from, b.strides[outer], b.strides[outer + 1],
         static_cast<T*>(panels.data) + i * depth * kPanel);
  }
}

pf_code matmul_pack_floats(const pf_call* call, const pf_task* task, pf_error*) {
  matmul_pack_panels<float>(call, task, pack_panel<float>);
  return PF_OK;
}

template void pad_panel(int64_t, int64_t, float*);
template void pad_panel(int64_t, int64_t, double*);
template void pack_panel(int64_t, int64_t, const float*, int64_t, int64_t, float*);
template void pack_panel(int64_t, int64_t, const double*, int64_t, int64_t, double*);
template void matmul_pack_panels(const pf_call*, const pf_task*, PackPanel<float>);
template void matmul_pack_panels(const pf_call*, const pf_task*, PackPanel<double>);

}  // namespace plain
}  // namespace pf
