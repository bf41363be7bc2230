"""What a session and a run can be told."""

from __future__ import annotations

import ctypes
import numbers
import os
from dataclasses import dataclass

from pyflow.errors import InvalidArgumentError, message, user_origin


@dataclass(frozen=True)
class SessionConfig:
    """How a session compiles and runs.

    threads: how many; 0 takes PYFLOW_THREADS, else affinity mask and cgroup quota. 1 makes no thread.
    device: the backend that ops are placed on.
    allow_fallback: ops without a kernel there may go to the cpu backend; otherwise they are an error.
    numerics: ``"default"``, or ``"strict"``: the bits of the same ops run one by one.
    weight_growth: how many times as much memory as the weights of a graph take they may take for the sake of speed:
        Winograd's transforms of 3 x 3 weights are 16/9 or 36/9 times as large. Where the bound is met, the layers that
        save most per byte are transformed, and the others computed directly; ``explain()`` says so. 4 bounds nothing,
        1 leaves Winograd out.
    auto_init: run initializers of variables that a run needs and that have no value.
    seed: of ops without a seed; None takes the graph's, else the operating system's.
    check_numerics: ``"first"`` stops at the first step that gives NaN or inf and names it.
    plan_cache: how many compiled fetch/feed combinations are kept.
    cache_dir: a folder in which compiled plans are kept, and looked up before anything is compiled; made if it is not
        there. None takes PYFLOW_CACHE_DIR; "" keeps none. See docs/plan_cache.md.
    executor: address of a host's ``pf_executor``: its threads are used instead of ours.
    """

    threads: int = 0
    device: str = "cpu"
    allow_fallback: bool = False
    numerics: str = "default"
    weight_growth: float = 4.0
    auto_init: bool = False
    seed: int | None = None
    check_numerics: str = ""
    plan_cache: int = 64
    executor: int = 0
    cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("numerics", ("default", "strict")), ("check_numerics", ("", "first"))):
            if getattr(self, name) not in allowed:
                raise InvalidArgumentError(
                    message(
                        "SessionConfig",
                        f"{name}: expected one of {allowed}, got {getattr(self, name)!r}",
                        user_origin(),
                    )
                )
        if not (isinstance(self.weight_growth, numbers.Real) and self.weight_growth >= 1):
            what = f"expected weight_growth >= 1, got {self.weight_growth!r}"
            raise InvalidArgumentError(message("SessionConfig", what, user_origin()))
        if self.threads < 0 or self.plan_cache < 1:
            raise InvalidArgumentError(
                message(
                    "SessionConfig",
                    f"expected threads >= 0, plan_cache >= 1, got {self.threads}, {self.plan_cache}",
                    user_origin(),
                )
            )


class CancelToken:
    """``token.cancel()``, from any thread, stops the runs that were given it; variables stay as they were."""

    def __init__(self) -> None:
        self.flag = ctypes.c_int32(0)

    @property
    def address(self) -> int:
        """Of the flag, for the native code that polls it."""
        return ctypes.addressof(self.flag)

    def cancel(self) -> None:
        self.flag.value = 1

    @property
    def cancelled(self) -> bool:
        return bool(self.flag.value)


@dataclass(frozen=True)
class RunOptions:
    """timeout: seconds. cancel: a token. trace: record every step; the timeline is ``session.last_trace``."""

    timeout: float | None = None
    cancel: CancelToken | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        if self.timeout is not None and not (isinstance(self.timeout, numbers.Real) and self.timeout > 0):
            raise InvalidArgumentError(
                message("RunOptions", f"expected a timeout > 0, in seconds, got {self.timeout!r}", user_origin())
            )


@dataclass
class SessionStats:
    """Counters of a session."""

    compiles: int = 0
    runs: int = 0
    evictions: int = 0
    cache_hits: int = 0
    """Plans that were found in ``cache_dir``; they are not among ``compiles``."""
