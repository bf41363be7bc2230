"""What the tests of passes share: capture a graph, run one pass, compare what the region computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

import pyflow as pf
from pyflow.check import check
from pyflow.graph import Graph, Value
from pyflow.interpret import evaluate
from pyflow.region import Region, capture
from pyflow.target import RefTarget


def region_of(build: Callable[[Graph], Sequence[Value]], feeds: Sequence[str] = ()) -> Region:
    """The captured graph that ``build`` declares; placeholders are fed in order of declaration."""
    graph = Graph()
    with graph.as_default():
        fetches = list(build(graph))
    return capture(graph, fetches, graph.inputs)


def ops_of(region: Region) -> Counter[str]:
    """How many nodes of each op, without inputs."""
    return Counter(node.op.name for node in region.nodes() if node.op.name != "input")


def arrays_for(region: Region, sizes: dict[str, int] | None = None, seed: int = 0) -> list[np.ndarray]:
    from pyflow import dims

    generator = np.random.default_rng(seed)
    result = []
    for value in region.inputs:
        shape = [dims.evaluate(size, sizes or {}) for size in value.dims]
        if value.dtype.kind == "f":
            result.append(generator.standard_normal(shape).astype(value.dtype.numpy))
        else:
            result.append(generator.integers(0, 2, shape).astype(value.dtype.numpy))
    return result


def same_results(before: Region, after: Region, sizes: dict[str, int] | None = None, tolerance: float = 0.0) -> None:
    """Both give the same arrays, to the bit if no tolerance is given."""
    arrays = arrays_for(before, sizes)
    for want, have in zip(evaluate(before, arrays), evaluate(after, arrays), strict=True):
        assert want.dtype == have.dtype
        assert want.shape == have.shape
        if tolerance:
            np.testing.assert_allclose(have, want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(have, want)


def run_pass(
    function: Callable[..., Region], region: Region, target: RefTarget | None = None, stage: str = "fuse"
) -> Region:
    made = function(region, target or RefTarget())
    check(made, stage)
    return made


__all__ = ["arrays_for", "ops_of", "pf", "region_of", "run_pass", "same_results"]
