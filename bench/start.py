"""From a model's file to the first result, beside ONNX Runtime: cold, and with the plan kept in a folder.

    python bench/start.py [model ...] [--threads N] [--rounds N]

Every start has a process of its own, which has imported the contender; they take turns. Medians of wall and CPU time
from there to the first result, and memory beyond a process that has done the imports: resident, and what of it is its
own (what is mapped from a file is shared with other processes). Models lie in PYFLOW_BENCH_MODELS, as for peers.py.
Needs the extra [bench], and pyflow installed (`pip install .`) as its users have it: from its sources it looks at each
of its files before it trusts a kept plan, which is half of the time that a small model takes. A cold start is Python
for the most part: an interpreter built without profile-guided optimisation (distributions' have it, pyenv's do not
unless asked for) makes pyflow's up to a third longer, and ONNX Runtime's no longer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers import FOLDER, prepared
from rich.console import Console
from rich.table import Table
from turns import REST, commit, machine

CONTENDERS = ("onnxruntime", "pyflow", "pyflow, kept")
MODELS = ("resnet50", "mobilenetv2", "bert-base")
COLUMNS = ("wall", "cpu", "resident", "own")


def memory() -> tuple[float, float]:
    """(resident, of it this process's own) MiB."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(rows["Rss"].split()[0]) / 1024, int(rows["Anonymous"].split()[0]) / 1024


def start(contender: str, name: str, threads: int, folder: str) -> dict[str, float]:
    """One start, in this process."""
    path = FOLDER / f"{name}.onnx"
    with np.load(FOLDER / f"{name}.npz") as file:
        feeds = {key: file[key] for key in file.files if key != "expected"}
        expected = file["expected"]
    if contender == "onnxruntime":
        import onnxruntime
    else:
        import pyflow as pf
        import pyflow.onnx
        import pyflow.onnx.loader
    before = memory()
    wall, cpu = time.perf_counter(), time.process_time()
    if contender == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    else:
        kept = folder if contender != "pyflow" else ""
        session = pf.Session(pf.onnx.load(path, cache_dir=kept), pf.SessionConfig(threads=threads, cache_dir=kept))
    (result,) = session.run(None, feeds)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    after = memory()
    assert np.abs(result - expected).max() <= 1e-2 * np.abs(expected).max()
    return {**seconds, "resident": after[0] - before[0], "own": after[1] - before[1]}


def apart(contender: str, name: str, threads: int, folder: str) -> dict[str, float]:
    """One start, in a process of its own."""
    command = [sys.executable, __file__, "--start", contender, name, str(threads), folder]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    time.sleep(REST)
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        contender, name, threads, folder = given.start
        print(json.dumps(start(contender, name, int(threads), folder)))
        return
    print(f"{machine()}, commit {commit()}")
    table = Table(title=f"{given.threads} threads; ms and MiB, ÷ ONNX Runtime's", title_justify="left")
    table.add_column("", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            prepared(name)
            apart("pyflow, kept", name, given.threads, folder)
            seen: dict[str, list[dict[str, float]]] = {each: [] for each in CONTENDERS}
            for _ in range(given.rounds):
                for each in CONTENDERS:
                    seen[each].append(apart(each, name, given.threads, folder))
            base = {column: statistics.median(row[column] for row in seen["onnxruntime"]) for column in COLUMNS}
            for each in CONTENDERS:
                cells = []
                for column in COLUMNS:
                    value = statistics.median(row[column] for row in seen[each])
                    scale = 1e3 if column in ("wall", "cpu") else 1
                    cells.append(f"{value * scale:.0f} ({value / base[column]:.2f})")
                table.add_row(f"{name}: {each}", *cells)
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


if __name__ == "__main__":
    main()
