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
const char* dtype_name(int32_t dtype);

inline int64_t dtype_bytes(int32_t dtype) {
  constexpr uint8_t kBytes[] = {
#define PF_ROW(name, code, bits) (bits) < 8 ? 1 : (bits) / 8,
      PF_DTYPES(PF_ROW)
#undef PF_ROW
  };
  return dtype >= 0 && dtype < PF_DTYPE_COUNT ? kBytes[dtype] : 1;
}

// What a kernel fills, as it is before: most of it is not worth clearing.
struct Error : pf_error {
  Error() {
    step = -1;
    message[0] = '\0';
  }
};

pf_code fail(const Report& report, pf_code code, const char* format, ...) __attribute__((format(printf, 3, 4)));

}  // namespace aot
}  // namespace pf

#endif
