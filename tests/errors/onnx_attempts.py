"""Loads and runs damaged models, in a process of its own whose memory is limited; a line of JSON for each.

python onnx_attempts.py FOLDER SEEDS FIRST LAST STEP
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import onnx_damage
import onnx_seeds

import pyflow as pf
import pyflow.onnx
from pyflow.runtime.verify import random_feeds

MEMORY = 2 << 30
"""Bytes that an attempt may take beside what the process has when it starts."""
TIMEOUT = 0.5
"""Seconds that a run may take."""
LARGEST = 1 << 20
"""Inputs of more elements are not made; the model is then compiled only."""


def limit_memory() -> None:
    sanitized = "asan" in os.environ.get("LD_PRELOAD", "")  # which keeps what is freed, for a while
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    size = pages * resource.getpagesize() + MEMORY * (2 if sanitized else 1)
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def attempt(data: bytes, folder: str) -> str:
    """``ran``, ``compiled``, or ``refused``, ``failed`` or ``wrong`` and an error; wrong: not one of pyflow's."""
    stage = "refused"
    try:
        graph = pyflow.onnx.load(data, folder=folder)
        stage = "failed"
        with pf.Session(graph, pf.SessionConfig(threads=1)) as session:
            if not graph.outputs:
                return "ran"
            counts = [math.prod(size for size in value.dims if isinstance(size, int)) for value in graph.inputs]
            if any(count > LARGEST for count in counts):
                session.explain()
                return "compiled"
            feeds = random_feeds(graph, {})
            for array in feeds.values():
                assert isinstance(array, np.ndarray)
            session.run(None, feeds, pf.RunOptions(timeout=TIMEOUT))
        return "ran"
    except pf.errors.InternalError as error:
        return f"wrong: {error}"
    except pf.errors.PyflowError as error:
        return f"{stage}: {error}" if str(error) else "wrong: an error without a message"
    except Exception:
        lines = traceback.format_exc().strip().split("\n")
        return "wrong: " + "\n".join([*lines[-12:]])


def main(folder: str, seeds_folder: str, first: int, last: int, step: int) -> None:
    seeds = onnx_seeds.read_all(Path(seeds_folder))
    for name in onnx_seeds.names():
        attempt(seeds[name], folder)
    limit_memory()
    for number in range(first, last, step):
        label, data = onnx_damage.damaged(seeds, number)
        print(json.dumps({"number": number, "label": label}), flush=True)
        begin = time.process_time()
        result = attempt(data, folder)
        took = time.process_time() - begin
        print(json.dumps({"number": number, "label": label, "result": result, "seconds": took}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:6]))
