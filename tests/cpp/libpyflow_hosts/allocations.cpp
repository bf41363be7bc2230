// Once bound, a run allocates nothing.
//   allocations layer.plan
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "pyflow/pyflow.hpp"

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {
std::atomic<long> count{0};
}

extern "C" void* malloc(size_t size) {
  ++count;
  return __libc_malloc(size);
}
extern "C" void* calloc(size_t number, size_t size) {
  ++count;
  return __libc_calloc(number, size);
}
extern "C" void* realloc(void* memory, size_t size) {
  ++count;
  return __libc_realloc(memory, size);
}
extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  ++count;
  return __libc_memalign(alignment, size);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto model = pyflow::Model::load(argv[1]);
  if (!model) return 1;
  auto state = model->new_state();
  auto context = state->new_context("predict");
  if (!context) return 1;
  const float x[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  float y[6];
  const pf_tensor inputs[] = {pyflow::tensor(x, {2, 4})};
  pf_tensor outputs[] = {pyflow::tensor(y, {2, 3})};
  for (int turn = 0; turn < 3; ++turn)
    if (!context->run(inputs, outputs)) return 1;
  const long before = count;
  for (int turn = 0; turn < 100; ++turn)
    if (!context->run(inputs, outputs)) return 1;
  if (count != before) return std::printf("%ld allocations in 100 runs\n", count - before), 1;
  std::puts("no allocation");
  return 0;
}
