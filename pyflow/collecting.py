"""When Python looks for cyclic garbage: not while a graph is built or compiled, which makes many objects that stay, so
that each search would walk all that a process has."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0


@contextmanager
def collected_after() -> Iterator[None]:
    """No search inside, on any thread; Python makes up for it when the last that is inside leaves, if much was made.

    Nothing happens where the process does not collect.
    """
    global _inside
    with _lock:
        ours = _inside > 0 or gc.isenabled()
        if ours:
            _inside += 1
            gc.disable()
    try:
        yield
    finally:
        if ours:
            with _lock:
                _inside -= 1
                if not _inside:
                    gc.enable()
