// conv2d_input_grad, conv2d_filter_grad: docs/kernels.md. An element of dx is one chain over (kernel row, kernel
// column, output channel), an element of dw one chain over (image, row, column) of dy; taps outside are factors of 0.
#include "backends/cpu/convolve.h"
#include "backends/cpu/depthwise.h"
#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {
namespace {

constexpr int64_t kTaskRows = 48;  // input channels whose weights a task finds the gradients of

int32_t grad_supports(const pf_step* step, char* why, size_t why_size) {
  if (step->ninputs != 2 || step->noutputs != 1 || step->nints != 7 || step->nprograms != 0) {
    return refuse(why, why_size, "%s takes 2 inputs, 1 output, 7 ints and no program, got %d, %d, %d and %d",
                  step->kernel, step->ninputs, step->noutputs, step->nints, step->nprograms);
  }
  const pf_operand* operands[] = {&step->inputs[0], &step->inputs[1], &step->outputs[0]};
  for (const pf_operand* operand : operands) {
    if (!is_float(operand->dtype) || operand->dtype != operands[0]->dtype || operand->ndim != 4) {
      return refuse(why, why_size, "%s takes operands of rank 4 and one float32 or float64 dtype, got %s of rank %d",
                    step->kernel, dtype_name(operand->dtype), operand->ndim);
    }
  }
  return 1;
}

pf_code check_groups(int64_t groups, int64_t inputs, int64_t outputs, pf_error* error) {
  if (groups >= 1 && inputs % groups == 0 && outputs % groups == 0) return PF_OK;
  return fail(error, PF_INVALID_ARGUMENT, "%lld groups do not divide %lld input and %lld output channels",
              static_cast<long long>(groups), static_cast<long long>(inputs), static_cast<long long>(outputs));
}

void input_grad_init(const pf_call* call, Convolution* conv) {
  const pf_view& dy = call->inputs[0];
  const pf_view& w = call->inputs[1];
  const int64_t groups = call->ints[6];
  convolution_init(conv, call, conv_attrs(call->ints), dy, w.dims[0], w.dims[1], groups, dy.dims[3] / groups, true);
}

pf_code input_grad_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_code code = check_groups(call->ints[6], call->outputs[0].dims[3], call->inputs[0].dims[3], error);
  if (code != PF_OK) return code;
  Convolution conv;
  input_grad_init(call, &conv);
  const bool depthwise = is_depthwise(conv);
  partition->thread_scratch = depthwise ? depthwise_scratch_of(conv).epilogue : convolution_scratch(conv).epilogue;
  partition->phases = 2;
  partition->tasks[0] = conv.pixels == 0 ? 0 : weight_panels(conv);
  partition->tasks[1] = depthwise ? depthwise_tasks(conv) : conv.tasks();
  partition->shared_scratch = weight_bytes(conv);
  partition->cost = (depthwise ? 4.0 : 1.0) * convolution_cost(conv) + 0.3 * static_cast<double>(weight_bytes(conv));
  return PF_OK;
}

template <typename T>
void input_grad_tasks(const Convolution& conv, const pf_call* call, const pf_task* task) {
  const pf_view& w = call->inputs[1];
  const T* source = static_cast<const T*>(call->inputs[0].data);
  T* panels = static_cast<T*>(task->shared_scratch);
  char* scratch = static_cast<char*>(task->thread_scratch);
  uint32_t faults = 0;
  if (task->phase == 0) {
    const bool transposed = !is_depthwise(conv);
    for (int64_t i = task->begin; i < task->end; ++i) pack_weights(w, weight_groups(conv), transposed, i, panels);
    return;
  }
  if (is_depthwise(conv)) {
    const DepthwiseScratch parts = depthwise_scratch<T>(conv);
    for (int64_t i = task->begin; i < task->end; ++i) {
      depthwise_block<T>(conv, parts, source, panels, i, scratch, &faults);
    }
    return;
  }
  const ConvolutionScratch parts = convolution_scratch(conv);
  for (int64_t i = task->begin; i < task->end; ++i) {
    convolve_block<true, T>(conv, parts, source, panels, i, scratch, &faults);
  }
}

template <int32_t ONLY = kEveryDtype>
pf_code input_grad_run(const pf_call* call, const pf_task* task, pf_error*) {
  Convolution conv;
  input_grad_init(call, &conv);
  is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32) ? input_grad_tasks<float>(conv, call, task)
                                                          : input_grad_tasks<double>(conv, call, task);
  return PF_OK;
}

