"""Rows of ops on bits and on encoded images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

import pyflow as pf
from cases.case import Case

PIXELS = np.random.default_rng(7).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded() -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


def is_(wanted: np.ndarray) -> Any:
    def check(results: Any, inputs: Any) -> None:
        (result,) = results
        assert result.dtype == wanted.dtype
        np.testing.assert_array_equal(result, wanted)

    return check


NUMBERS = np.array([[1.0, -2.5, np.nan], [0.0, np.inf, 3e-40]], np.float32)
WHOLE = np.arange(-3, 4, dtype=np.int64)

CASES = [
    Case(pf.decode_image, (encoded(),), check=is_(PIXELS)),
    Case(pf.decode_image, (encoded(),), {"pixel_format": "BGR"}, check=is_(PIXELS[:, :, ::-1])),
    Case(pf.bitcast, (NUMBERS,), {"dtype": "int32"}, check=is_(NUMBERS.view(np.int32))),
    Case(pf.bitcast, (np.float16([1, -2]),), {"dtype": "uint16"}, check=is_(np.uint16([0x3C00, 0xC000]))),
    Case(pf.bitcast, (WHOLE,), {"dtype": pf.float64}, check=is_(WHOLE.view(np.float64))),
    Case(pf.bitcast, (np.array([True, False, True]),), {"dtype": pf.uint8}, check=is_(np.array([1, 0, 1], np.uint8))),
    Case(
        lambda x, scales: pf.resize(x, scales=scales, mode="nearest"),
        (NUMBERS, np.array([2.0, 1.0])),
        check=is_(NUMBERS.repeat(2, 0)),
        label="resize by what a run tells",
    ),
]
