// All kernels of one ISA.
#include "backends/cpu/table.h"

#include "backends/cpu/kernels.h"

namespace pf {
namespace PF_ISA {
namespace {

typedef const pf_kernel* (*Family)(int32_t* count);

constexpr Family kFamilies[] = {
#define FAMILY(name) name##_kernels,
#include "backends/cpu/families.def"
#undef FAMILY
};
constexpr int32_t kFamilyCount = sizeof(kFamilies) / sizeof(kFamilies[0]);

}  // namespace

const pf_kernel* kernel_family(int32_t index, int32_t* count) {
  *count = -1;
  return index >= 0 && index < kFamilyCount ? kFamilies[index](count) : nullptr;
}

}  // namespace PF_ISA
}  // namespace pf
