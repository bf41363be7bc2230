// Memory that the core owns: 64-byte aligned, on the host or on a backend.
#ifndef PYFLOW_CORE_ARENA_H
#define PYFLOW_CORE_ARENA_H

#include <cstddef>
#include <cstdint>
#include <utility>

#include "pyflow/backend.h"

namespace pf {

inline constexpr size_t kAlignment = 64;

inline size_t align_up(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Owns one block. `backend` is nullptr for host memory. The address is never null, even for no bytes.
class Memory {
 public:
  Memory() = default;
  Memory(const pf_backend* backend, size_t bytes);
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    Memory(std::move(other)).swap(*this);
    return *this;
  }
  ~Memory();

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  const pf_backend* backend() const { return backend_; }

 private:
  void swap(Memory& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(backend_, other.backend_);
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
  const pf_backend* backend_ = nullptr;
};

// Copies between any two memories (nullptr: the host). Throws Error.
void copy_memory(const pf_backend* to_backend, void* to, const pf_backend* from_backend, const void* from,
                 size_t bytes);

// Copies a strided host view to contiguous memory.
void pack_view(void* to, const void* from, int32_t ndim, const int64_t* dims, const int64_t* strides, int64_t itemsize);

}  // namespace pf

#endif
