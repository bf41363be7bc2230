"""Errors of the float32 functions over all float32 numbers, beside the bounds of ``docs/numerics.md``.

    python bench/accuracy.py [function ...] [--every N] [--isa NAME]

Each function runs on the numbers whose bits are multiples of N (1: all of them, some minutes a function) and is
compared with float64. The table gives the largest error in units in the last place, where it is, and what is promised
there; it ends with status 1 if a promise is broken. Needs the extra [bench].
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import special

NUMBERS = 2**32
STRETCH = 2**22
BOUNDS = Path(__file__).parents[1] / "docs" / "numerics.md"

Function = Callable[[np.ndarray], np.ndarray]


def _logistic(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


EXACT: dict[str, Function] = {
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "erf": special.erf,
    "sigmoid": _logistic,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "exp2": np.exp2,
    "log2": np.log2,
    "log10": np.log10,
    "cbrt": np.cbrt,
    "erfc": special.erfc,
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * _logistic(x),
}


def promised(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The bound at each x, in units in the last place of float32."""
    text = BOUNDS.read_text()
    if name in ("gelu", "silu"):
        pattern = r"times a factor: (\d+) ulps .*?, (\d+) for .*?relative error\nof (\d)·10⁻⁵"
        few, more, relative = re.search(pattern, text).groups()
        return lambda x: np.select([x < -1, x <= 1], [float(relative) * 1e-5 * 2**24, float(few)], float(more))
    bound = float(re.search(rf"^\|[^|]*`{name}`[^|]*\| ([\d.]+) \|", text, re.MULTILINE).group(1))
    return lambda x: np.full(x.shape, bound)


def errors(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distances in units in the last place of ``exact`` as float32 [count]; one where only one of both overflowed."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        distance = np.abs(got.astype(np.float64) - exact) / np.spacing(np.abs(rounded)).astype(np.float64)
        largest = np.finfo(np.float32).max
        overflowed = (np.isinf(rounded) & (np.abs(got) == largest)) | (np.isinf(got) & (np.abs(rounded) == largest))
        alike = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    distance = np.where(alike & ~np.isfinite(distance), 0.0, distance)
    return np.where(overflowed, 1.0, np.where(np.isnan(distance), np.inf, distance))


def stretches(every: int) -> Iterator[np.ndarray]:
    for begin in range(0, NUMBERS, STRETCH * every):
        bits = np.arange(begin, min(NUMBERS, begin + STRETCH * every), every, dtype=np.uint64)
        yield bits.astype(np.uint32).view(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", metavar="function", help=f"of {', '.join(EXACT)}; all unless given")
    parser.add_argument("--every", type=int, default=1, help="the step from one number's bits to the next")
    parser.add_argument("--isa", help="of the kernels: portable, avx2, avx512; the machine's best unless given")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.functions) - set(EXACT))
    if unknown:
        parser.error(f"no function is called {', '.join(unknown)}; there are {', '.join(EXACT)}")
    if arguments.every < 1:
        parser.error(f"--every takes a step of at least 1, got {arguments.every}")
    if arguments.isa:
        os.environ["PYFLOW_ISA"] = arguments.isa
    import pyflow as pf

    title = "float32" if arguments.every == 1 else f"float32, one number in {arguments.every}"
    table = Table("function", "largest error (ulp)", "at", "promised", title=title)
    broken = False
    names = arguments.functions or list(EXACT)
    with Progress(transient=True) as progress:
        task = progress.add_task("", total=len(names) * -(-NUMBERS // (STRETCH * arguments.every)))
        for name in names:
            progress.update(task, description=name)
            graph = pf.Graph()
            with graph.as_default():
                x = pf.placeholder(pf.float32, ("n",))
                y = getattr(pf, name)(x)
            call = pf.Session(graph).make_callable(y, [x])
            bound = promised(name)
            worst, place, share, asked = -1.0, 0.0, -1.0, 0.0
            for values in stretches(arguments.every):
                with np.errstate(all="ignore"):
                    exact = EXACT[name](values.astype(np.float64))
                if name in ("gelu", "silu"):
                    exact[np.isneginf(values)] = -0.0
                bounds = bound(values)
                distance = errors(np.asarray(call(values)), exact)
                shares = distance / bounds
                index = int(np.argmax(shares))
                if shares[index] > share:
                    share, worst, place, asked = shares[index], distance[index], values[index], bounds[index]
                progress.advance(task)
            broken |= share > 1
            table.add_row(name, f"{worst:.3f}", f"{place:.9g}", f"{asked:g}", style="red" if share > 1 else None)
    Console().print(table)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
