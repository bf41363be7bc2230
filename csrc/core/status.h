// Errors of the core. Thrown inside, turned into codes at the C boundary and into exceptions in python/.
#ifndef PYFLOW_CORE_STATUS_H
#define PYFLOW_CORE_STATUS_H

#include <exception>
#include <string>
#include <utility>

#include "pyflow/backend.h"

namespace pf {

class Error : public std::exception {
 public:
  Error(pf_code code, std::string message, int64_t step = -1)
      : code_(code), step_(step), message_(std::move(message)) {}

  pf_code code() const { return code_; }
  // The step that failed, counted over all bodies of the plan; -1 if it is not about one step.
  int64_t step() const { return step_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  pf_code code_;
  int64_t step_;
  std::string message_;
};

// Parts joined to one message: text("got ", 3, " of ", name).
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::string result;
  auto append = [&result](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>) {
      result += std::to_string(part);
    } else {
      result += part;
    }
  };
  (append(parts), ...);
  return result;
}

}  // namespace pf

#endif
