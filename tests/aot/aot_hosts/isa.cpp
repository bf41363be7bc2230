// Stands in the place of the runtime's look at the CPU: the machine that WANTED_ISA says (-1: too old for any).
#include <cstdlib>

#include "pyflow/aot.hpp"

namespace pf {
namespace aot {

int32_t machine_isa() {
  return std::atoi(std::getenv("WANTED_ISA"));
}

}  // namespace aot
}  // namespace pf
