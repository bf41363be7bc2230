// The backends: built in by explicit rows, from plugins, or made at run time.
#ifndef PYFLOW_CORE_REGISTRY_H
#define PYFLOW_CORE_REGISTRY_H

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "pyflow/backend.h"

namespace pf {

class Registry {
 public:
  static Registry& instance();

  // nullptr if there is none of this name.
  const pf_backend* find(std::string_view name) const;
  // As `find`, but throws Error naming those that are there.
  const pf_backend* get(std::string_view name) const;
  std::vector<const pf_backend*> list() const;

  // `backend` must live until the process ends. Throws Error for another ABI or a name that is taken.
  void add(const pf_backend* backend);
  // Opens a shared library and adds its backends, and its kernels to cpu; gives the names of what it added.
  std::vector<std::string> load_plugin(const std::string& path);

 private:
  Registry();

  mutable std::mutex mutex_;
  std::vector<const pf_backend*> backends_;
};

// Does `backend` run this step? Else says why not.
bool backend_supports(const pf_backend* backend, const pf_step& step, std::string* why);

}  // namespace pf

#endif
