"""Processes that take turns: each contender in one of its own, asked by the parent, with a rest between, because thread
pools spin after a run and would steal a core from whoever is timed next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

REST = 0.05
"""Seconds between turns; ONNX Runtime's pool spins for about 0.016."""


class Contender:
    """A process that runs ``command``, which calls :func:`serve`. about: what it said of itself when it was ready."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.about = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("turn:"):
                return json.loads(line[5:])
        raise RuntimeError(f"{' '.join(self._process.args)} ended with exit code {self._process.wait()}")  # type: ignore[arg-type]

    def turn(self, name: str = "") -> Any:
        """What the process answers when it is asked for ``name``."""
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(about: Any, answer: Callable[[str], Any]) -> None:
    """The process's side: says ``about``, then answers each turn until the parent closes."""
    print("turn:" + json.dumps(about), flush=True)
    for line in sys.stdin:
        print("turn:" + json.dumps(answer(line.strip())), flush=True)


def seconds_per_call(call: Callable[[], Any], least: float = 0.04) -> float:
    """The mean of as many calls as fill ``least`` seconds; the first two are not counted."""
    call()
    begin = time.perf_counter()
    call()
    count = max(1, int(least / max(time.perf_counter() - begin, 1e-7)))
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


def interleaved(contenders: Mapping[str, Contender], rounds: int, name: str = "") -> dict[str, list[float]]:
    """``rounds`` turns of each, one after the other."""
    times: dict[str, list[float]] = {each: [] for each in contenders}
    for _ in range(rounds):
        for each, contender in contenders.items():
            times[each].append(contender.turn(name))
            time.sleep(REST)
    return times


def commit() -> str:
    """The commit that is measured, with a plus if the tree has changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False, cwd=sys.path[0]
    )
    return described.stdout.strip() or "unknown"


def machine() -> str:
    """The processor's name and the cores that may be used."""
    name = "unknown"
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