/* dw of one tap is a product: channels of x by channels of dy, along the pixels of dy. */
struct FilterGrad {
  WindowAxis vertical, horizontal;
  int64_t images, height, width;  // of dy
  int64_t pixels;
  int64_t groups, channels, columns;  // channels of x and of dy per group
  int64_t panels;                     // of dy, per group
  int64_t row_blocks, panel_groups;
  size_t element;

  bool depthwise() const { return channels == 1 && columns == 1 && groups > 1; }
  int64_t taps() const { return vertical.taps * horizontal.taps; }
  int64_t group_panels() const { return gemm::most_panels(panels, panel_groups); }
  int64_t block_rows() const { return ceildiv(channels, row_blocks); }
  int64_t tasks() const {
    if (channels == 0 || columns == 0) return 0;
    return depthwise() ? taps() * ceildiv(groups, gemm::kPanel) : groups * taps() * row_blocks * panel_groups;
  }
};

void filter_grad_init(const pf_call* call, FilterGrad* grad) {
  const pf_view& x = call->inputs[0];
  const pf_view& dy = call->inputs[1];
  const pf_view& dw = call->outputs[0];
  const ConvAttrs attrs = conv_attrs(call->ints);
  grad->vertical = forward_axis(dw.dims[0], attrs.stride_h, attrs.pad_top, attrs.dilation_h, x.dims[1]);
  grad->horizontal = forward_axis(dw.dims[1], attrs.stride_w, attrs.pad_left, attrs.dilation_w, x.dims[2]);
  grad->images = dy.dims[0];
  grad->height = dy.dims[1];
  grad->width = dy.dims[2];
  grad->pixels = grad->images * grad->height * grad->width;
  grad->groups = attrs.groups;
  grad->channels = x.dims[3] / attrs.groups;
  grad->columns = dy.dims[3] / attrs.groups;
  grad->panels = ceildiv(grad->columns, gemm::kPanel);
  grad->row_blocks = maximum_of(1, ceildiv(grad->channels, kTaskRows));
  const int64_t group = grad->groups * grad->taps() * grad->row_blocks >= 8 ? kTaskPanels : 4;
  grad->panel_groups = maximum_of(1, ceildiv(grad->panels, group));
  grad->element = static_cast<size_t>(element_size(x.dtype));
}

size_t filter_grad_left_bytes(const FilterGrad& grad) {
  return (static_cast<size_t>(grad.block_rows() * minimum_of(grad.pixels, gemm::kDepth)) * grad.element + 63) / 64 * 64;
}

pf_code filter_grad_partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  const pf_code code = check_groups(call->ints[6], call->inputs[0].dims[3], call->inputs[1].dims[3], error);
  if (code != PF_OK) return code;
  FilterGrad grad;
  filter_grad_init(call, &grad);
  const double products = static_cast<double>(grad.pixels) * static_cast<double>(count_elements(call->outputs[0]));
  const double cost = 50.0 + products / (grad.element == 4 ? 30.0 : 15.0);
  partition->thread_scratch = 0;
  partition->shared_scratch = 0;
  if (grad.depthwise()) return one_phase(partition, grad.tasks(), cost * 4.0);
  partition->phases = 2;
  partition->tasks[0] = grad.tasks() == 0 ? 0 : grad.groups * grad.panels * grad.images;
  partition->tasks[1] = grad.tasks();
  partition->thread_scratch =
      filter_grad_left_bytes(grad) +
      static_cast<size_t>(grad.block_rows() * grad.group_panels() * gemm::kPanel) * grad.element;
  partition->shared_scratch =
      static_cast<size_t>(grad.groups * grad.panels * grad.pixels * gemm::kPanel) * grad.element;
  partition->cost = cost + 0.3 * static_cast<double>(count_elements(call->inputs[1]));
  return PF_OK;
}

/* One image's pixels of one panel of dy, into [groups][panels][pixels][16]. */
template <typename T>
void pack_gradient(const FilterGrad& grad, const pf_view& dy, int64_t task, T* panels) {
  const int64_t image = task % grad.images;
  const int64_t panel = task / grad.images;
  const int64_t column = panel % grad.panels * gemm::kPanel;
  const T* from = static_cast<const T*>(dy.data) + image * dy.strides[0] +
                  (panel / grad.panels * grad.columns + column) * dy.strides[3];
  T* to = panels + (panel * grad.pixels + image * grad.height * grad.width) * gemm::kPanel;
  for (int64_t y = 0; y < grad.height; ++y, to += grad.width * gemm::kPanel) {
    gemm::pack_panel(grad.width, minimum_of(gemm::kPanel, grad.columns - column), from + y * dy.strides[1],
                     dy.strides[2], dy.strides[3], to);
  }
}

