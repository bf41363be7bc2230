// What a State is inside.
#ifndef PYFLOW_AOT_STATE_H
#define PYFLOW_AOT_STATE_H

#include "pyflow/aot.hpp"

namespace pf {
namespace aot {

constexpr uint64_t kStateMagic = 0x50466c6f77537461;
constexpr int64_t kAlignment = 64;

struct State {
  uint64_t magic;
  const Model* model;
  int32_t isa;
  const unsigned char* weights;
  const pf_kernel** kernels;
  void** programs;     // by step: what its kernel prepared
  void** variables;    // values
  uint64_t* writes;    // by variable, 0: it has no value
  uint64_t* counters;  // by source of each prepare: the writes that it was made from
  uint64_t* made;      // by prepare, 0: never
  void** prepared;
};

inline int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

const char* isa_name(int32_t isa);
// The kernel as the ISA has it; nullptr if the ISA lacks it.
const pf_kernel* find_kernel(const Kernel& kernel, int32_t isa);
int64_t dtype_bytes(int32_t dtype);
const char* dtype_name(int32_t dtype);

pf_code fail(const Report& report, pf_code code, const char* format, ...) __attribute__((format(printf, 3, 4)));

}  // namespace aot
}  // namespace pf

#endif
