// A saved plan in memory: the model, what its file says of variables, and the tables that callers read.
#ifndef PYFLOW_CAPI_LOADED_H
#define PYFLOW_CAPI_LOADED_H

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "capi/package.h"
#include "core/model.h"
#include "core/state.h"
#include "pyflow/pyflow.h"

namespace pf {

struct Loaded {
  std::shared_ptr<Model> model;
  Package package;
  std::vector<pf_entry> entries;
  std::vector<pf_port> variables;

  // The index of an entry. Throws Error naming those that are there.
  uint32_t find(const std::string& entry) const;
  bool is_late(const Port& port) const;
  void declare(State& state) const;
  // Gives variables the values of the file.
  void reset(State& state) const;

  // What entries and variables point to.
  std::vector<std::vector<pf_port>> ports;
  std::vector<std::vector<const char*>> dims;
  std::vector<std::unique_ptr<std::string>> texts;
};

// Throw Error for files that are no plans, damaged, of a newer version, or that this library cannot run.
std::shared_ptr<const Loaded> load_plan_file(const std::string& path);
std::shared_ptr<const Loaded> load_plan(std::span<const uint8_t> bytes, const std::string& where,
                                        std::shared_ptr<void> keep);

// All variables that have a value, as pyflow/train/saver.py writes them; all or none. Throw Error.
void save_checkpoint(State& state, const std::string& path);
void load_checkpoint(State& state, const std::string& path);

}  // namespace pf

#endif