/* A place in dy, walked in order, and the offset of what one tap reads there in x. */
struct TapWalk {
  int64_t image, y, x;

  TapWalk(const FilterGrad& grad, int64_t pixel)
      : image(pixel / (grad.height * grad.width)), y(pixel / grad.width % grad.height), x(pixel % grad.width) {}
  /* INT64_MIN outside. */
  int64_t offset(const FilterGrad& grad, const int64_t* strides, int64_t tap_y, int64_t tap_x) const {
    const int64_t row = grad.vertical.at(y, tap_y);
    const int64_t column = grad.horizontal.at(x, tap_x);
    return row < 0 || column < 0 ? INT64_MIN : image * strides[0] + row * strides[1] + column * strides[2];
  }
  void next(const FilterGrad& grad) {
    if (++x < grad.width) return;
    x = 0;
    if (++y < grad.height) return;
    y = 0;
    ++image;
  }
};

/* Channels [0, rows) of x under one tap for pixels [pixel, pixel + depth): rows of `to`, `depth` apart. */
template <typename T>
void gather_channels(const FilterGrad& grad, const T* x, const int64_t* strides, int64_t rows, int64_t tap_y,
                     int64_t tap_x, int64_t pixel, int64_t depth, T* to) {
  TapWalk at(grad, pixel);
  for (int64_t k = 0, run; k < depth; k += run) {  // pixels of one row of dy that are all inside of x or all outside
    const int64_t offset = at.offset(grad, strides, tap_y, tap_x);
    const bool outside = offset == INT64_MIN;
    for (run = 1, at.next(grad); k + run < depth && at.x != 0; ++run, at.next(grad)) {
      if ((at.offset(grad, strides, tap_y, tap_x) == INT64_MIN) != outside) break;
    }
    if (!outside) {
      gemm::pack_left(rows, run, x + offset, strides[3], grad.horizontal.step * strides[2], to + k, depth);
      continue;
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < run; ++j) to[i * depth + k + j] = T(0);
    }
  }
}

template <typename T>
void filter_grad_block(const FilterGrad& grad, const pf_call* call, const T* panels, int64_t task, char* scratch) {
  const pf_view& x = call->inputs[0];
  const int64_t row_block = task % grad.row_blocks;
  task /= grad.row_blocks;
  const int64_t panel_group = task % grad.panel_groups;
  task /= grad.panel_groups;
  const int64_t tap = task % grad.taps();
  const int64_t group = task / grad.taps();
  const int64_t tap_y = tap / grad.horizontal.taps;
  const int64_t tap_x = tap % grad.horizontal.taps;
  const int64_t row = gemm::part_begin(grad.channels, grad.row_blocks, row_block);
  const int64_t rows = gemm::part_begin(grad.channels, grad.row_blocks, row_block + 1) - row;
  const int64_t panel = gemm::panel_begin(grad.panels, grad.panel_groups, panel_group);
  const int64_t count = gemm::panel_begin(grad.panels, grad.panel_groups, panel_group + 1) - panel;
  T* left = reinterpret_cast<T*>(scratch);
  T* sums = reinterpret_cast<T*>(scratch + filter_grad_left_bytes(grad));
  const int64_t panel_stride = grad.pixels * gemm::kPanel;
  panels += (group * grad.panels + panel) * panel_stride;
  const T* source = static_cast<const T*>(x.data) + (group * grad.channels + row) * x.strides[3];
  const int64_t parts = maximum_of(1, ceildiv(grad.pixels, gemm::kDepth));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t pixel = gemm::part_begin(grad.pixels, parts, part);
    const int64_t depth = gemm::part_begin(grad.pixels, parts, part + 1) - pixel;
    if (depth > 0) gather_channels(grad, source, x.strides, rows, tap_y, tap_x, pixel, depth, left);
    gemm::multiply<T>(rows, count, depth, {left, depth}, {panels + pixel * gemm::kPanel, gemm::kPanel, panel_stride},
                      sums, count * gemm::kPanel, pixel > 0);
  }
  const pf_view& dw = call->outputs[0];
  Destination destination;
  destination_init(&destination, dw, nullptr, 0, nullptr, 0);
  const int64_t column = panel * gemm::kPanel;
  const int64_t index[4] = {tap_y, tap_x, row, group * grad.columns + column};
  uint32_t faults = 0;
  destination_write(destination, sums, count * gemm::kPanel, rows,
                    minimum_of(count * gemm::kPanel, grad.columns - column), index, nullptr, &faults);
}

