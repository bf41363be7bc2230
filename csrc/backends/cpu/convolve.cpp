// How a convolution is read and cut. Nothing here takes long, so it is compiled to be small.
#include "backends/cpu/convolve.h"

namespace pf {
namespace PF_ISA {

void convolution_init(Convolution* conv, const pf_call* call, const ConvAttrs& attrs, const pf_view& source,
                      int64_t kernel_h, int64_t kernel_w, int64_t groups, int64_t channels, bool backward,
                      int32_t own) {
  const pf_view& target = call->outputs[0];
  const auto axis = backward ? backward_axis : forward_axis;
  conv->vertical = axis(kernel_h, attrs.stride_h, attrs.pad_top, attrs.dilation_h, source.dims[1]);
  conv->horizontal = axis(kernel_w, attrs.stride_w, attrs.pad_left, attrs.dilation_w, source.dims[2]);
  conv->pool = attrs.pool;
  conv->height = target.dims[1] * attrs.pool;
  conv->width = target.dims[2] * attrs.pool;
  conv->pixels = target.dims[0] * conv->height * conv->width;
  conv->groups = groups;
  conv->channels = channels;
  conv->columns = target.dims[3] / maximum_of(1, groups);
  conv->depth = kernel_h * kernel_w * channels;
  conv->panels = ceildiv(conv->columns, gemm::kPanel);
  conv->element = static_cast<size_t>(element_size(source.dtype));
  for (int32_t i = 0; i < 4; ++i) conv->source_strides[i] = source.strides[i];
  conv->row_mask = -1;
  if (source.dims[3] == 1) conv->source_strides[3] = 1;
  const bool adjacent = conv->source_strides[3] == 1;
  const WindowAxis& v = conv->vertical;
  const WindowAxis& h = conv->horizontal;
  const Folding folding = fold_rows(source, source.dims, 2, 2);
  conv->plain = adjacent && attrs.pool == 1 && kernel_h == 1 && kernel_w == 1 && v.step == 1 && h.step == 1 &&
                v.origin == 0 && h.origin == 0 && v.divisor == 1 && h.divisor == 1 && v.size == conv->height &&
                h.size == conv->width && folding.axes == 2;
  conv->plain_stride = folding.stride;
  conv->merged = adjacent && groups == 1 && h.tap_step == 1 && h.divisor == 1 && source.strides[2] == channels;
  conv->direct = adjacent && v.inside(0) && v.inside(conv->height - 1) && h.inside(0) && h.inside(conv->width - 1);
  conv->pixel_blocks = maximum_of(1, ceildiv(conv->pixels, kTaskPixels));
  const int64_t many = (conv->plain || conv->direct ? 1 : 4) * kTaskPanels;
  const int64_t group = conv->pixel_blocks * groups >= kEnoughTasks ? many : 4;
  conv->panel_groups = maximum_of(1, ceildiv(conv->panels, group));
  const int64_t wanted = ceildiv(kEnoughTasks, maximum_of(1, conv->panel_groups * groups));  // blocks of pixels
  conv->pixel_blocks = maximum_of(conv->pixel_blocks, minimum_of(wanted, ceildiv(conv->pixels, kLeastPixels)));
  const int32_t nextras = maximum_of(0, call->step->ninputs - own);
  destination_init(&conv->destination, target, call->inputs + own, nextras, epilogue_of(call),
                   destination_fold(target, call->inputs + own, nextras));
  destination_straighten(&conv->destination, conv->depth > gemm::kDepth);
}

}  // namespace PF_ISA
}  // namespace pf
