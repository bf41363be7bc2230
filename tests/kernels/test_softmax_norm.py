"""softmax, log_softmax and layer_norm against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import Array, everywhere, layouts, same_bits, values
from products import bias_residual_to_float64

from pyflow import _core

SHAPES = [(1,), (7,), (5003,), (3, 10), (33, 64), (2, 17, 5), (67, 19), (4, 0), (0, 4), (2, 9000)]
FLOATS = [np.float32, np.float64]


def reference(x: Array, axis: int, log: bool) -> Array:
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
        total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
        return shifted - np.log(total) if log else np.exp(shifted) / total


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(shape: tuple[int, ...], dtype: Any, log: bool) -> None:
    x = values(shape, dtype) * 4
    eps = float(np.finfo(dtype).eps)
    name = "log_softmax" if log else "softmax"
    for axis in range(len(shape)):
        expected = reference(x, axis, log)
        answers = [everywhere(name, [view], shape, dtype, ints=[axis]) for view in layouts(x)]
        # x - max is rounded once: its half ULP (x up to 40) is the relative error that exp passes on.
        np.testing.assert_allclose(answers[0], expected, rtol=24 * eps, atol=24 * eps if log else 1e-30)
        assert all(same_bits(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_special_values(dtype: Any) -> None:
    infinity, nan = np.inf, np.nan
    x = np.array(
        [[-infinity] * 3, [infinity, 0, 1], [nan, 0, 1], [-infinity, 0, 0], [1e30, -1e30, 1e30], [5, 5, 5]], dtype
    )
    for log in (False, True):
        answer = everywhere("log_softmax" if log else "softmax", [x], x.shape, dtype, ints=[1])
        np.testing.assert_allclose(answer, reference(x, 1, log), rtol=1e-6)
        answer = everywhere("log_softmax" if log else "softmax", [x.T], x.T.shape, dtype, ints=[0])
        np.testing.assert_allclose(answer, reference(x.T, 0, log), rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_into_strided_results(dtype: Any) -> None:
    x = values((6, 70), dtype)
    for axis in (0, 1):
        for target in layouts(np.zeros((6, 70), dtype)):
            _core.call_kernel("softmax", [x], [target], ints=[axis], threads=2)
            np.testing.assert_allclose(target, reference(x, axis, False), rtol=1e-5)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 1), 1), ((5, 67), 1), ((2, 3, 7, 11), 2), ((2, 5000), 1), ((4, 9), 0), ((0, 3), 1)]
)
def test_layer_norm(shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    x = values(shape, dtype) * 3 + 100
    scale, bias = values(shape[axis:], dtype, seed=1), values(shape[axis:], dtype, seed=2)
    wide = x.astype(np.float64)
    axes = tuple(range(axis, len(shape)))
    centred = wide - wide.mean(axis=axes, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + 1e-5) * scale + bias
    answers = []
    for view, factor, offset in zip(layouts(x), layouts(scale), layouts(bias), strict=True):
        answers.append(everywhere("layer_norm", [view, factor, offset], shape, dtype, ints=[axis], floats=[1e-5]))
    tolerance = 400 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(answers[0], expected, rtol=tolerance, atol=tolerance)
    assert all(same_bits(answer, answers[0]) for answer in answers)
    for target in layouts(np.zeros(shape, dtype)):
        _core.call_kernel("layer_norm", [x, scale, bias], [target], ints=[axis], floats=[1e-5], threads=2)
        assert same_bits(np.ascontiguousarray(target), answers[0]) or len(shape) == 0


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 67), 1), ((2, 3, 7, 11), 2), ((2, 5000), 1), ((40, 130), 1), ((4, 9), 0)]
)
def test_an_epilogue_acts_on_normalised_rows(shape: tuple[int, ...], axis: int) -> None:
    x, residual = values(shape, np.float32) * 3, values(shape, np.float32, seed=3)
    scale, bias = (values(shape[axis:], np.float32, seed=seed) for seed in (1, 2))
    added = np.broadcast_to(values(shape[-1:], np.float32, seed=4), shape)
    plain = everywhere("layer_norm", [x, scale, bias], shape, np.float32, ints=[axis], floats=[1e-5])
    expected = ((plain + added) + residual).astype(np.float64)
    attributes: dict[str, Any] = {"ints": [axis], "floats": [1e-5], "programs": [bias_residual_to_float64()]}
    for view, target in zip(layouts(residual), layouts(np.zeros(shape)), strict=True):
        answer = everywhere("layer_norm", [x, scale, bias, added, view], shape, np.float64, **attributes)
        assert same_bits(answer, expected)
        _core.call_kernel("layer_norm", [x, scale, bias, added, view], [target], threads=2, **attributes)
        assert same_bits(np.ascontiguousarray(target), expected)
    empty = np.zeros((0, 3), np.float32)
    factor = np.ones(3, np.float32)
    attributes["ints"] = [1]
    everywhere("layer_norm", [empty, factor, factor, empty, empty], (0, 3), np.float64, **attributes)
    with pytest.raises(Exception, match="takes an epilogue on at least 2 axes"):
        attributes["ints"] = [0]
        _core.call_kernel("layer_norm", [factor] * 5, [np.zeros(3)], **attributes)


def test_layer_norm_of_special_values() -> None:
    x = np.array([[np.nan, 1, 2], [np.inf, 1, 2], [4, 4, 4]], np.float32)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    answer = everywhere("layer_norm", [x, one, zero], x.shape, np.float32, ints=[1], floats=[1e-5])
    assert np.isnan(answer[:2]).all()
    assert not answer[2].any()
    with pytest.raises(Exception, match="scale does not have the dims of x"):
        _core.call_kernel("layer_norm", [x, one[:2], zero], [np.zeros_like(x)], ints=[1], floats=[1e-5])