template <typename T>
void filter_grad_depthwise(const FilterGrad& grad, const pf_call* call, int64_t task) {
  constexpr int64_t lanes = kLanes<T>;
  constexpr int count = static_cast<int>(gemm::kPanel / lanes);
  const pf_view& x = call->inputs[0];
  const pf_view& dy = call->inputs[1];
  const pf_view& dw = call->outputs[0];
  const int64_t tap_y = task % grad.taps() / grad.horizontal.taps;
  const int64_t tap_x = task % grad.taps() % grad.horizontal.taps;
  const int64_t channel = task / grad.taps() * gemm::kPanel;
  const int64_t channels = minimum_of(gemm::kPanel, grad.groups - channel);
  const bool in_place = channels == gemm::kPanel && x.strides[3] == 1 && dy.strides[3] == 1;
  alignas(64) T left[gemm::kPanel] = {};
  alignas(64) T right[gemm::kPanel] = {};
  alignas(64) const T zeros[gemm::kPanel] = {};
  alignas(64) T result[gemm::kPanel];
  Vector<T> sum[count] = {};
  TapWalk at(grad, 0);
  for (int64_t k = 0; k < grad.pixels; ++k, at.next(grad)) {
    const int64_t offset = at.offset(grad, x.strides, tap_y, tap_x);
    const T* from = zeros;
    if (offset != INT64_MIN) from = static_cast<const T*>(x.data) + offset + channel * x.strides[3];
    const T* gradient = static_cast<const T*>(dy.data) + at.image * dy.strides[0] + at.y * dy.strides[1] +
                        at.x * dy.strides[2] + channel * dy.strides[3];
    if (!in_place) {
      for (int64_t j = 0; j < channels; ++j) {
        left[j] = offset == INT64_MIN ? T(0) : from[j * x.strides[3]];
        right[j] = gradient[j * dy.strides[3]];
      }
      from = left;
      gradient = right;
    }
#pragma GCC unroll 16
    for (int j = 0; j < count; ++j) {
      sum[j] = multiply_add(load(from + j * lanes), load(gradient + j * lanes), sum[j]);
    }
  }
  for (int j = 0; j < count; ++j) store(result + j * lanes, sum[j]);
  T* out = static_cast<T*>(dw.data) + tap_y * dw.strides[0] + tap_x * dw.strides[1] + channel * dw.strides[3];
  for (int64_t j = 0; j < channels; ++j) out[j * dw.strides[3]] = result[j];
}

template <typename T>
void filter_grad_tasks(const pf_call* call, const pf_task* task) {
  FilterGrad grad;
  filter_grad_init(call, &grad);
  T* panels = static_cast<T*>(task->shared_scratch);
  for (int64_t i = task->begin; i < task->end; ++i) {
    if (grad.depthwise()) {
      filter_grad_depthwise<T>(grad, call, i);
    } else if (task->phase == 0) {
      pack_gradient(grad, call->inputs[1], i, panels);
    } else {
      filter_grad_block<T>(grad, call, panels, i, static_cast<char*>(task->thread_scratch));
    }
  }
}

template <int32_t ONLY = kEveryDtype>
pf_code filter_grad_run(const pf_call* call, const pf_task* task, pf_error*) {
  is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32) ? filter_grad_tasks<float>(call, task)
                                                          : filter_grad_tasks<double>(call, task);
  return PF_OK;
}

const pf_kernel kKernels[] = {
    {"conv2d_input_grad", grad_supports, nullptr, nullptr, input_grad_partition, input_grad_run<>},
    {"conv2d_filter_grad", grad_supports, nullptr, nullptr, filter_grad_partition, filter_grad_run<>},
};

}  // namespace

PF_FLOAT32(conv2d_input_grad, nullptr, nullptr, input_grad_partition, input_grad_run<PF_DTYPE_float32>)
PF_FLOAT32(conv2d_filter_grad, nullptr, nullptr, filter_grad_partition, filter_grad_run<PF_DTYPE_float32>)

const pf_kernel* conv_grad_kernels(int32_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace PF_ISA
}  // namespace pf
