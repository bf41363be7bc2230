#include "core/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/status.h"

namespace pf {

namespace {

// From a huge page on the kernel is asked for them: what a cache or the table of pages has room for then does not
// depend on where pages happen to lie.
constexpr size_t kHugePage = size_t{2} << 20;

// Pages are reserved lazily, so that what the machine can never hold would be granted here and end the process later.
bool exceeds_machine(size_t bytes) {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 && bytes / static_cast<size_t>(page) > static_cast<size_t>(pages);
}

void* host_allocate(size_t bytes) {
  if (exceeds_machine(bytes)) return nullptr;
  if (bytes < kHugePage) return std::aligned_alloc(kAlignment, align_up(bytes ? bytes : 1));
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), whole = (bytes + page - 1) / page * page;
  void* pages =
      mmap(nullptr, whole + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  const size_t before = -reinterpret_cast<uintptr_t>(pages) % kHugePage;
  char* data = static_cast<char*>(pages) + before;
  if (before > 0) munmap(pages, before);
  munmap(data + whole, kHugePage - before);
  madvise(data, whole, MADV_HUGEPAGE);
  return data;
}

void host_release(void* data, size_t bytes) {
  if (bytes < kHugePage) {
    std::free(data);
  } else {
    munmap(data, bytes);
  }
}

}  // namespace

Memory::Memory(const pf_backend* backend, size_t bytes) : bytes_(bytes), backend_(backend) {
  data_ = backend ? backend->allocate(backend->self, bytes ? bytes : 1) : host_allocate(bytes);
  if (!data_) {
    throw Error(PF_RESOURCE_EXHAUSTED, text("no ", bytes, " bytes of ", backend ? backend->name : "host",
                                            " memory left; use smaller sizes, see memory_plan()"));
  }
}

Memory::~Memory() {
  if (!data_) return;
  if (backend_) {
    backend_->release(backend_->self, data_, bytes_ ? bytes_ : 1);
  } else {
    host_release(data_, bytes_);
  }
}

void copy_memory(const pf_backend* to_backend, void* to, const pf_backend* from_backend, const void* from,
                 size_t bytes) {
  if (bytes == 0 || to == from) return;
  auto copy = [bytes](const pf_backend* backend, void* target, const void* source, pf_direction direction) {
    pf_error error{-1, ""};
    const pf_code code = backend->copy(backend->self, target, source, bytes, direction, &error);
    if (code != PF_OK) throw Error(code, text("[transfer] ", error.message));
  };
  if (!to_backend && !from_backend) {
    std::memmove(to, from, bytes);
  } else if (to_backend == from_backend) {
    copy(to_backend, to, from, PF_WITHIN);
  } else if (!from_backend) {
    copy(to_backend, to, from, PF_TO_DEVICE);
  } else if (!to_backend) {
    copy(from_backend, to, from, PF_TO_HOST);
  } else {
    Memory host(nullptr, bytes);
    copy(from_backend, host.data(), from, PF_TO_HOST);
    copy(to_backend, to, host.data(), PF_TO_DEVICE);
  }
}

void pack_view(void* to, const void* from, int32_t ndim, const int64_t* dims, const int64_t* strides,
               int64_t itemsize) {
  for (int32_t axis = 0; axis < ndim; ++axis) {
    if (dims[axis] == 0) return;
  }
  int64_t run = itemsize;
  while (ndim > 0 && (dims[ndim - 1] == 1 || strides[ndim - 1] * itemsize == run)) run *= dims[--ndim];
  int64_t index[PF_MAX_NDIM] = {};
  auto* target = static_cast<char*>(to);
  auto* source = static_cast<const char*>(from);
  for (;;) {
    std::memmove(target, source, run);
    target += run;
    int32_t axis = ndim - 1;
    for (; axis >= 0; --axis) {
      source += strides[axis] * itemsize;
      if (++index[axis] < dims[axis]) break;
      source -= strides[axis] * itemsize * dims[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace pf
