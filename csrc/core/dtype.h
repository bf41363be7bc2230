// The element types of pyflow/dtype.h, as functions.
#ifndef PYFLOW_CORE_DTYPE_H
#define PYFLOW_CORE_DTYPE_H

#include <cstdint>

#include "pyflow/dtype.h"

namespace pf {

inline bool is_dtype(int64_t code) {
  return code >= 0 && code < PF_DTYPE_COUNT;
}

// Bytes of one element in memory: sub-byte types take one. 0 for a code that is no dtype.
inline int64_t dtype_bytes(int32_t code) {
  switch (code) {
#define PF_ROW(name, code, bits) \
  case code:                     \
    return (bits) < 8 ? 1 : (bits) / 8;
    PF_DTYPES(PF_ROW)
#undef PF_ROW
    default:
      return 0;
  }
}

inline const char* dtype_name(int32_t code) {
  switch (code) {
#define PF_ROW(name, code, bits) \
  case code:                     \
    return #name;
    PF_DTYPES(PF_ROW)
#undef PF_ROW
    default:
      return "unknown";
  }
}

}  // namespace pf

#endif
