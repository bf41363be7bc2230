// All kernels of one ISA.
#include "backends/cpu/table.h"

#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {

#define FAMILY(name) extern const pf_kernel* name##_kernels(int32_t* count) __attribute__((weak));
#include "backends/cpu/families.def"
#undef FAMILY

const pf_kernel* kernel_family(int32_t index, int32_t* count) {
  typedef const pf_kernel* (*Family)(int32_t*);
  static const Family kFamilies[] = {
#define FAMILY(name) name##_kernels,
#include "backends/cpu/families.def"
#undef FAMILY
  };
  constexpr int32_t kCount = sizeof(kFamilies) / sizeof(kFamilies[0]);
  if (index < 0 || index >= kCount) {
    *count = -1;
    return nullptr;
  }
  *count = 0;
  return kFamilies[index] != nullptr ? kFamilies[index](count) : nullptr;
}

}  // namespace PF_ISA
}  // namespace pf
