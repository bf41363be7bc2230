// The values of variables, by name. Runs that write take it alone; reads share it.
#ifndef PYFLOW_CORE_STATE_H
#define PYFLOW_CORE_STATE_H

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "core/arena.h"

namespace pf {

// dtype, dims and address never change once declared.
struct Variable {
  std::string name;
  int32_t dtype;
  std::vector<int64_t> dims;
  Memory memory;
  bool initialised = false;
  uint64_t writes = 0;

  size_t bytes() const;
};

class State {
 public:
  // Finds or makes a variable. `backend` (nullptr: the host) says whose memory. Throws Error if it is there with
  // another dtype or other dims.
  std::shared_ptr<Variable> declare(const std::string& name, int32_t dtype, std::span<const int64_t> dims,
                                    const pf_backend* backend = nullptr);
  std::shared_ptr<Variable> find(const std::string& name) const;
  std::vector<std::string> names() const;

  // The four below need the lock: set and wrote alone, get and the fields of a Variable shared.
  void set(Variable& variable, const void* data);
  void get(const Variable& variable, void* data) const;
  void wrote(Variable& variable);

  // Moves whenever any variable is written.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

 private:
  friend class StateLock;
  mutable std::mutex table_mutex_;
  std::map<std::string, std::shared_ptr<Variable>> table_;
  std::shared_mutex mutex_;
  std::atomic<uint64_t> epoch_{1};
};

// Holds a State for one run or one access. Never blocks in the constructor: whoever holds another lock (Python's) must
// let go of it before `wait`. A step of a run that reaches for the same State again is an Error, not a deadlock.
class StateLock {
 public:
  StateLock(State& state, bool writes);
  ~StateLock();
  StateLock(const StateLock&) = delete;
  StateLock& operator=(const StateLock&) = delete;

  bool owns() const { return owns_; }
  void wait();

 private:
  void held();

  State& state_;
  bool writes_;
  bool owns_ = false;
  StateLock* outer_ = nullptr;
};

}  // namespace pf

#endif
