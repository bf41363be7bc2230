#include "python/interrupt.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>

namespace pf {

namespace {

unsigned long main_thread = 0;
struct sigaction python_action;
// Lock-free, for the handler, which may run on any thread.
std::atomic<volatile int32_t*> target{nullptr};
std::atomic<uint32_t> signals{0};
static_assert(std::atomic<volatile int32_t*>::is_always_lock_free);

void on_interrupt(int number, siginfo_t* info, void* context) {
  signals.fetch_add(1);
  if (volatile int32_t* cancel = target) __atomic_store_n(cancel, 1, __ATOMIC_RELAXED);
  if (python_action.sa_flags & SA_SIGINFO) {
    python_action.sa_sigaction(number, info, context);
  } else {
    python_action.sa_handler(number);
  }
}

}  // namespace

void set_main_thread(unsigned long identity) {
  main_thread = identity;
}

InterruptScope::InterruptScope(volatile int32_t* cancel) {
  if (static_cast<unsigned long>(pthread_self()) != main_thread) return;
  before_ = signals;
  outer_ = target;
  if (outer_) {
    target = cancel;
    installed_ = true;
    return;
  }
  struct sigaction old;
  if (sigaction(SIGINT, nullptr, &old) != 0) return;
  const bool handled = (old.sa_flags & SA_SIGINFO) || (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN);
  if (!handled) return;
  python_action = old;
  target = cancel;
  struct sigaction ours = old;
  ours.sa_flags |= SA_SIGINFO;
  ours.sa_sigaction = on_interrupt;
  installed_ = sigaction(SIGINT, &ours, nullptr) == 0;
  if (!installed_) target = nullptr;
}

InterruptScope::~InterruptScope() {
  if (!installed_) return;
  target = outer_;
  if (!outer_) {
    // Whoever installed another handler meanwhile (signal.signal in a callback) keeps it.
    struct sigaction current;
    if (sigaction(SIGINT, nullptr, &current) == 0 && (current.sa_flags & SA_SIGINFO) &&
        current.sa_sigaction == on_interrupt) {
      sigaction(SIGINT, &python_action, nullptr);
    }
  }
}

bool InterruptScope::fired() const {
  return installed_ && signals != before_;
}

}  // namespace pf
