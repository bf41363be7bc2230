// Ctrl-C during a run that has let go of the GIL.
#ifndef PYFLOW_PYTHON_INTERRUPT_H
#define PYFLOW_PYTHON_INTERRUPT_H

#include <cstdint>

namespace pf {

// While it lives, a SIGINT also sets `*cancel`, so that the run stops between steps; Python's own handler is called as
// ever. Does nothing on threads other than the main one, to which Python delivers signals, nor where Python has no
// handler. Needs no thread.
class InterruptScope {
 public:
  explicit InterruptScope(volatile int32_t* cancel);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Did a signal come?
  bool fired() const;

 private:
  bool installed_ = false;
  volatile int32_t* outer_ = nullptr;
  uint32_t before_ = 0;
};

// Remembers the calling thread as the main one; called at import with its identity.
void set_main_thread(unsigned long identity);

}  // namespace pf

#endif
