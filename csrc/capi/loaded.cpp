#include "capi/loaded.h"

#include <algorithm>

#include "core/dtype.h"
#include "core/plan.h"
#include "core/status.h"

namespace pf {

namespace {

constexpr const char* kVariable = "variable/";  // and a name: its type in the texts, its value in the arrays

// "float32[3,4]", as pyflow/runtime/saved_plan.py writes it. False for anything else.
bool parse_type(const std::string& type, int32_t* dtype, std::vector<int64_t>* dims) {
  const size_t bracket = type.find('[');
  if (bracket == std::string::npos || type.back() != ']') return false;
  *dtype = -1;
  for (int32_t code = 0; code < PF_DTYPE_COUNT; ++code)
    if (type.compare(0, bracket, dtype_name(code)) == 0) *dtype = code;
  int64_t dim = -1;
  for (size_t at = bracket + 1; at < type.size(); ++at) {
    const char each = type[at];
    if (each >= '0' && each <= '9') {
      dim = std::max<int64_t>(dim, 0);
      if (__builtin_mul_overflow(dim, 10, &dim) || __builtin_add_overflow(dim, each - '0', &dim)) return false;
    } else if (dim >= 0) {
      dims->push_back(dim);
      dim = -1;
    } else if (each != ']' || at != bracket + 1) {
      return false;
    }
  }
  return *dtype >= 0 && dims->size() <= PF_MAX_NDIM;
}

const char* keep_text(Loaded& loaded, std::string value) {
  return loaded.texts.emplace_back(std::make_unique<std::string>(std::move(value)))->c_str();
}

pf_port port_of(Loaded& loaded, const std::string& name, int32_t dtype, const std::vector<std::string>& dims) {
  std::vector<const char*>& texts = loaded.dims.emplace_back();
  for (const std::string& dim : dims) texts.push_back(keep_text(loaded, dim));
  return {keep_text(loaded, name), dtype, static_cast<int32_t>(dims.size()), texts.data()};
}

const pf_port* ports_of(Loaded& loaded, const std::vector<Port>& ports) {
  std::vector<pf_port> made;
  for (const Port& port : ports) {
    std::vector<std::string> dims;
    for (Row row : port.view.dims) dims.push_back(loaded.model->plan().sizes.describe(row));
    made.push_back(port_of(loaded, port.name, port.view.dtype, dims));
  }
  return loaded.ports.emplace_back(std::move(made)).data();
}

void describe(Loaded& loaded) {
  const Plan& plan = loaded.model->plan();
  for (uint32_t index = 0; index < plan.entries.size(); ++index) {
    const Entry& entry = plan.entries[index];
    loaded.entries.push_back({entry.name.c_str(), static_cast<int32_t>(entry.inputs.size()),
                              static_cast<int32_t>(entry.outputs.size()), ports_of(loaded, entry.inputs),
                              ports_of(loaded, entry.outputs), !loaded.model->entry(index).written.empty()});
  }
  const std::string prefix = kVariable;
  for (const auto& [key, type] : loaded.package.texts) {
    if (key.compare(0, prefix.size(), prefix) != 0) continue;
    int32_t dtype;
    std::vector<int64_t> dims;
    if (!parse_type(type, &dtype, &dims))
      throw Error(PF_DATA_LOSS, text("the plan is not valid: '", key, "' has the type '", type, "'"));
    std::vector<std::string> shown;
    for (int64_t dim : dims) shown.push_back(std::to_string(dim));
    loaded.variables.push_back(port_of(loaded, key.substr(prefix.size()), dtype, shown));
  }
}

std::string type_of(int32_t dtype, const std::vector<int64_t>& dims) {
  std::string result = text(dtype_name(dtype), "[");
  for (size_t axis = 0; axis < dims.size(); ++axis) result += (axis ? "," : "") + std::to_string(dims[axis]);
  return result + "]";
}

}  // namespace

std::shared_ptr<const Loaded> load_plan(std::span<const uint8_t> bytes, const std::string& where,
                                        std::shared_ptr<void> keep) {
  auto loaded = std::make_shared<Loaded>();
  loaded->package = parse_package(bytes, "plan", where);
  const auto& arrays = loaded->package.arrays;
  const auto structure = arrays.find("plan");
  if (structure == arrays.end()) throw Error(PF_DATA_LOSS, text("[plan] ", where, " holds no plan"));
  std::vector<Constant> constants;
  for (;;) {
    const auto found = arrays.find(text("constant/", constants.size()));
    if (found == arrays.end()) break;
    constants.push_back({found->second.data.data(), found->second.data.size(), found->second.dtype});
  }
  loaded->model = std::make_shared<Model>(parse_plan(structure->second.data), constants, std::move(keep));
  describe(*loaded);
  return loaded;
}

std::shared_ptr<const Loaded> load_plan_file(const std::string& path) {
  auto file = std::make_shared<MappedFile>(path);
  const std::span<const uint8_t> bytes = file->bytes();
  return load_plan(bytes, "'" + path + "'", std::move(file));
}

uint32_t Loaded::find(const std::string& entry) const {
  std::string known;
  for (uint32_t index = 0; index < entries.size(); ++index) {
    if (entry == entries[index].name) return index;
    known += (known.empty() ? "" : ", ") + std::string(entries[index].name);
  }
  throw Error(PF_NOT_FOUND, text("there is no entry '", entry, "'; there are ", known));
}

bool Loaded::is_late(const Port& port) const {
  return std::any_of(port.view.dims.begin(), port.view.dims.end(),
                     [this](Row row) { return model->plan().sizes.is_late(row); });
}

void Loaded::declare(State& state) const {
  const std::string prefix = kVariable;
  for (const auto& [key, type] : package.texts) {
    if (key.compare(0, prefix.size(), prefix) != 0) continue;
    int32_t dtype;
    std::vector<int64_t> dims;
    parse_type(type, &dtype, &dims);
    state.declare(key.substr(prefix.size()), dtype, dims);
  }
}

void Loaded::reset(State& state) const {
  const std::string prefix = kVariable;
  StateLock lock(state, true);
  lock.wait();
  for (const auto& [key, array] : package.arrays) {
    if (key.compare(0, prefix.size(), prefix) != 0) continue;
    const auto variable = state.find(key.substr(prefix.size()));
    if (!variable || variable->dtype != array.dtype || variable->dims != array.dims)
      throw Error(PF_DATA_LOSS, text("the plan is not valid: '", key, "' fits no variable"));
    state.set(*variable, array.data.data());
  }
}

void save_checkpoint(State& state, const std::string& path) {
  Package package;
  package.texts["step"] = "";
  StateLock lock(state, false);
  lock.wait();
  for (const std::string& name : state.names()) {
    const auto variable = state.find(name);
    if (!variable->initialised) continue;
    if (variable->memory.backend())
      throw Error(PF_UNIMPLEMENTED, text("variable '", name, "' lives in another memory than the host's"));
    package.arrays[name] = {
        variable->dtype, variable->dims, {static_cast<const uint8_t*>(variable->memory.data()), variable->bytes()}};
  }
  write_whole(path, build_package(package, "checkpoint"));
}

void load_checkpoint(State& state, const std::string& path) {
  const MappedFile file(path);
  const Package package = parse_package(file.bytes(), "checkpoint", "'" + path + "'");
  StateLock lock(state, true);
  lock.wait();
  for (const std::string& name : state.names()) {
    const auto variable = state.find(name);
    const auto found = package.arrays.find(name);
    if (found == package.arrays.end()) throw Error(PF_NOT_FOUND, text("'", path, "' has no variable '", name, "'"));
    if (found->second.dtype != variable->dtype || found->second.dims != variable->dims) {
      throw Error(PF_INVALID_ARGUMENT, text("variable '", name, "' is ", type_of(variable->dtype, variable->dims),
                                            "; the file has ", type_of(found->second.dtype, found->second.dims)));
    }
  }
  for (const std::string& name : state.names()) state.set(*state.find(name), package.arrays.at(name).data.data());
}

}  // namespace pf
