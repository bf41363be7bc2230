"""Seeded random graphs over variables, with writes; whole numbers, so that every order of summing is exact."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pyflow.dims import Dim
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import FUNCTIONS
from pyflow.ops.arrays.joining import concat
from pyflow.ops.sources import placeholder
from pyflow.ops.state import Variable


@dataclass
class Sample:
    graph: Graph
    feeds: list[Value]
    fetches: list[Value | Node]
    variables: list[Variable] = field(default_factory=list)

    def arrays(self, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
        sizes = {"batch": batch}
        shapes = [[d if isinstance(d, int) else sizes[str(d)] for d in value.dims] for value in self.feeds]
        return [rng.integers(-4, 5, shape).astype(np.float64) for shape in shapes]


def random_sample(seed: int, steps: int = 30) -> Sample:
    rng = np.random.default_rng(seed)
    f = FUNCTIONS
    graph = Graph()
    with graph.as_default():
        batch = Dim("batch")
        feeds = [placeholder("float64", (batch, 4)), placeholder("float64", (batch, 4)), placeholder("float64", (4,))]
        variables = [
            Variable(rng.integers(-4, 5, shape).astype(np.float64), name=f"v{i}")
            for i, shape in enumerate([(4, 4), (4,), (), (4, 4), (4,)])
        ]
        values: list[Value] = [*feeds, *(v.value() for v in variables)]
        values.append(f["constant"](rng.integers(-4, 5, (4,)).astype(np.float64)))
        fetches: list[Value | Node] = []

        def bounded(value: Value) -> Value:
            return f["minimum"](f["maximum"](value, -9.0), 9.0)

        def pick(*ndims: int) -> Value:
            fitting = [v for v in values if v.ndim in ndims]
            return (
                fitting[rng.integers(len(fitting))]
                if rng.random() < 0.4
                else fitting[-1 - rng.integers(min(6, len(fitting)))]
            )

        for _ in range(steps):
            kind = rng.integers(12)
            if kind <= 4:
                name = ["add", "subtract", "multiply", "maximum", "minimum"][rng.integers(5)]
                a, b = pick(0, 1, 2), pick(0, 1, 2)
                if a.ndim == b.ndim == 2 and a.dims[0] != b.dims[0]:
                    continue
                made = bounded(f[name](a, b))
            elif kind == 5:
                made = [f["relu"], f["negative"]][rng.integers(2)](pick(0, 1, 2))
            elif kind == 6:
                made = bounded(pick(2) @ variables[0 if rng.random() < 0.5 else 3].value())
            elif kind == 7:
                made = bounded(f["sum"](pick(1, 2), 0, bool(rng.random() < 0.5)))
            elif kind == 8:
                wide = pick(2)
                half = [wide[:, :2], wide[:, 2:]]
                made = concat([bounded(half[1] + 1.0), half[0]] if rng.random() < 0.5 else half, 1)
            elif kind == 9:
                made = f["where"](f["less"](a := pick(1, 2), 0.0), f["multiply"](a, 2.0), a)
                made = bounded(made)
            elif kind == 10:
                made = f["reshape"](f["transpose"](square), (16,))[4:8] if (square := pick(2)).dims[0] == 4 else square
            else:
                variable = variables[rng.integers(len(variables))]
                fitting = [v for v in values if v.dims == variable.dims]
                written = variable.assign(
                    fitting[rng.integers(len(fitting))] if rng.random() < 0.6 else bounded(variable - fitting[-1])
                )
                fetches.append(written.node if rng.random() < 0.7 else written)
                made = variable.value()
            values.append(made)
        fetches += [values[i] for i in rng.integers(0, len(values), 4)]
        fetches.append(values[-1])
    return Sample(graph, feeds, fetches, variables)
