from __future__ import annotations

import numpy as np
import pytest
from helpers import pf


def block(x, *, channels=96, between=lambda h: pf.clip(h, 0.0, 6.0), stride=1, bias=True, first=None):
    """The first two convolutions of an inverted residual block, NCHW."""
    rng = np.random.default_rng(1)
    inner = x.shape[1]
    kernel, *geometry = first or ((1, 1), 1, "valid", 1)
    w = pf.constant(rng.standard_normal((channels, inner, *kernel)).astype("f"))
    h = pf.conv2d(x, w, None, *geometry)
    if bias:
        h = h + pf.constant(rng.standard_normal((channels, 1, 1)).astype("f"))
    h = between(h)
    taps = pf.constant(rng.standard_normal((channels, 1, 3, 3)).astype("f"))
    y = pf.conv2d(h, taps, stride=stride, padding=((1, 1), (1, 1)), groups=channels)
    return h, pf.relu(y + pf.constant(rng.standard_normal((channels, 1, 1)).astype("f")))


def run(build, shape, **options):
    """(results, kernels) of the graph that ``build`` makes of one image, on ``shape`` of data."""
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", shape)
        results = build(x)
    session = pf.Session(graph, **options)
    data = np.random.default_rng(2).standard_normal([3 if d == "n" else d for d in shape]).astype("f")
    return session.run(results, {x: data}), session.explain(results)


def unfused(monkeypatch, *given, **options):
    with monkeypatch.context() as patch:
        patch.setattr("pyflow.passes.expand.LEAST_BYTES", float("inf"))
        return run(*given, **options)


@pytest.mark.parametrize(
    "between", [lambda h: pf.clip(h, 0.0, 6.0), pf.relu, lambda h: h, lambda h: pf.clip(h, -1.0, np.inf)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_large_images_are_expanded_row_by_row_with_the_same_bits(between, stride, monkeypatch) -> None:
    def build(x):
        return block(x, between=between, stride=stride)[1]

    shape = ["n", 8, 56, 57]
    y, text = run(build, shape)
    assert "expand_depthwise" in str(text)
    apart, text = unfused(monkeypatch, build, shape)
    assert "expand_depthwise" not in str(text)
    assert np.asarray(y).tobytes() == np.asarray(apart).tobytes()


def projected(h, columns=24, kernel=(1, 1), **options):
    rng = np.random.default_rng(4)
    h = pf.conv2d(h, pf.constant(rng.standard_normal((columns, h.shape[1], *kernel)).astype("f")), **options)
    return h + pf.constant(rng.standard_normal((columns, 1, 1)).astype("f"))


@pytest.mark.parametrize(
    "first",
    [((3, 3), 2, ((1, 1), (1, 1)), 1), ((3, 2), (2, 1), "same", (1, 2)), ((5, 5), 2, "valid", 1)],
    ids=["strided", "dilated", "nothing outside"],
)
def test_a_first_convolution_of_any_window_is_one_with_what_reads_it(first, monkeypatch) -> None:
    def build(x):
        return block(x, first=first)[1]

    y, text = run(build, ["n", 3, 113, 120])
    assert "expand_depthwise" in str(text)
    apart, text = unfused(monkeypatch, build, ["n", 3, 113, 120])
    assert "expand_depthwise" not in str(text)
    assert np.asarray(y).tobytes() == np.asarray(apart).tobytes()


@pytest.mark.parametrize("residual", [False, True])
def test_a_projection_is_made_strip_by_strip_with_the_same_bits(residual, monkeypatch) -> None:
    def build(x):
        y = projected(block(x)[1])
        return pf.relu(x + y) if residual else y

    y, text = run(build, ["n", 24, 57, 56])
    assert "expand_depthwise_project" in str(text)
    apart, text = unfused(monkeypatch, build, ["n", 24, 57, 56])
    assert "expand_depthwise" not in str(text)
    assert np.asarray(y).tobytes() == np.asarray(apart).tobytes()


@pytest.mark.parametrize(
    "build",
    [
        lambda x: (lambda h: (projected(h), h))(block(x)[1]),
        lambda x: projected(block(x)[1], kernel=(3, 3)),
        lambda x: projected(block(x)[1], stride=2),
        lambda x: projected(block(x)[1], padding=((1, 1), (1, 1))),
        lambda x: projected(pf.tanh(block(x)[1])),
        lambda x: pf.max_pool2d(projected(block(x)[1]), 2),
    ],
    ids=["read elsewhere", "a larger window", "a stride", "padding", "another activation", "pooled"],
)
def test_what_cannot_be_projected_is_expanded_all_the_same(build, monkeypatch) -> None:
    y, text = run(build, ["n", 24, 56, 56])
    apart, _ = unfused(monkeypatch, build, ["n", 24, 56, 56])
    for one, other in zip(*((each if isinstance(each, tuple) else (each,)) for each in (y, apart)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert "expand_depthwise" in str(text)


def test_channels_last_with_a_bias_of_one_axis(monkeypatch) -> None:
    rng = np.random.default_rng(3)
    shapes = (1, 1, 8, 96), (96,), (3, 3, 1, 96)
    weights = [rng.standard_normal(shape).astype("f") for shape in shapes]

    def build(x):
        expansion, bias, taps = map(pf.constant, weights)
        h = pf.relu(pf.conv2d(x, expansion, data_format="NHWC") + bias)
        return pf.conv2d(h, taps, groups=96, data_format="NHWC")

    y, text = run(build, ["n", 56, 56, 8])
    assert "expand_depthwise" in str(text)
    apart, _ = unfused(monkeypatch, build, ["n", 56, 56, 8])
    assert np.asarray(y).tobytes() == np.asarray(apart).tobytes()


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda x: block(x)[1], [1, 8, 14, 14]),
        (lambda x: block(x, channels=100)[1], [1, 8, 56, 56]),
        (lambda x: block(x, between=pf.tanh)[1], [1, 8, 56, 56]),
        (lambda x: block(x, bias=False)[1], [1, 8, 56, 56]),
        (block, [1, 8, 56, 56]),
        (lambda x: block(x)[1], [1, 8, "h", 56]),
        (lambda x: block(x, first=((3, 3), 2, ((1, 1), (1, 1)), 1))[1], [1, 40, 112, 112]),
    ],
    ids=["small", "no whole panels", "another activation", "no bias", "read elsewhere", "unknown size", "many weights"],
)
def test_others_stay(build, shape) -> None:
    graph = pf.Graph()
    with graph.as_default():
        results = build(pf.placeholder("float32", shape))
    assert "expand_depthwise" not in str(pf.Session(graph).explain(results))
