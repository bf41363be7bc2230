#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "python/callable.h"
#include "python/eager.h"
#include "python/errors.h"
#include "python/interrupt.h"

namespace pf {
void bind_core(pybind11::module_& module);
void bind_kernels(pybind11::module_& module);
}  // namespace pf

PYBIND11_MODULE(_core, module) {
  pybind11::detail::npy_api::get();  // parses NumPy's version: part of the import, not of the first run
  pf::set_main_thread(pybind11::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>());
  pf::register_errors();
  pf::bind_core(module);
  pf::bind_callable(module);
  pf::bind_kernels(module);
  pybind11::module_ eager = module.def_submodule("eager", "Tensors, entries, records: see pyflow/eager.");
  pf::eager::bind_tensor(eager);
  pf::eager::bind_operators(eager);
  pf::eager::bind_entry(eager);
  pf::eager::bind_lookup(eager);
  pf::eager::bind_tape(eager);
  pf::eager::bind_backward(eager);
}
