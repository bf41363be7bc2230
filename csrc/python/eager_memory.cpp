// Memory of large results: blocks that come back are kept, because fresh pages cost more than most kernels.
#include <map>

#include "core/arena.h"
#include "core/dtype.h"
#include "python/arrays.h"
#include "python/eager.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

using Api = py::detail::npy_api;

constexpr int64_t kLarge = int64_t{64} << 10;
constexpr size_t kKeptBytes = size_t{512} << 20;
constexpr size_t kClassesPerDoubling = 8;
constexpr const char* kName = "pyflow.block";

// Every size up to this one fits; at most an eighth is spare.
size_t rounded(size_t bytes) {
  size_t step = kLarge / kClassesPerDoubling;
  while (step * 2 * kClassesPerDoubling <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Blocks {
  std::map<size_t, std::vector<std::unique_ptr<Memory>>> free;
  size_t kept = 0;

  std::unique_ptr<Memory> take(size_t bytes) {
    const size_t size = rounded(bytes);
    auto& list = free[size];
    if (list.empty()) return std::make_unique<Memory>(nullptr, size);
    std::unique_ptr<Memory> block = std::move(list.back());
    list.pop_back();
    kept -= size;
    return block;
  }
  void give(std::unique_ptr<Memory> block) {
    const size_t size = block->bytes();
    if (size > kKeptBytes / 2) return;
    // What was kept for other sizes makes room, the largest first.
    for (auto each = free.rbegin(); kept + size > kKeptBytes && each != free.rend(); ++each) {
      kept -= each->first * each->second.size();
      each->second.clear();
    }
    kept += size;
    free[size].push_back(std::move(block));
  }
};

Blocks& blocks() {
  static auto* all = new Blocks;  // arrays may outlive everything static
  return *all;
}

void give_back(PyObject* capsule) {
  blocks().give(std::unique_ptr<Memory>(static_cast<Memory*>(PyCapsule_GetPointer(capsule, kName))));
}

}  // namespace

PyObject* new_eager_array(int32_t dtype, std::span<const int64_t> dims) {
  int64_t bytes = dtype_bytes(dtype);
  for (int64_t dim : dims) bytes *= dim;
  if (bytes < kLarge) return new_array(dtype, dims);
  std::unique_ptr<Memory> block = blocks().take(static_cast<size_t>(bytes));
  const auto capsule = py::reinterpret_steal<py::object>(PyCapsule_New(block.get(), kName, give_back));
  if (!capsule) throw py::error_already_set();
  void* data = block.release()->data();
  PyObject* descr = numpy_dtype(dtype);
  Py_INCREF(descr);
  static const Api& numpy = Api::get();
  const int flags = Api::NPY_ARRAY_ALIGNED_ | Api::NPY_ARRAY_WRITEABLE_;
  PyObject* array = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, descr, static_cast<int>(dims.size()), dims.data(),
                                                nullptr, data, flags, nullptr);
  if (!array) throw py::error_already_set();
  if (numpy.PyArray_SetBaseObject_(array, capsule.inc_ref().ptr()) != 0) {
    Py_DECREF(array);
    throw py::error_already_set();
  }
  return array;
}

}  // namespace pf::eager
