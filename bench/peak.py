"""The machine's peak of float32 multiply-adds and of copied bytes, measured by ``peak.c``."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

LARGE = 16 * 2**20
"""Floats of an array that no cache holds."""


@functools.cache
def _library() -> ctypes.CDLL:
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "peak.so")
    source = Path(__file__).with_name("peak.c")
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-tree-loop-distribute-patterns", "-shared", "-fPIC"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, str(source), "-o", path], check=True)
    library = ctypes.CDLL(path)
    library.multiply_adds.restype = library.copy.restype = ctypes.c_double
    return library


def _together(measure: Callable[[], float], threads: int, rounds: int = 7) -> float:
    """The best of some rounds of the sum over threads that measure at once."""
    best = 0.0
    for _ in range(rounds):
        results = [0.0] * threads

        def one(index: int, results: list[float] = results) -> None:
            results[index] = measure()

        workers = [threading.Thread(target=one, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, sum(results))
    return best


def flops(threads: int) -> float:
    """Float32 operations per second, a multiply-add counted as two."""
    sink = ctypes.c_float()
    return _together(lambda: _library().multiply_adds(ctypes.c_int64(2_000_000), ctypes.byref(sink)), threads)


def bandwidth(threads: int, floats: int = LARGE) -> float:
    """Bytes read plus bytes written per second of a copy of ``floats`` elements by each thread."""
    turns = max(1, LARGE // floats)

    def measure() -> float:
        source, target = np.ones(floats, np.float32), np.ones(floats, np.float32)
        pointer = ctypes.c_void_p
        return _library().copy(
            ctypes.c_int64(floats), ctypes.c_int64(turns), pointer(source.ctypes.data), pointer(target.ctypes.data)
        )

    return _together(measure, threads)


if __name__ == "__main__":
    for count in (1, 2):
        print(f"{count} threads: {flops(count) / 1e9:.1f} GFLOP/s, {bandwidth(count) / 1e9:.1f} GB/s copied")
