"""Damaged and hostile model files: each gives one of pyflow's errors, or runs, in bounded time and memory.

Each attempt runs in a process that is watched: one that crashes, hangs or takes too much memory is told with the number
of its model, which ``onnx_damage.damaged`` makes again. ``PYFLOW_FUZZ=20`` tries twenty times as many.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pyflow as pf

pytest.importorskip("onnx")

CASES = 3000 * int(os.environ.get("PYFLOW_FUZZ", "1"))
WORKERS = min(2, os.cpu_count() or 1)
SLOWEST = 40.0 if "asan" in os.environ.get("LD_PRELOAD", "") else 10.0
"""Seconds of the processor that one model may take."""
HANGS = 60.0
ATTEMPTS = Path(__file__).with_name("onnx_attempts.py")


class Attempts:
    """The process that tries the models ``first``, ``first + step`` ..., and its lines."""

    def __init__(self, folder: Path, first: int, last: int, step: int) -> None:
        package = str(Path(pf.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, str(ATTEMPTS.parent)])}
        environment.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        words = [
            sys.executable,
            str(ATTEMPTS),
            str(folder),
            str(folder.parent / "seeds"),
            *map(str, (first, last, step)),
        ]
        self.process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.errors = ""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors = (self.errors + line)[-2000:]

    def next(self) -> dict[str, Any] | None:
        """The next line; None at the end. Raises queue.Empty if there is none for a while."""
        line = self.lines.get(timeout=HANGS)
        return None if line is None else json.loads(line)


def try_all(folder: Path, first: int, last: int, step: int) -> list[tuple[str, str]]:
    """(label, result) of every model; a process that ends early is followed by another."""
    results: list[tuple[str, str]] = []
    while first < last:
        attempts = Attempts(folder, first, last, step)
        current: dict[str, Any] | None = None
        trouble = ""
        try:
            while (told := attempts.next()) is not None:
                current = told
                if "result" in told:
                    slow = told["seconds"] > SLOWEST
                    results.append((told["label"], f"wrong: took {told['seconds']:.1f} s" if slow else told["result"]))
        except queue.Empty:
            trouble = f"wrong: hung for {HANGS} s"
            attempts.process.kill()
        code = attempts.process.wait()
        if not trouble and code == 0:
            break
        assert current is not None, f"the process ended with {code} before its first model\n{attempts.errors}"
        if "result" not in current:
            results.append((current["label"], trouble or f"wrong: ended with {code}\n{attempts.errors}"))
        first = current["number"] + step
    return results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the models: with the file that one of them names, and a link out of it."""
    import onnx_seeds

    inside = tmp_path / "inside"
    inside.mkdir()
    onnx_seeds.write_beside(str(inside))
    onnx_seeds.write_beside(str(tmp_path))
    (inside / "link").symlink_to(tmp_path / "weights.bin")
    return inside


def test_sound_models_run(folder):
    import onnx_attempts
    import onnx_seeds

    failed = {
        name: result
        for name, model in onnx_seeds.all_seeds().items()
        if (result := onnx_attempts.attempt(model.SerializeToString(), str(folder))) != "ran"
    }
    assert not failed


def test_damaged_models_give_errors(folder):
    import onnx_seeds

    seeds = folder.parent / "seeds"
    seeds.mkdir()
    onnx_seeds.write_standard(seeds)
    with ThreadPoolExecutor(WORKERS) as pool:
        parts = pool.map(lambda first: try_all(folder, first, CASES, WORKERS), range(WORKERS))
    results = [result for part in parts for result in part]
    assert len(results) == CASES
    wrong = [f"{label}\n    {result}" for label, result in results if result.startswith("wrong")]
    assert not wrong, f"{len(wrong)} of {CASES}\n" + "\n".join(wrong[:20])
    counts = Counter(result.partition(":")[0] for _, result in results)
    assert counts["refused"] > CASES // 4, counts
    assert counts["ran"] > CASES // 20, counts
