#include <pybind11/pybind11.h>

namespace pf {
void bind_kernels(pybind11::module_& module);
}

PYBIND11_MODULE(_core, module) { pf::bind_kernels(module); }
