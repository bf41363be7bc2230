from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.recognise import recognise
from pyflow.passes.simplify import simplify
from pyflow.target import RefTarget


def x3():
    return pf.placeholder("float32", ["n", 6, 8])


def _softmax(x):
    e = pf.exp(x - pf.max(x, axis=2, keepdims=True))
    return e / pf.sum(e, axis=2, keepdims=True)


def _softmax_squeezed(x):
    e = pf.exp(x - pf.expand_dims(pf.max(x, axis=-1), -1))
    return e / pf.expand_dims(pf.sum(e, axis=-1), -1)


def _log_softmax(x):
    shifted = x - pf.max(x, axis=1, keepdims=True)
    return shifted - pf.log(pf.sum(pf.exp(shifted), axis=1, keepdims=True))


def _norm(x):
    centred = x - pf.mean(x, axis=-1, keepdims=True)
    return centred, pf.mean(centred * centred, axis=-1, keepdims=True) + 1e-5


def _layer_norm_plain(x):
    centred, spread = _norm(x)
    return centred / pf.sqrt(spread)


def _layer_norm_affine(x):
    centred, spread = _norm(x)
    scale, bias = np.linspace(1, 2, 8).astype(np.float32), np.linspace(0, 1, 8).astype(np.float32)
    return centred / pf.sqrt(spread) * scale + bias


def _layer_norm_torch_order(x):
    centred, spread = _norm(x)
    scale, bias = pf.Variable(np.ones(8, np.float32)), pf.Variable(np.zeros(8, np.float32))
    return bias + scale * (centred * pf.rsqrt(spread))


def _layer_norm_var(x):
    mean = pf.mean(x, axis=(1, 2), keepdims=True)
    return (x - mean) * pf.rsqrt(pf.var(x, axis=(1, 2), keepdims=True) + 1e-3)


