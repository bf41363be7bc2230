"""The pass ``pool``: maxima of 2 x 2 where a convolution makes what they are of, with the values of two steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import pf

RNG = np.random.default_rng(5)
BIAS = RNG.standard_normal(16).astype("f")


def convolved(x: Any, channels: int = 3, kernel: int = 3, outer: int = 16, **attrs: Any) -> Any:
    weights = np.random.default_rng(1).standard_normal((outer, channels, kernel, kernel)).astype("f")
    return pf.conv2d(x, pf.constant(weights), padding=kernel // 2, **attrs)


def biased(h: Any, bias: np.ndarray = BIAS) -> Any:
    return h + pf.constant(bias[:, None, None])


def steps_of(build: Callable[[Any], Any], shape: Any, **options: Any) -> tuple[Any, set[str]]:
    """(results, kernels) of what ``build`` makes of one image, on data with NaN and infinities here and there."""
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", shape)
        results = build(x)
    data = np.random.default_rng(2).standard_normal([13 if isinstance(size, str) else size for size in shape])
    data.reshape(-1)[:2], data.reshape(-1)[-1] = (np.nan, np.inf), -np.inf
    session = pf.Session(graph, **options)
    made = session.run(results, {x: data.astype("f")})
    first = made[0] if isinstance(made, list) else made
    return first, {row.kernel for row in session.explain(results).rows}


def apart(monkeypatch: pytest.MonkeyPatch, *given: Any, **options: Any) -> tuple[Any, set[str]]:
    with monkeypatch.context() as patch:
        patch.setattr("pyflow.passes.pool.CONVOLUTIONS", ())
        return steps_of(*given, **options)


JOINED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "alone": (lambda x: pf.max_pool2d(convolved(x), 2), (2, 3, 12, 10)),
    "bias and relu": (lambda x: pf.max_pool2d(pf.relu(biased(convolved(x))), 2), (1, 3, 28, 28)),
    "bias first": (lambda x: pf.max_pool2d(pf.constant(BIAS[:, None, None]) + convolved(x), 2), (1, 3, 8, 8)),
    "clip": (lambda x: pf.max_pool2d(pf.clip(biased(convolved(x)), 0.0, 6.0), 2), ("n", 3, 16, 16)),
    "relu behind": (lambda x: pf.relu(pf.max_pool2d(biased(convolved(x)), 2)), (1, 3, 8, 8)),
    "odd sizes": (lambda x: pf.max_pool2d(pf.relu(biased(convolved(x))), 2), (2, 3, 13, 9)),
    "unknown sizes": (lambda x: pf.max_pool2d(pf.relu(biased(convolved(x))), 2), ("n", 3, "h", "w")),
    "one by one": (lambda x: pf.max_pool2d(convolved(x, 8, 1), 2), (1, 8, 9, 6)),
    "strides": (lambda x: pf.max_pool2d(convolved(x, stride=2), 2), (1, 3, 17, 22)),
    "groups": (lambda x: pf.max_pool2d(convolved(x, 2, groups=2), 2), (1, 4, 10, 10)),
    "many channels": (lambda x: pf.max_pool2d(pf.relu(biased(convolved(x, 64))), 2), (1, 64, 20, 20)),
    "channels last": (
        lambda x: pf.max_pool2d(
            pf.relu(pf.conv2d(x, pf.constant(np.ones((3, 3, 3, 16), "f")), data_format="NHWC") + pf.constant(BIAS)),
            2,
            data_format="NHWC",
        ),
        (1, 12, 10, 3),
    ),
    "pools in a row": (
        lambda x: pf.max_pool2d(pf.max_pool2d(pf.relu(biased(convolved(x))), 2), 2),
        (1, 3, 20, 20),
    ),
    "a residual behind": (
        lambda x: pf.max_pool2d(biased(convolved(x)), 2) + pf.max_pool2d(x, 2)[:, :1],
        (1, 3, 12, 12),
    ),
}


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_values_are_those_of_two_steps(name: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    build, shape = JOINED[name]
    options = {"config": pf.SessionConfig(threads=threads)}
    y, kernels = steps_of(build, shape, **options)
    expected, before = apart(monkeypatch, build, shape, **options)
    assert "max_pool2d" in before
    assert "max_pool2d" not in kernels or name in ("a residual behind", "pools in a row")
    np.testing.assert_array_equal(y, expected)


def _read_elsewhere(x: Any) -> list[Any]:
    h = pf.relu(biased(convolved(x)))
    return [pf.max_pool2d(h, 2), h]


def _depthwise(x: Any) -> Any:
    return pf.max_pool2d(pf.conv2d(x, pf.constant(np.ones((4, 1, 3, 3), "f")), groups=4), 2)


APART: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "read elsewhere": (_read_elsewhere, (1, 3, 8, 8)),
    "windows that overlap": (lambda x: pf.max_pool2d(convolved(x), 3, stride=2), (1, 3, 9, 9)),
    "windows of three": (lambda x: pf.max_pool2d(convolved(x), 3), (1, 3, 9, 9)),
    "gaps": (lambda x: pf.max_pool2d(convolved(x), 2, stride=3), (1, 3, 9, 9)),
    "padding": (lambda x: pf.max_pool2d(convolved(x), 2, padding=1), (1, 3, 8, 8)),
    "same": (lambda x: pf.max_pool2d(convolved(x), 2, padding="same"), (1, 3, 9, 9)),
    "dilation": (lambda x: pf.max_pool2d(convolved(x), 2, stride=2, dilation=2), (1, 3, 9, 9)),
    "falls": (lambda x: pf.max_pool2d(-convolved(x), 2), (1, 3, 8, 8)),
    "a bias per pixel": (lambda x: pf.max_pool2d(convolved(x) + pf.constant(np.ones((8, 8), "f")), 2), (1, 3, 8, 8)),
    "an infinite bias": (
        lambda x: pf.max_pool2d(biased(convolved(x), np.where(BIAS > 0, np.inf, BIAS).astype("f")), 2),
        (1, 3, 8, 8),
    ),
    "means": (lambda x: pf.avg_pool2d(convolved(x), 2), (1, 3, 8, 8)),
    "depthwise": (_depthwise, (1, 4, 8, 8)),
    "both operands": (lambda x: pf.max_pool2d((h := convolved(x)) + h, 2), (1, 3, 8, 8)),
    "bounds per channel": (
        lambda x: pf.max_pool2d(pf.clip(convolved(x), pf.constant(BIAS[:, None, None]), 9.0), 2),
        (1, 3, 8, 8),
    ),
}


@pytest.mark.parametrize("name", APART)
def test_what_stays_two_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, shape = APART[name]
    y, kernels = steps_of(build, shape)
    expected, before = apart(monkeypatch, build, shape)
    assert kernels == before and kernels & {"max_pool2d", "avg_pool2d"}
    np.testing.assert_array_equal(y, expected)


def test_a_bias_that_a_run_may_change_is_finite_unless_numerics_are_strict() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", (1, 3, 8, 8))
        bias = pf.Variable(BIAS[:, None, None], name="bias")
        y = pf.max_pool2d(convolved(x) + bias, 2)
    for numerics, joined in (("default", True), ("strict", False)):
        session = pf.Session(graph, pf.SessionConfig(numerics=numerics))
        kernels = {row.kernel for row in session.explain(y).rows}
        assert ("max_pool2d" not in kernels) == joined


def test_training_keeps_what_is_pooled() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", (1, 3, 8, 8))
        y = pf.max_pool2d(pf.relu(biased(convolved(x))), 2)
        gradient = pf.gradients(pf.reduce_sum(y), [x])[0]
    kernels = {row.kernel for row in pf.Session(graph).explain([y, gradient]).rows}
    assert {"max_pool2d", "max_pool2d_grad"} <= kernels
