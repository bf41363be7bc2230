"""Rows of quantised numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, integers, normal, referred, uniform

F32 = np.float32


def _quantized(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, **_: Any) -> np.ndarray:
    return np.clip(np.round(x / scale) + zero, 0, 255)


def _dynamic(x: np.ndarray) -> tuple[np.ndarray, ...]:
    low, high = min(x.min(), 0), max(x.max(), 0)
    scale = (high - low) / 255
    zero = np.clip(np.round(-low / scale), 0, 255)
    return np.clip(np.round(x / scale) + zero, 0, 255), scale, zero


def _int_product(a: Any, b: Any, az: Any, bz: Any) -> np.ndarray:
    return (a.astype(np.int64) - az) @ (b.astype(np.int64) - bz)


def _there_and_back(x: Any, dtype: Any, **attrs: Any) -> Any:
    return pf.dequantize_linear(pf.quantize_linear(x, np.float32(0.25), dtype=dtype, **attrs), np.float32(0.25))


_A, _B = integers(0, 255, 3, 4, dtype=np.uint8), integers(-128, 127, 4, 5, dtype=np.int8)

CASES = [
    Case(
        pf.quantize_linear,
        (normal(4, 5, scale=9), np.array(0.25, F32), np.array(130, np.uint8)),
        {},
        _quantized,
        dtype=np.uint8,
        gradient=False,
    ),
    referred(
        pf.quantize_linear, normal(2, 3, 4, scale=9), uniform(0.1, 1, 3), integers(-9, 9, 3, dtype=np.int8), axis=1
    ),
    referred(pf.quantize_linear, normal(5, 7, scale=9), uniform(0.1, 1, 5, 3), block_size=3, dtype="int16"),
    referred(
        pf.dequantize_linear,
        integers(0, 99, 2, 3, 4, dtype=np.uint8),
        uniform(0.1, 1, 3),
        integers(0, 9, 3, dtype=np.uint8),
    ),
    referred(pf.dequantize_linear, integers(0, 99, 5, 7, dtype=np.int8), uniform(0.1, 1, 5, 3), block_size=3),
    *(
        referred(_there_and_back, normal(4, 6, scale=3), dtype=dtype)
        for dtype in (
            "int4",
            "uint4",
            "int2",
            "uint2",
            "int8",
            "uint16",
            "float8_e4m3fn",
            "float8_e5m2",
            "float4_e2m1fn",
        )
    ),
    Case(pf.dynamic_quantize_linear, (normal(4, 5),), {}, _dynamic, gradient=False, rtol=1e-6),
    Case(pf.matmul_integer, (_A, _B, np.array(12, np.uint8), np.array(-3, np.int8)), {}, _int_product, dtype=np.int32),
    referred(
        pf.qlinear_matmul,
        _A,
        F32(0.01),
        np.uint8(12),
        _B,
        F32(0.02),
        np.int8(-3),
        F32(0.5),
        np.uint8(100),
    ),
    referred(
        pf.conv_integer,
        integers(0, 255, 1, 2, 5, 6, dtype=np.uint8),
        integers(0, 255, 3, 2, 3, 2, dtype=np.uint8),
        np.array(7, np.uint8),
        np.array([1, 2, 3], np.uint8),
        padding=1,
    ),
    Case(
        pf.fake_quantize,
        (normal(4, 5),),
        {"scale": 0.1, "low": -8, "high": 7},
        lambda x, **_: np.clip(np.round(x / np.float32(0.1)), -8, 7) * 0.1,
        rtol=1e-5,
        atol=1e-6,
    ),
]
