// A model over one State: where its variables are, and the PREPARED buffers with what they were prepared from.
#ifndef PYFLOW_CORE_INSTANCE_H
#define PYFLOW_CORE_INSTANCE_H

#include <memory>
#include <mutex>
#include <vector>

#include "core/model.h"

namespace pf {

class Instance {
 public:
  // Declares the plan's variables in `state`. Throws Error if they are there with other types.
  Instance(std::shared_ptr<const Model> model, std::shared_ptr<State> state);

  const Model& model() const { return *model_; }
  State& state() const { return *state_; }
  Variable& variable(uint32_t buffer) const { return *variables_[buffer]; }
  // Addresses of constants, variables and prepared buffers; nullptr for the rest.
  const std::vector<void*>& buffers() const { return buffers_; }

  // The next two need the State's lock. Would `prepare` run steps?
  bool is_stale(uint32_t entry) const;
  // Checks that what the entry reads has a value and computes the prepared values whose sources were written. Must not
  // be called with a lock that a step may need. Throws Error.
  void prepare(uint32_t entry, const Request& request);

 private:
  struct Made {
    bool done = false;
    std::vector<uint64_t> writes;  // of the sources, when it was made
  };

  bool is_current(const Prepare& prepare) const;
  void require(uint32_t buffer) const;

  std::shared_ptr<const Model> model_;
  std::shared_ptr<State> state_;
  std::vector<std::shared_ptr<Variable>> variables_;
  std::vector<Memory> prepared_;
  std::vector<void*> buffers_;
  std::mutex mutex_;
  std::vector<Made> made_;                     // by body
  std::vector<std::atomic<uint64_t>> epochs_;  // by entry: the State's epoch at which all was well
};

}  // namespace pf

#endif
