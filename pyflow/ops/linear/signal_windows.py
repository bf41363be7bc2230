"""Windows of signals, and the weights of mel filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, DTYPE, SIZE, Attr, call
from pyflow.ops.arrays.indexing import iota
from pyflow.ops.composite import as_number, composite
from pyflow.ops.layers.sliding import sliding_windows
from pyflow.ops.linear.fft import fft, rfft
from pyflow.ops.sizes import as_size

__all__ = ["blackman_window", "hamming_window", "hann_window", "mel_weight_matrix", "stft"]

_TERMS = Attr("terms", lambda value: tuple(map(float, value)), lambda value: ((), ()))


def _expand(*, size: Size, periodic: bool, terms: Sequence[float], dtype: DType) -> Value:
    last = as_number(size if periodic else dims.maximum(dims.add(size, -1), 1))
    width = float(last) if isinstance(last, int) else call("cast", last, dtypes.float64)
    turn = call("cast", iota(size), dtypes.float64) * (2 * np.pi) / width
    total: Any = terms[0]
    for order, term in enumerate(terms[1:], 1):
        total = call("cos", turn * float(order)) * term + total
    if size == 1 and not periodic:
        total = total * 0.0 + 1.0
    result: Value = call("cast", total, dtype)
    return result


def _ref(*, size: int, periodic: bool, terms: Sequence[float], dtype: DType) -> np.ndarray:
    if size == 1 and not periodic:
        return np.ones(1).astype(dtype.numpy)
    turn = 2 * np.pi * np.arange(size) / max(size if periodic else size - 1, 1)
    waves = np.stack([term * np.cos(order * turn) for order, term in enumerate(terms)])
    return waves.sum(0).astype(dtype.numpy)


_window = composite(
    "cosine_window",
    "",
    attrs={"size": SIZE, "periodic": BOOLEAN, "terms": _TERMS, "dtype": DTYPE},
    expand=_expand,
    ref=_ref,
    onnx="HannWindow",
    doc="A sum of cosines over ``size`` elements; see :func:`pyflow.hann_window`.",
)


def _made(size: Any, periodic: bool, dtype: Any, terms: Sequence[float], name: str | None) -> Value:
    wanted = dtypes.as_dtype(dtype)
    result: Value = call("cosine_window", size=as_size(size), periodic=periodic, terms=terms, dtype=wanted, name=name)
    return result


_DOC = """

    size: an int or a Dim. periodic: one period of a longer row, for transforms; else symmetric. dtype: numeric.
    """


def hann_window(size: Any, periodic: bool = True, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    return _made(size, periodic, dtype, (0.5, -0.5), name)


def hamming_window(
    size: Any,
    periodic: bool = True,
    dtype: Any = dtypes.float32,
    alpha: float = 25 / 46,
    *,
    name: str | None = None,
) -> Value:
    return _made(size, periodic, dtype, (alpha, alpha - 1), name)


def blackman_window(size: Any, periodic: bool = True, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    return _made(size, periodic, dtype, (0.42, -0.5, 0.08), name)


hann_window.__doc__ = f"``(1 - cos(2 pi i / n)) / 2``.{_DOC}"
hamming_window.__doc__ = f"``alpha - (1 - alpha) * cos(2 pi i / n)``; ONNX's alpha is 25/46, PyTorch's 0.54.{_DOC}"
blackman_window.__doc__ = f"``0.42 - 0.5 * cos(2 pi i / n) + 0.08 * cos(4 pi i / n)``.{_DOC}"


def mel_weight_matrix(
    num_mel_bins: int,
    dft_length: int,
    sample_rate: int,
    lower_edge_hertz: float,
    upper_edge_hertz: float,
    dtype: Any = dtypes.float32,
) -> Value:
    """The weights with which the bins of a spectrum make those of the mel scale: [dft_length // 2 + 1, num_mel_bins].

    A mel bin is a triangle between its neighbours' centres, as ONNX's MelWeightMatrix has it. Arguments are numbers.
    """
    rows = dft_length // 2 + 1
    if num_mel_bins < 1 or sample_rate < 1 or not 0 <= lower_edge_hertz <= upper_edge_hertz:
        what = f"expected mel bins and a sample rate >= 1 and edges in order, got {num_mel_bins}, {sample_rate}"
        raise InvalidArgumentError(message("mel_weight_matrix", what, user_origin()))
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (lower_edge_hertz, upper_edge_hertz))
    mels = np.arange(num_mel_bins + 2) * ((high - low) / (num_mel_bins + 2)) + low
    places = (((dft_length + 1) * (700 * (10 ** (mels / 2595) - 1))) // sample_rate).astype(np.int64)
    if places[-1] > rows:
        what = f"expected an upper edge of at most half of the sample rate, got {upper_edge_hertz} of {sample_rate}"
        raise InvalidArgumentError(message("mel_weight_matrix", what, user_origin()))
    weights = np.zeros((rows, num_mel_bins))
    for i in range(num_mel_bins):
        left, centre, right = places[i : i + 3]
        weights[centre, i] = 1
        rising, falling = np.arange(left, centre), np.arange(centre, right)
        weights[rising, i] = (rising - left) / max(centre - left, 1)
        weights[falling, i] = (right - falling) / max(right - centre, 1)
    result: Value = call("constant", weights.astype(dtypes.as_dtype(dtype).numpy))
    return result


def stft(x: Any, frame_length: int, frame_step: int, window: Any = None, onesided: bool = True) -> Value:
    """The Fourier transforms of frames of ``x``, ``frame_step`` elements apart: complex [..., frames, bins].

    x: [..., length], floating, or complex with ``onesided=False``. window: [frame_length], what each frame is
    multiplied with, or None. onesided: only the frame_length // 2 + 1 bins that a real signal needs.
    """
    value = convert(x)
    if value.ndim < 1 or frame_length < 1 or frame_step < 1:
        what = f"expected x [..., length] and frames of at least 1, got {value.type}, {frame_length} and {frame_step}"
        raise InvalidArgumentError(message("stft", what, user_origin()))
    frames = sliding_windows(value, (value.ndim - 1,), (frame_length,), (frame_step,))
    if window is not None:
        frames = call("multiply", frames, window)
    result: Value = (rfft if onesided else fft)(frames)
    return result
