#include "core/registry.h"

#include <dlfcn.h>

#include "backends/cpu/backend.h"
#include "backends/null/backend.h"
#include "core/status.h"

namespace pf {

Registry::Registry() : backends_{cpu_backend(), null_backend()} {}

Registry& Registry::instance() {
  static Registry registry;
  return registry;
}

const pf_backend* Registry::find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  for (const pf_backend* backend : backends_) {
    if (name == backend->name) return backend;
  }
  return nullptr;
}

const pf_backend* Registry::get(std::string_view name) const {
  if (const pf_backend* backend = find(name)) return backend;
  std::string known;
  for (const pf_backend* backend : list()) known += (known.empty() ? "" : ", ") + std::string(backend->name);
  throw Error(PF_NOT_FOUND, text("there is no backend '", std::string(name), "'; there are ", known,
                                 "; load a plugin or build pyflow with it"));
}

std::vector<const pf_backend*> Registry::list() const {
  std::lock_guard lock(mutex_);
  return backends_;
}

void Registry::add(const pf_backend* backend) {
  if (backend->abi != PF_BACKEND_ABI || backend->struct_size < sizeof(pf_backend)) {
    throw Error(PF_FAILED_PRECONDITION, text("a backend was built for ABI ", backend->abi, " (", backend->struct_size,
                                             " bytes); this pyflow has ABI ", PF_BACKEND_ABI, " (", sizeof(pf_backend),
                                             " bytes); build it again with this pyflow's backend.h"));
  }
  const bool memory = backend->host_memory || (backend->allocate && backend->release && backend->copy);
  if (!backend->name || !backend->supports || !backend->prepare || !backend->bind || !backend->run || !memory) {
    throw Error(PF_INVALID_ARGUMENT,
                "a backend needs a name, supports, prepare, bind and run, and memory functions unless "
                "host_memory is set");
  }
  if (find(backend->name)) throw Error(PF_INVALID_ARGUMENT, text("there already is a backend '", backend->name, "'"));
  std::lock_guard lock(mutex_);
  backends_.push_back(backend);
}

std::vector<std::string> Registry::load_plugin(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw Error(PF_NOT_FOUND, text("the plugin ", path, " does not load: ", dlerror()));
  auto backends = reinterpret_cast<pf_plugin_backend_fn>(dlsym(library, PF_PLUGIN_BACKEND_SYMBOL));
  auto kernels = reinterpret_cast<pf_plugin_kernel_fn>(dlsym(library, PF_PLUGIN_KERNEL_SYMBOL));
  if (!backends && !kernels) {
    dlclose(library);
    throw Error(PF_INVALID_ARGUMENT, text("the plugin ", path, " exports neither ", PF_PLUGIN_BACKEND_SYMBOL, " nor ",
                                          PF_PLUGIN_KERNEL_SYMBOL));
  }
  std::vector<std::string> added;
  if (backends) {
    for (int32_t index = 0; const pf_backend* backend = backends(index); ++index) {
      add(backend);
      added.push_back(backend->name);
    }
  }
  if (kernels) {
    for (int32_t index = 0; const pf_kernel* kernel = kernels(index); ++index) {
      if (std::string why = add_kernel(kernel); !why.empty()) throw Error(PF_INVALID_ARGUMENT, why);
      added.push_back(kernel->name);
    }
  }
  return added;
}

bool backend_supports(const pf_backend* backend, const pf_step& step, std::string* why) {
  char reason[500] = "";
  if (backend->supports(backend->self, &step, reason, sizeof(reason))) return true;
  if (why) *why = reason[0] ? reason : text("the ", backend->name, " backend has no kernel '", step.kernel, "'");
  return false;
}

}  // namespace pf
