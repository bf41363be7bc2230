#include "capi/boundary.h"

#include "core/dtype.h"

namespace pf {

void check_tensor(const pf_tensor& tensor, const std::string& what) {
  if (tensor.struct_size != sizeof(pf_tensor)) {
    throw Error(PF_INVALID_ARGUMENT, text(what, ": struct_size is ", tensor.struct_size, "; set it to sizeof"));
  }
}

void fill(pf_tensor* tensor, int32_t dtype, const std::vector<int64_t>& dims, size_t bytes) {
  tensor->dtype = dtype;
  tensor->ndim = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), tensor->dims);
  tensor->bytes = bytes;
}

std::string shown(int32_t dtype, const int64_t* dims, int32_t ndim) {
  std::string result = text(dtype_name(dtype), "[");
  for (int32_t axis = 0; axis < ndim; ++axis) result += (axis ? "," : "") + std::to_string(dims[axis]);
  return result + "]";
}

size_t check_data(const pf_tensor& tensor, const std::string& what) {
  int64_t bytes = dtype_bytes(tensor.dtype);
  const auto alignment = static_cast<uintptr_t>(std::min<int64_t>(bytes, 8));
  for (int32_t axis = 0; axis < tensor.ndim; ++axis) {
    if (tensor.dims[axis] < 0 || __builtin_mul_overflow(bytes, tensor.dims[axis], &bytes)) {
      throw Error(PF_INVALID_ARGUMENT, text(what, " has size ", tensor.dims[axis], " on axis ", axis));
    }
  }
  if (bytes > 0 && !tensor.data) throw Error(PF_INVALID_ARGUMENT, text(what, ": data is NULL"));
  if (tensor.bytes < static_cast<size_t>(bytes)) {
    throw Error(PF_INVALID_ARGUMENT, text(what, " has ", tensor.bytes, " bytes; ",
                                          shown(tensor.dtype, tensor.dims, tensor.ndim), " takes ", bytes));
  }
  if (bytes > 0 && reinterpret_cast<uintptr_t>(tensor.data) % alignment != 0) {
    throw Error(PF_INVALID_ARGUMENT, text(what, ": data is not aligned to ", alignment, " bytes"));
  }
  return static_cast<size_t>(bytes);
}

}  // namespace pf
