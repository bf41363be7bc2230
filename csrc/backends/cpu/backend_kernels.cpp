// Which kernels there are: the tables of the ISAs, the choice among them, and what plugins add.
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "backends/cpu/backend.h"

namespace pf {
namespace {

// By name, which lies in the kernel.
typedef std::unordered_map<std::string_view, const pf_kernel*> Table;

struct Isa {
  const char* name;
  bool available;
  const pf_kernel* (*family)(int32_t index, int32_t* count);
  const ScalarOp* (*scalar_ops)(int32_t* count);
  Table found = {};  // those that were asked for

  template <typename Visit>  // takes a kernel, returns whether to go on
  void visit(Visit&& go_on) const {
    int32_t count = 0;
    for (int32_t index = 0; count >= 0; ++index) {
      const pf_kernel* rows = family(index, &count);
      for (int32_t k = 0; k < count; ++k)
        if (!go_on(rows[k])) return;
    }
  }

  const pf_kernel* find(const char* name) {
    const auto known = found.find(name);
    if (known != found.end()) return known->second;
    const pf_kernel* result = nullptr;
    visit([&](const pf_kernel& row) {
      if (std::strcmp(row.name, name) == 0) result = &row;
      return result == nullptr;
    });
    if (result != nullptr) found.emplace(result->name, result);
    return result;
  }
};

struct Registry {
  std::mutex lock;
  std::vector<Isa> isas;
  Table added;
  int selected = 0;
  std::string error;

  Registry() {
    __builtin_cpu_init();
    isas = {
        {"portable", __builtin_cpu_supports("x86-64-v2") != 0, portable::kernel_family, portable::scalar_op_rows},
#ifndef PF_WITHOUT_AVX2
        {"avx2", __builtin_cpu_supports("x86-64-v3") != 0, avx2::kernel_family, avx2::scalar_op_rows},
#endif
#ifndef PF_WITHOUT_AVX512
        {"avx512", __builtin_cpu_supports("x86-64-v4") != 0, avx512::kernel_family, avx512::scalar_op_rows},
#endif
    };
    error = select("");
  }

  // The selected one. Needs the lock.
  Isa& isa() { return isas[static_cast<size_t>(selected)]; }

  // Needs the lock (or to be the constructor).
  std::string select(const std::string& wanted) {
    std::string name = wanted;
    if (name.empty())
      if (const char* forced = std::getenv("PYFLOW_ISA")) name = forced;
    int best = 0;
    std::string known;
    for (int i = 0; i < static_cast<int>(isas.size()); ++i) {
      if (!isas[i].available) continue;
      best = i;
      known += (known.empty() ? "" : ", ") + std::string(isas[i].name);
      if (name == isas[i].name) {
        selected = i;
        return "";
      }
    }
    if (known.empty()) return "this CPU lacks SSE4.2 or POPCNT; x86-64-v2 is the least that is supported";
    if (name.empty()) {
      selected = best;
      return "";
    }
    return "ISA '" + name + "' was asked for" + (wanted.empty() ? " by PYFLOW_ISA" : "") + ", this machine runs " +
           known + "; choose one of them";
  }
};

Registry& registry() {
  static Registry the_registry;
  return the_registry;
}

}  // namespace

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : registry().isas) names.push_back(isa.name);
  return names;
}

std::vector<std::string> cpu_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : registry().isas)
    if (isa.available) names.push_back(isa.name);
  return names;
}

std::string selected_isa() {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.lock);
  return all.isa().name;
}

std::string select_isa(const std::string& name) {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.lock);
  std::string why = all.select(name);
  if (why.empty()) all.error.clear();
  return why;
}

std::string isa_error() {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.lock);
  return all.error;
}

std::string add_kernel(const pf_kernel* kernel) {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.lock);
  if (all.isa().find(kernel->name) != nullptr)
    return std::string("kernel '") + kernel->name + "' is built in; give yours another name";
  const auto [found, is_new] = all.added.emplace(kernel->name, kernel);
  if (!is_new && found->second != kernel)
    return std::string("kernel '") + kernel->name + "' was added before; give yours another name";
  return "";
}

std::vector<std::string> kernel_names() {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.lock);
  std::vector<std::string> names;
  all.isa().visit([&](const pf_kernel& row) {
    names.emplace_back(row.name);
    return true;
  });
  for (const auto& row : all.added) names.emplace_back(row.first);
  return names;
}

std::vector<ScalarOp> scalar_ops() {
  Registry& all = registry();
  int32_t count = 0;
  const ScalarOp* rows = all.isa().scalar_ops(&count);
  return {rows, rows + count};
}

const pf_kernel* find_kernel(const char* name) {
  Registry& all = registry();
  const std::lock_guard<std::mutex> lock(all.lock);
  if (const pf_kernel* built_in = all.isa().find(name)) return built_in;
  const auto added = all.added.find(name);
  return added != all.added.end() ? added->second : nullptr;
}

}  // namespace pf
