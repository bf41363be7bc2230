"""Libraries made ahead of time: bytes of code, time from the process's start to the first result, latency.

    python bench/aot.py            # the table
    python bench/aot.py --json

Code is what the shared library holds without weights, all ISAs in it. The first result is the median of fresh
processes; latency the best of rounds in turns with a session's ``make_callable`` on one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pyflow as pf
from pyflow.demo.model import build_digits

HOST = """
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <sys/mman.h>
#include "{name}.h"
int main(int argc, char** argv) {{
  const int calls = argc > 1 ? std::atoi(argv[1]) : 1;
  {name}_status status;
  {name}_state* state;
  const size_t bytes = {name}_state_bytes(), arena_bytes = {name}_predict_arena_bytes({batch}, 1);
  void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  const size_t huge = size_t{{2}} << 20;  // of which a session's arena is made too
  void* arena = std::aligned_alloc(arena_bytes < huge ? 64 : huge, (arena_bytes + huge - 1) / huge * huge);
  if (arena_bytes >= huge) madvise(arena, arena_bytes, MADV_HUGEPAGE);
  std::vector<float> x({batch} * {inputs}, 0.5f), y({batch} * {outputs});
  if ({name}_state_init(memory, bytes, nullptr, 0, &state, &status)) return std::puts(status.message);
  double best = 1e30;
  for (int round = 0; round < 5; ++round) {{
    const auto start = std::chrono::steady_clock::now();
    for (int call = 0; call < calls; ++call)
      if ({name}_predict(state, arena, arena_bytes, {batch}, x.data(), y.data(), nullptr, &status))
        return std::puts(status.message);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    if (took.count() / calls < best) best = took.count() / calls;
    if (calls == 1) break;
  }}
  std::printf("%g\\n", best);
}}
"""


def mlp() -> tuple[pf.Session, Any, Any, tuple[int, int]]:
    graph = pf.Graph()
    random = np.random.default_rng(0)
    with graph.as_default():
        x = value = pf.placeholder(pf.float32, ("batch", 16), name="x")
        for inputs, outputs in ((16, 32), (32, 32), (32, 4)):
            value = value @ pf.constant(random.standard_normal((inputs, outputs)).astype(np.float32))
            value = pf.relu(value + pf.constant(np.zeros(outputs, np.float32)))
    return pf.Session(graph, pf.SessionConfig(threads=1)), x, value, (16, 4)


def digits() -> tuple[pf.Session, Any, Any, tuple[int, int]]:
    model = build_digits()
    session = pf.Session(model.graph, pf.SessionConfig(threads=1))
    session.run(model.initialise)
    return session, model.images, model.logits, (64, 10)


MODELS: dict[str, Callable[[], tuple[pf.Session, Any, Any, tuple[int, int]]]] = {"mlp": mlp, "digits": digits}


def measure(name: str, batch: int, folder: Path) -> dict[str, Any]:
    session, x, y, (inputs, outputs) = MODELS[name]()
    made = pf.aot.compile(session, {"predict": ([x], [y])}, folder, name)
    weights = json.loads(made.manifest.read_text())["weights"]["bytes"]
    (folder / "host.cpp").write_text(HOST.format(name=name, batch=batch, inputs=inputs, outputs=outputs))
    subprocess.run(["c++", "-O2", "host.cpp", f"lib{name}.a", "-lm", "-o", "host"], cwd=folder, check=True)
    starts = []
    for _ in range(20):
        begin = time.perf_counter()
        subprocess.run([str(folder / "host")], check=True, capture_output=True)
        starts.append(time.perf_counter() - begin)
    array = np.full((batch, *x.dims[1:]), 0.5, np.float32)
    call = session.make_callable(y, [x])
    host, own = [], []
    for _ in range(7):  # in turns, as a machine is now quicker, now slower
        done = subprocess.run([str(folder / "host"), "300"], check=True, capture_output=True, text=True)
        host.append(float(done.stdout))
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(300):
                call(array)
            own.append((time.perf_counter() - begin) / 300 * 1e6)
    return {
        "model": name,
        "batch": batch,
        "code_bytes": (folder / f"lib{name}.so").stat().st_size - weights,
        "weight_bytes": weights,
        "first_result_ms": round(statistics.median(starts) * 1e3, 2),
        "latency_us": round(min(host), 2),
        "session_us": round(min(own), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    rows = []
    for name in MODELS:
        for batch in (1, 32):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(name, batch, Path(folder)))
    if as_json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}, indent=2))
        return
    for row in rows:
        print("   ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
