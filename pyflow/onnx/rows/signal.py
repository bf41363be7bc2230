"""Signal processing."""

from __future__ import annotations

import math

import pyflow as pf
from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op
from pyflow.ops.common import normalise_axis


def _complex(x: Value) -> Value:
    """Real numbers or pairs along the last axis, as complex numbers without that axis."""
    if x.dims[-1] not in (1, 2):
        raise InvalidArgumentError(f"expected a last axis of 1 or 2 elements, got {x.type}")
    wide = pf.cast(x, pf.float64 if x.dtype is pf.float64 else pf.float32)
    return pf.squeeze(wide, -1) if x.dims[-1] == 1 else pf.view_as_complex(wide)


def _of_length(x: Value, axis: int, length: Size) -> Value:
    """Cut, or padded with zeros."""
    cut = x[tuple([slice(None)] * axis + [slice(0, length)])]
    pads: list[tuple[Size, Size]] = [(0, 0)] * x.ndim
    pads[axis] = (0, dims.add(length, dims.mul(cut.dims[axis], -1)))
    return pf.pad(cut, pads)


def _transformed(node: OnnxNode, x: Value, axis: int, length: Value | None) -> Value:
    onesided, inverse = bool(node["onesided"]), bool(node["inverse"])
    pairs = x.dims[-1] == 2
    sizes = None if length is None else node.sizes(pf.reshape(length, [1]))
    numbers = _complex(x)
    if onesided and inverse:
        size = sizes[0] if sizes else dims.maximum(dims.mul(dims.add(numbers.dims[axis], -1), 2), 1)
        result = pf.expand_dims(pf.fft.irfft(numbers, size, axis), -1)
        return pf.cast(result, x.dtype)
    if sizes is not None:
        numbers = _of_length(numbers, axis, sizes[0])
    if onesided and not pairs:
        return pf.cast(pf.view_as_real(pf.fft.rfft(numbers, axis=axis)), x.dtype)
    whole = pf.fft.ifft(numbers, axis=axis) if inverse else pf.fft.fft(numbers, axis=axis)
    if onesided:
        half = dims.add(dims.floordiv(numbers.dims[axis], 2), 1)
        whole = whole[tuple([slice(None)] * axis + [slice(0, half)])]
    return pf.cast(pf.view_as_real(whole), x.dtype)


@onnx_op("DFT", since=17)
def dft_17(node: OnnxNode, x: Value, length: Value | None = None) -> Value:
    return _transformed(node, x, _signal_axis(node["axis"], x), length)


@onnx_op("DFT", since=20)
def dft(node: OnnxNode, x: Value, length: Value | None = None, axis: Value | None = None) -> Value:
    place = -2 if axis is None else node.known(axis)
    if place is not None:
        return _transformed(node, x, _signal_axis(int(place), x), length)
    found = pf.mod(pf.reshape(pf.cast(axis, pf.int64), []), x.ndim)
    branches = [lambda i=i: pf.optional(_transformed(node, x, i, length)) for i in range(x.ndim - 1)]
    chosen = pf.switch_case(found, branches)
    last = 1 if node["onesided"] and node["inverse"] else 2
    changed = node["onesided"] or length is not None
    sizes = [None if changed else size for size in x.dims[:-1]]
    return pf.optional_get_element(chosen, x.dtype, [*sizes, last])


def _signal_axis(axis: int, x: Value) -> int:
    settled = normalise_axis(axis, x.ndim)
    if settled == x.ndim - 1:
        raise InvalidArgumentError(f"axis {axis} holds the parts of the numbers of {x.type}")
    return settled


@onnx_op("STFT")
def stft(
    node: OnnxNode, signal: Value, step: Value, window: Value | None = None, frame_length: Value | None = None
) -> Value:
    """[batch, frames, bins, 2]: the transform of each window over the signal."""
    x = signal if signal.ndim == 3 else pf.expand_dims(signal, -1)
    if frame_length is not None:
        (length,) = node.sizes(pf.reshape(frame_length, [1]))
    elif window is not None:
        length = window.dims[0]
    else:
        raise InvalidArgumentError("expected one of the inputs 'window' and 'frame_length'")
    (stride,) = node.sizes(pf.reshape(step, [1]))
    frames = dims.add(dims.floordiv(dims.add(x.dims[1], dims.mul(length, -1)), stride), 1)
    places = pf.multiply(pf.expand_dims(pf.arange(frames), 1), pf.cast(pf.reshape(step, []), pf.int64))
    taken = pf.gather(x, pf.add(places, pf.arange(length)), 1)
    if window is not None:
        taken = pf.multiply(taken, pf.expand_dims(window, 1))
    numbers = _complex(taken)
    if node["onesided"] and numbers.dtype.kind != "c":
        return pf.cast(pf.view_as_real(pf.fft.rfft(numbers)), signal.dtype)
    whole = pf.fft.fft(numbers)
    if node["onesided"]:
        whole = whole[:, :, : dims.add(dims.floordiv(length, 2), 1)]
    return pf.cast(pf.view_as_real(whole), signal.dtype)


@onnx_op("MelWeightMatrix", since=17)
def mel_weight_matrix(node: OnnxNode, bins: Value, length: Value, rate: Value, low: Value, high: Value) -> Value:
    """[length // 2 + 1, bins]: triangles between neighbouring places, spaced evenly on the mel scale."""
    (count,) = node.sizes(pf.reshape(bins, [1]))
    spectrum = pf.add(pf.floor_divide(pf.cast(pf.reshape(length, []), pf.int64), 2), 1)
    (rows,) = node.sizes(pf.reshape(spectrum, [1]))
    edges = [_mel(pf.cast(pf.reshape(edge, []), pf.float64)) for edge in (low, high)]
    total = pf.cast(pf.add(pf.cast(pf.reshape(bins, []), pf.int64), 2), pf.float64)
    step = pf.divide(pf.subtract(edges[1], edges[0]), total)
    mels = pf.add(pf.multiply(pf.cast(pf.arange(dims.add(count, 2)), pf.float64), step), edges[0])
    hertz = pf.multiply(pf.expm1(pf.multiply(mels, math.log(10) / 2595)), 700.0)
    scaled = pf.multiply(hertz, pf.cast(pf.add(pf.cast(pf.reshape(length, []), pf.int64), 1), pf.float64))
    places = pf.floor(pf.divide(scaled, pf.cast(pf.reshape(rate, []), pf.float64)))
    left, centre, right = (places[i : dims.add(count, i)] for i in range(3))
    at = pf.expand_dims(pf.cast(pf.arange(rows), pf.float64), 1)
    rise, fall = pf.subtract(centre, left), pf.subtract(right, centre)
    rising = pf.divide(pf.subtract(at, left), pf.where(pf.equal(rise, 0), 1.0, rise))
    falling = pf.divide(pf.subtract(right, at), pf.where(pf.equal(fall, 0), 1.0, fall))
    up = pf.logical_and(pf.greater_equal(at, left), pf.less_equal(at, centre))
    value = pf.where(up, pf.where(pf.equal(rise, 0), 1.0, rising), 0.0)
    down = pf.logical_and(pf.greater_equal(at, centre), pf.less(at, right))
    return pf.cast(pf.where(down, falling, value), node.dtype("output_datatype"))


def _mel(hertz: Value) -> Value:
    return pf.multiply(pf.log1p(pf.divide(hertz, 700.0)), 2595 / math.log(10))