FORMS = {
    "softmax": ("softmax", _softmax),
    "softmax, squeezed": ("softmax", _softmax_squeezed),
    "log_softmax": ("log_softmax", _log_softmax),
    "log of softmax": ("log_softmax", lambda x: pf.log(pf.softmax(x))),
    "minus logsumexp": ("log_softmax", lambda x: x - pf.logsumexp(x, axis=2, keepdims=True)),
    "gelu": ("gelu", lambda x: 0.5 * x * (1.0 + pf.erf(x / math.sqrt(2)))),
    "gelu, other order": ("gelu", lambda x: x * (pf.erf(x * 0.70710678) + 1.0) / 2.0),
    "gelu, half last": ("gelu", lambda x: (x * (1.0 + pf.erf(x * math.sqrt(0.5)))) * 0.5),
    "gelu tanh": ("gelu_tanh", lambda x: 0.5 * x * (1.0 + pf.tanh(0.79788456 * (x + 0.044715 * x * x * x)))),
    "gelu tanh, pow": ("gelu_tanh", lambda x: 0.5 * x * (1 + pf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "gelu tanh, fast": ("gelu_tanh", lambda x: 0.5 * x * (1.0 + pf.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))),
    "silu": ("silu", lambda x: x * pf.sigmoid(x)),
    "silu by hand": ("silu", lambda x: x * (1.0 / (1.0 + pf.exp(-x)))),
    "layer_norm": ("layer_norm", _layer_norm_plain),
    "layer_norm, scale and bias": ("layer_norm", _layer_norm_affine),
    "layer_norm, variables first": ("layer_norm", _layer_norm_torch_order),
    "layer_norm, var": ("layer_norm", _layer_norm_var),
}


@pytest.mark.parametrize("what", FORMS)
def test_recognised(what) -> None:
    name, build = FORMS[what]
    region = region_of(lambda graph: [build(x3())])
    made = run_pass(recognise, run_pass(simplify, region))
    left = ops_of(made)
    left.pop("constant", None)
    left.pop("reshape", None)
    assert left == {name: 1}, what
    same_results(region, made, {"n": 3}, tolerance=2e-5)


@pytest.mark.parametrize("what", FORMS)
def test_strict_leaves_it(what) -> None:
    region = simplify(region_of(lambda graph: [FORMS[what][1](x3())]), RefTarget())
    assert recognise(region, RefTarget(numerics="strict")) is region


def test_what_others_read_is_not_swallowed() -> None:
    def build(graph):
        x = x3()
        e = pf.exp(x - pf.max(x, axis=2, keepdims=True))
        return [e / pf.sum(e, axis=2, keepdims=True), e]

    region = region_of(build)
    assert recognise(region, RefTarget()) is region


def test_other_numbers_are_no_gelu() -> None:
    region = region_of(lambda graph: [(lambda x: 0.5 * x * (1.0 + pf.erf(x * 0.9)))(x3())])
    assert ops_of(recognise(region, RefTarget()))["gelu"] == 0


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_batch_norm_goes_into_the_weights(bias, data_format) -> None:
    generator = np.random.default_rng(3)
    numbers = [generator.uniform(0.5, 1.5, 4).astype(np.float32) for _ in range(5)]

    def build(graph):
        first = data_format == "NCHW"
        x = pf.placeholder("float32", ["n", 3, 5, 5] if first else ["n", 5, 5, 3])
        w = pf.Variable(generator.standard_normal((4, 3, 2, 2) if first else (2, 2, 3, 4)).astype(np.float32))
        h = pf.conv2d(x, w, pf.constant(numbers[4]) if bias else None, data_format=data_format)
        return [pf.batch_norm(h, *map(pf.constant, numbers[:4]), axis=1 if first else 3)]

    region = region_of(build)
    made = run_pass(recognise, region)
    assert ops_of(made)["batch_norm"] == 0
    assert ops_of(made)["conv2d"] == 1
    same_results(region, made, {"n": 2}, tolerance=1e-4)


def test_batch_norm_after_a_product() -> None:
    def build(graph):
        x, w = pf.placeholder("float32", ["n", 3]), pf.Variable(np.ones((3, 4), np.float32))
        rest = [pf.Variable(np.full(4, value, np.float32)) for value in (1.5, 0.5, 0.1, 2.0)]
        return [pf.batch_norm(x @ w, *rest, axis=1)]

    region = region_of(build)
    made = run_pass(recognise, region)
    assert ops_of(made)["batch_norm"] == 0


def test_batch_norm_of_variables_that_the_run_writes_stays() -> None:
    def build(graph):
        x, w = pf.placeholder("float32", ["n", 3]), pf.Variable(np.ones((3, 4), np.float32))
        rest = [pf.constant(np.full(4, value, np.float32)) for value in (1.5, 0.5, 0.1, 2.0)]
        return [pf.batch_norm(x @ w, *rest, axis=1), w.assign_add(np.ones((3, 4), np.float32))]

    region = region_of(build)
    assert recognise(region, RefTarget()) is region


def test_numbers_move_behind_a_product() -> None:
    def build(graph):
        q, k = pf.placeholder("float32", ["n", 6, 8]), pf.placeholder("float32", ["n", 6, 8])
        return [pf.matmul(q * 0.5, 0.25 * pf.transpose(k, (0, 2, 1))), pf.matmul(q / 3.0, pf.ones((8, 2)))]

    region = region_of(build)
    made = run_pass(recognise, region)
    assert made.table.rewrites["matmul_scale"] == 2
    assert ops_of(made)["multiply"] == 2 and ops_of(made)["divide"] == 0
    same_results(region, made, {"n": 3}, tolerance=1e-6)
    assert recognise(region, RefTarget(numerics="strict")) is region


def test_what_scales_more_than_a_product_stays() -> None:
    def build(graph):
        x = x3()
        scaled = x * 0.5
        wide = pf.matmul(x * np.full((6, 1), 0.5, np.float32), pf.ones((8, 2)))
        return [pf.matmul(scaled, pf.ones((8, 2))), scaled, wide]

    region = region_of(build)
    assert recognise(region, RefTarget()) is region
