"""Eager calls beside PyTorch's and NumPy's, one thread, each contender in a process of its own, taking turns:
microseconds of CPU time per call, the median of the rounds, and pyflow's part of PyTorch's.

    python bench/eager.py [--rounds N] [contender ...]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from turns import Contender, interleaved, serve

CONTENDERS = ("pyflow", "torch", "numpy")
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYFLOW_THREADS")}
LAYERS = (784, 128, 10)
BATCH = 32


def chain(x: Any) -> Any:
    for _ in range(50):
        x = x * 1.001 + 0.5
    return x


def indexed(x: Any) -> Any:
    total = x[0, 0]
    for i in range(20):
        total = total + x[i, i]
    return total


def pyflow_tasks() -> Mapping[str, Callable[[], Any]]:
    import pyflow as pf

    rng = np.random.default_rng(0)
    adds = {n: pf.tensor(np.ones(n, np.float32)) for n in (10, 1000, 1_000_000)}
    square = pf.tensor(rng.standard_normal((20, 20)), "float64")
    weights = [
        pf.tensor(rng.standard_normal(shape).astype(np.float32) * 0.05, requires_grad=True)
        for shape in ((LAYERS[0], LAYERS[1]), (LAYERS[1],), (LAYERS[1], LAYERS[2]), (LAYERS[2],))
    ]
    images = pf.tensor(rng.standard_normal((BATCH, LAYERS[0])).astype(np.float32))
    labels = pf.tensor(rng.integers(0, 10, BATCH))

    def step() -> None:
        w1, b1, w2, b2 = weights
        loss = pf.cross_entropy(pf.relu(images @ w1 + b1) @ w2 + b2, labels)
        loss.backward()
        with pf.no_grad():
            for weight in weights:
                weight -= weight.grad * 0.01
                weight.grad = None

    @pf.function
    def traced(images: Any, labels: Any) -> Any:
        w1, b1, w2, b2 = weights
        with pf.GradientTape() as tape:
            loss = pf.cross_entropy(pf.relu(images @ w1 + b1) @ w2 + b2, labels)
        slopes = tape.gradient(loss, weights)
        with pf.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight.copy_(weight - slope * 0.01)
        return loss

    start = pf.tensor(1.0)
    return {
        **{f"add {n}": (lambda x=x: x + x) for n, x in adds.items()},
        "chain of 100 scalars": lambda: chain(start),
        "mlp step": step,
        "mlp step, pf.function": lambda: traced(images, labels),
        "indexing loop": lambda: indexed(square),
    }


def torch_tasks() -> Mapping[str, Callable[[], Any]]:
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    adds = {n: torch.ones(n) for n in (10, 1000, 1_000_000)}
    square = torch.tensor(rng.standard_normal((20, 20)))
    weights = [
        (torch.tensor(rng.standard_normal(shape).astype(np.float32)) * 0.05).requires_grad_()
        for shape in ((LAYERS[0], LAYERS[1]), (LAYERS[1],), (LAYERS[1], LAYERS[2]), (LAYERS[2],))
    ]
    images = torch.tensor(rng.standard_normal((BATCH, LAYERS[0])).astype(np.float32))
    labels = torch.tensor(rng.integers(0, 10, BATCH))

    def step() -> None:
        w1, b1, w2, b2 = weights
        hidden = torch.relu(images @ w1 + b1) @ w2 + b2
        torch.nn.functional.cross_entropy(hidden, labels).backward()
        with torch.no_grad():
            for weight in weights:
                weight -= weight.grad * 0.01
                weight.grad = None

    start = torch.tensor(1.0)
    return {
        **{f"add {n}": (lambda x=x: x + x) for n, x in adds.items()},
        "chain of 100 scalars": lambda: chain(start),
        "mlp step": step,
        "indexing loop": lambda: indexed(square),
    }


def numpy_tasks() -> Mapping[str, Callable[[], Any]]:
    adds = {n: np.ones(n, np.float32) for n in (10, 1000, 1_000_000)}
    square = np.random.default_rng(0).standard_normal((20, 20))
    start = np.array(1.0, np.float32)
    return {
        **{f"add {n}": (lambda x=x: x + x) for n, x in adds.items()},
        "chain of 100 scalars": lambda: chain(start),
        "indexing loop": lambda: indexed(square),
    }


def microseconds(task: Callable[[], Any], least: float = 0.02) -> float:
    """CPU time of this thread per call, the mean of as many as fill ``least`` seconds; the first three do not count."""
    for _ in range(3):
        task()
    started = time.thread_time()
    task()
    turns = max(1, int(least / max(time.thread_time() - started, 1e-7)))
    started = time.thread_time()
    for _ in range(turns):
        task()
    return (time.thread_time() - started) / turns * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contenders", nargs="*", default=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        tasks = {"pyflow": pyflow_tasks, "torch": torch_tasks, "numpy": numpy_tasks}[given.one]()
        serve(list(tasks), lambda name: microseconds(tasks[name]))
        return
    contenders = {name: Contender([__file__, "--one", name], ONE_THREAD) for name in given.contenders}
    print(f"{'us per call':<22}" + "".join(f"{name:>12}" for name in contenders) + f"{'of torch':>12}")
    torch_of: dict[str, float] = {}
    for task in dict.fromkeys(task for contender in contenders.values() for task in contender.about):
        having = {name: each for name, each in contenders.items() if task in each.about}
        times = interleaved(having, given.rounds, task)
        medians = {name: statistics.median(each) for name, each in times.items()}
        torch_of |= {task: medians["torch"]} if "torch" in medians else {}
        eager = torch_of.get(task.partition(",")[0])  # pf.function is compared with the eager step
        shown = "".join(f"{medians[name]:12.2f}" if name in medians else f"{'':>12}" for name in contenders)
        ratio = f"{medians['pyflow'] / eager:12.2f}" if eager and "pyflow" in medians else ""
        print(f"{task:<22}{shown}{ratio}", flush=True)
    for contender in contenders.values():
        contender.close()


if __name__ == "__main__":
    main()
