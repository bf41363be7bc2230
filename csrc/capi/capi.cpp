// pyflow.h over core: models, states and the table.
#include "capi/boundary.h"
#include "capi/loaded.h"
#include "core/dtype.h"

namespace pf {

namespace {

const char* version_text() {
  return PYFLOW_VERSION;
}

pf_code model_load(const char* path, pf_model** model, pf_status* status) {
  return guarded(status, [&] {
    require(path, "a path");
    require(model, "where to put the model");
    *model = new pf_model{load_plan_file(path)};
  });
}

pf_code model_from_memory(const void* data, size_t bytes, pf_model** model, pf_status* status) {
  return guarded(status, [&] {
    require(data, "data");
    require(model, "where to put the model");
    *model = new pf_model{load_plan({static_cast<const uint8_t*>(data), bytes}, "the plan in memory", nullptr)};
  });
}

void model_release(pf_model* model) {
  delete model;
}

int32_t model_entries(const pf_model* model) {
  return model ? static_cast<int32_t>(model->loaded->entries.size()) : 0;
}

const pf_entry* model_entry(const pf_model* model, int32_t index) {
  return index >= 0 && index < model_entries(model) ? &model->loaded->entries[index] : nullptr;
}

const pf_entry* model_find_entry(const pf_model* model, const char* name) {
  for (int32_t index = 0; name && index < model_entries(model); ++index)
    if (!std::strcmp(model->loaded->entries[index].name, name)) return &model->loaded->entries[index];
  return nullptr;
}

int32_t model_variables(const pf_model* model) {
  return model ? static_cast<int32_t>(model->loaded->variables.size()) : 0;
}

const pf_port* model_variable(const pf_model* model, int32_t index) {
  return index >= 0 && index < model_variables(model) ? &model->loaded->variables[index] : nullptr;
}

pf_code state_create(const pf_model* model, pf_state** state, pf_status* status) {
  return guarded(status, [&] {
    require(model, "a model");
    require(state, "where to put the state");
    auto made = std::make_unique<pf_state>(pf_state{model->loaded, std::make_shared<State>()});
    made->loaded->declare(*made->state);
    made->loaded->reset(*made->state);
    *state = made.release();
  });
}

void state_release(pf_state* state) {
  delete state;
}

pf_code state_reset(pf_state* state, pf_status* status) {
  return guarded(status, [&] {
    require(state, "a state");
    state->loaded->reset(*state->state);
  });
}

Variable& variable_of(const pf_state* state, const char* name) {
  require(state, "a state");
  require(name, "a variable's name");
  if (auto variable = state->state->find(name)) return *variable;
  std::string known;
  for (const std::string& each : state->state->names()) known += (known.empty() ? "" : ", ") + each;
  throw Error(PF_NOT_FOUND, text("there is no variable '", name, "'; there are ", known.empty() ? "none" : known));
}

pf_code state_get(const pf_state* state, const char* name, pf_tensor* tensor, pf_status* status) {
  return guarded(status, [&] {
    Variable& variable = variable_of(state, name);
    require(tensor, "a tensor");
    check_tensor(*tensor, text("variable '", name, "'"));
    StateLock lock(*state->state, false);
    lock.wait();
    if (!variable.initialised) throw Error(PF_FAILED_PRECONDITION, text("variable '", name, "' has no value yet"));
    if (tensor->data && tensor->bytes < variable.bytes()) {
      throw Error(PF_INVALID_ARGUMENT,
                  text("variable '", name, "' takes ", variable.bytes(), " bytes; got ", tensor->bytes));
    }
    if (tensor->data) state->state->get(variable, tensor->data);
    fill(tensor, variable.dtype, variable.dims, variable.bytes());
  });
}

pf_code state_set(pf_state* state, const char* name, const pf_tensor* tensor, pf_status* status) {
  return guarded(status, [&] {
    Variable& variable = variable_of(state, name);
    require(tensor, "a tensor");
    const std::string what = text("variable '", name, "'");
    check_tensor(*tensor, what);
    const bool same = tensor->dtype == variable.dtype && tensor->ndim == static_cast<int32_t>(variable.dims.size()) &&
                      std::equal(variable.dims.begin(), variable.dims.end(), tensor->dims);
    if (!same) {
      throw Error(
          PF_INVALID_ARGUMENT,
          text(what, " is ", shown(variable.dtype, variable.dims.data(), static_cast<int32_t>(variable.dims.size())),
               "; got ", shown(tensor->dtype, tensor->dims, std::clamp(tensor->ndim, 0, PF_MAX_NDIM))));
    }
    check_data(*tensor, what);
    StateLock lock(*state->state, true);
    lock.wait();
    state->state->set(variable, tensor->data);
  });
}

pf_code state_save(const pf_state* state, const char* path, pf_status* status) {
  return guarded(status, [&] {
    require(state, "a state");
    require(path, "a path");
    save_checkpoint(*state->state, path);
  });
}

pf_code state_load(pf_state* state, const char* path, pf_status* status) {
  return guarded(status, [&] {
    require(state, "a state");
    require(path, "a path");
    load_checkpoint(*state->state, path);
  });
}

pf_api make_api() {
  pf_api api{};
  api.struct_size = sizeof(pf_api);
  api.version = PF_API_VERSION;
  api.version_text = version_text;
  api.model_load = model_load;
  api.model_from_memory = model_from_memory;
  api.model_release = model_release;
  api.model_entries = model_entries;
  api.model_entry = model_entry;
  api.model_find_entry = model_find_entry;
  api.model_variables = model_variables;
  api.model_variable = model_variable;
  api.state_create = state_create;
  api.state_release = state_release;
  api.state_reset = state_reset;
  api.state_get = state_get;
  api.state_set = state_set;
  api.state_save = state_save;
  api.state_load = state_load;
  add_context_functions(&api);
  return api;
}

}  // namespace
}  // namespace pf

const pf_api* pf_get_api(uint32_t version) {
  static const pf_api api = pf::make_api();
  return version >= 1 && version <= PF_API_VERSION ? &api : nullptr;
}
