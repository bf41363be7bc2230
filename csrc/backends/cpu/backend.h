// The cpu backend: kernels of the best ISA that the machine has, run by a gang or on a host's threads.
#ifndef PYFLOW_BACKENDS_CPU_BACKEND_H
#define PYFLOW_BACKENDS_CPU_BACKEND_H

#include <string>
#include <vector>

#include "backends/cpu/table.h"
#include "pyflow/backend.h"

namespace pf {

const pf_backend* cpu_backend();

// What the kernels were built for, and of that what this machine runs, least first: "portable", "avx2", "avx512".
std::vector<std::string> built_isas();
std::vector<std::string> cpu_isas();
// The ISA that plans prepared from now on use: PYFLOW_ISA if set, else the best one.
std::string selected_isa();
// Empty, or why the ISA cannot be selected; then nothing changes. "" goes back to the default.
std::string select_isa(const std::string& name);

// Adds a kernel to the backend; it must live as long as the process. Empty, or why not (the name is taken).
std::string add_kernel(const pf_kernel* kernel);
std::vector<std::string> kernel_names();
std::vector<ScalarOp> scalar_ops();

// For the rest of the backend: the kernel of that name for the selected ISA or NULL, and what is wrong with the
// selection ("" if nothing).
const pf_kernel* find_kernel(const char* name);
std::string isa_error();

// The runtime part, in backend_run.cpp.
struct BoundSegment;
pf_code run_segment(BoundSegment* bound, const pf_run* run, pf_error* error);

}  // namespace pf

#endif
