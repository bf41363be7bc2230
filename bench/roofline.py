"""Where each kernel family stands under this machine's roofline: operations over the measured peak of multiply-adds, or
bytes over the measured bandwidth, whichever is more.

    python bench/roofline.py [family ...] [--threads 1 2] [--rounds N] [--plot FILE]

Bytes are those that must move: operands and results once. What stays in a cache between runs can be above the roof that
memory sets: families whose data fits are marked with the copy bandwidth of that size.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import peak
from rich.console import Console
from rich.table import Table
from turns import commit, machine, seconds_per_call

import pyflow as pf

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Family:
    """build: the op on values. shapes: of its operands; those from ``constant`` on are constants, packed beforehand.
    flops: of one run."""

    build: Callable[..., pf.Value]
    shapes: list[tuple[int, ...]]
    flops: float = 0.0
    constant: int = 99
    integers: bool = False


def _conv(size: int, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Family:
    flops = 2 * (size // stride) ** 2 * outputs * inputs // groups * kernel**2
    return Family(
        lambda x, w: pf.conv2d(x, w, stride=stride, padding=kernel // 2, groups=groups),
        [(1, inputs, size, size), (outputs, inputs // groups, kernel, kernel)],
        flops,
        constant=1,
    )


def _matmul(m: int, k: int, n: int, constant: bool = True) -> Family:
    return Family(pf.matmul, [(m, k), (k, n)], 2.0 * m * k * n, constant=1 if constant else 99)


FAMILIES: dict[str, Family] = {
    "matmul 1024 x 1024 x 1024": _matmul(1024, 1024, 1024, constant=False),
    "matmul 128 x 768 x 3072, packed": _matmul(128, 768, 3072),
    "matmul 128 x 3072 x 768, packed": _matmul(128, 3072, 768),
    "matmul 197 x 192 x 768, packed": _matmul(197, 192, 768),
    "matmul 1 x 1024 x 1024, packed": _matmul(1, 1024, 1024),
    "matmul 4 x 1024 x 1024, packed": _matmul(4, 1024, 1024),
    "matmul 12 x (128 x 64 x 128)": Family(pf.matmul, [(12, 128, 64), (12, 64, 128)], 2.0 * 12 * 128 * 64 * 128),
    "conv 3x3, 56, 64 -> 64": _conv(56, 64, 64, 3),
    "conv 3x3, 28, 128 -> 128": _conv(28, 128, 128, 3),
    "conv 3x3, 14, 256 -> 256": _conv(14, 256, 256, 3),
    "conv 3x3, 7, 512 -> 512": _conv(7, 512, 512, 3),
    "conv 3x3 by 2, 56, 64 -> 128": _conv(56, 64, 128, 3, stride=2),
    "conv 1x1, 56, 64 -> 256": _conv(56, 64, 256, 1),
    "conv 1x1, 14, 1024 -> 256": _conv(14, 1024, 256, 1),
    "conv 7x7 by 2, 224, 3 -> 64": _conv(224, 3, 64, 7, stride=2),
    "depthwise 3x3, 112, 96": _conv(112, 96, 96, 3, groups=96),
    "depthwise 3x3, 14, 576": _conv(14, 576, 576, 3, groups=576),
    "max pool 3x3 by 2, 112, 64": Family(lambda x: pf.max_pool2d(x, 3, stride=2, padding=1), [(1, 64, 112, 112)]),
    "add, 4 M": Family(pf.add, [(2048, 2048), (2048, 2048)]),
    "add, 64 k": Family(pf.add, [(256, 256), (256, 256)]),
    "exp, 1 M": Family(pf.exp, [(1024, 1024)]),
    "tanh, 1 M": Family(pf.tanh, [(1024, 1024)]),
    "gelu, 1 M": Family(pf.gelu, [(1024, 1024)]),
    "softmax rows, 512 x 768": Family(lambda x: pf.softmax(x, axis=-1), [(512, 768)]),
    "softmax columns, 512 x 768": Family(lambda x: pf.softmax(x, axis=0), [(512, 768)]),
    "layer norm, 512 x 768": Family(lambda x, a, b: pf.layer_norm(x, a, b, axis=-1), [(512, 768), (768,), (768,)]),
    "sum of rows, 2048 x 2048": Family(lambda x: pf.sum(x, axis=1), [(2048, 2048)]),
    "sum of columns, 2048 x 2048": Family(lambda x: pf.sum(x, axis=0), [(2048, 2048)]),
    "transpose, 2048 x 2048": Family(pf.transpose, [(2048, 2048)]),
    "transpose 0 2 1 3, 8 x 128 x 12 x 64": Family(lambda x: pf.transpose(x, (0, 2, 1, 3)), [(8, 128, 12, 64)]),
    "gather 512 rows of 768": Family(
        lambda x: pf.gather(x, pf.constant(np.arange(0, 5120, 10))), [(5120, 768)], integers=True
    ),
    "concat of 4 x 1 M": Family(lambda *xs: pf.concat(xs, axis=1), [(1024, 1024)] * 4),
}


@dataclass(frozen=True)
class Point:
    name: str
    threads: int
    seconds: float
    flops: float
    bytes: float
    floor: float
    """Seconds that the roof allows."""
    bound: str


def measured(name: str, threads: int, rounds: int, flops: float, bandwidth: Callable[[float], float]) -> Point:
    family = FAMILIES[name]
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in family.shapes]
    graph = pf.Graph()
    with graph.as_default():
        feeds = [pf.placeholder(pf.float32, array.shape) for array in arrays[: family.constant]]
        result = family.build(*feeds, *(pf.constant(array) for array in arrays[family.constant :]))
    given: Arrays = arrays[: family.constant]
    with pf.Session(graph, pf.SessionConfig(threads=threads)) as session:
        call = session.make_callable(result, feeds)
        out = np.asarray(call(*given))
        times = [seconds_per_call(lambda: call(*given)) for _ in range(rounds)]
    read = out.nbytes if family.integers else sum(array.nbytes for array in arrays)
    moved = float(read + out.nbytes)
    floors = {"flops": family.flops / flops, "bytes": moved / bandwidth(moved)}
    bound = max(floors, key=floors.__getitem__)
    return Point(name, threads, statistics.median(times), family.flops, moved, floors[bound], bound)


def show(points: list[Point], peaks: dict[int, tuple[float, float]]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 110
    for threads, (flops, bandwidth) in peaks.items():
        title = f"{threads} threads; peak {flops / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s from memory"
        table = Table(title=title, title_justify="left")
        table.add_column("family", no_wrap=True)
        for column in ("us", "GFLOP/s", "GB/s", "bound by", "of the roof"):
            table.add_column(column, justify="right")
        for point in points:
            if point.threads == threads:
                table.add_row(
                    point.name,
                    f"{point.seconds * 1e6:.1f}",
                    f"{point.flops / point.seconds / 1e9:.1f}" if point.flops else "",
                    f"{point.bytes / point.seconds / 1e9:.1f}",
                    point.bound,
                    f"{point.floor / point.seconds:.0%}",
                )
        console.print(table)


def plot(points: list[Point], peaks: dict[int, tuple[float, float]], path: str) -> None:
    """The roofline of each number of threads with a point per family."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, all_axes = plt.subplots(1, len(peaks), figsize=(7 * len(peaks), 5.5), layout="constrained", squeeze=False)
    for axes, (threads, (flops, bandwidth)) in zip(all_axes[0], peaks.items(), strict=True):
        mine = [point for point in points if point.threads == threads and point.flops]
        xs = np.geomspace(0.05, 1000, 100)
        axes.loglog(xs, np.minimum(flops, xs * bandwidth) / 1e9, color="black", linewidth=1.5)
        for point in mine:
            place = (point.flops / point.bytes, point.flops / point.seconds / 1e9)
            axes.plot(*place, "o", color="#2a7f62", markersize=5)
            axes.annotate(point.name, place, fontsize=6, xytext=(4, -6), textcoords="offset points")
        axes.set_xlabel("operations per byte")
        axes.set_ylabel("GFLOP/s")
        axes.set_title(f"{threads} threads: {flops / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s", fontsize=9)
        axes.grid(True, which="both", alpha=0.2)
    figure.suptitle(f"{machine()}, commit {commit()}", fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="parts of names; default: all")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plot", metavar="FILE")
    given = parser.parse_args()
    peaks: dict[int, tuple[float, float]] = {}
    points = []
    for threads in given.threads:
        flops, bandwidth = peaks[threads] = (peak.flops(threads), peak.bandwidth(threads))
        cached: dict[int, float] = {}

        def of_size(
            moved: float, threads: int = threads, bandwidth: float = bandwidth, cached: dict[int, float] = cached
        ) -> float:
            """The bandwidth of a copy of about as many bytes, from where they lie."""
            floats = 2 ** math.ceil(math.log2(max(moved / 8 / threads, 1024)))
            if floats >= peak.LARGE:
                return bandwidth
            if floats not in cached:
                cached[floats] = max(bandwidth, peak.bandwidth(threads, floats))
            return cached[floats]

        for name in FAMILIES:
            if not given.families or any(part in name for part in given.families):
                points.append(measured(name, threads, given.rounds, flops, of_size))
    print(f"{machine()}, commit {commit()}")
    show(points, peaks)
    if given.plot:
        plot(points, peaks, given.plot)


if __name__ == "__main__":
    main()
