"""Rows of windows, convolutions and pools over any number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import FLOATS, Case, distinct, integers, normal, referred

F64 = np.float64


def _shifted(x: np.ndarray, **_: Any) -> np.ndarray:
    """Windows of 3 elements 2 apart, every 2, along the last axis."""
    return np.stack([x[..., i : i + 5 : 2] for i in range(0, x.shape[-1] - 4, 2)], axis=-2)


def _taps(x: np.ndarray, w: np.ndarray, **_: Any) -> np.ndarray:
    """conv1d of one group, stride 2, one zero on each side."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    starts = range(0, wide.shape[2] - w.shape[2] + 1, 2)
    return np.stack([np.einsum("nck,ock->no", wide[..., i : i + w.shape[2]], w) for i in starts], axis=-1)


def _spread(x: np.ndarray, w: np.ndarray, **_: Any) -> np.ndarray:
    """conv_transpose1d of one group, stride 2."""
    result = np.zeros((x.shape[0], w.shape[1], (x.shape[2] - 1) * 2 + w.shape[2]))
    for i in range(x.shape[2]):
        result[..., 2 * i : 2 * i + w.shape[2]] += np.einsum("nc,cok->nok", x[..., i], w)
    return result


def _unpooled(x: Any) -> Any:
    y, indices = pf.max_pool_with_indices(x, 2, 2)
    return pf.max_unpool(y, indices, (5, 4))


_NCW, _NCHW, _NCDHW = normal(2, 4, 9, dtype=F64), normal(2, 4, 6, 5, dtype=F64), normal(1, 4, 5, 4, 6, dtype=F64)

CASES = [
    *(
        Case(
            "sliding_windows",
            (normal(3, 9, dtype=d),),
            {"axes": 1, "kernel": (3,), "stride": 2, "dilation": 2},
            _shifted,
            symbolic=False,
        )
        for d in FLOATS
    ),
    referred("sliding_windows", _NCHW, axes=(2, 1), kernel=(2, 2), stride=(2, 1)),
    referred("unfold", _NCHW, kernel=(3, 2), dilation=(1, 2), padding=1, stride=2),
    referred("unfold", _NCDHW, kernel=2),
    referred(pf.fold, normal(2, 12, 16, dtype=F64), output_size=(5, 6), kernel=(2, 3)),
    referred(
        pf.fold, normal(2, 12, 9, dtype=F64), output_size=(5, 6), kernel=(2, 3), padding=1, stride=(2, 2), dilation=1
    ),
    *(
        Case(
            "conv", (normal(2, 3, 8, dtype=d), normal(5, 3, 3, dtype=d)), {"stride": 2, "padding": 1}, _taps, rtol=1e-4
        )
        for d in FLOATS
    ),
    referred(pf.conv, _NCW, normal(6, 2, 3, dtype=F64), normal(6, dtype=F64), groups=2, dilation=2, padding="same"),
    referred(pf.conv, _NCHW, normal(6, 2, 3, 2, dtype=F64), groups=2, padding="same_lower", stride=2),
    referred(pf.conv3d, _NCDHW, normal(6, 2, 3, 2, 3, dtype=F64), normal(6, dtype=F64), groups=2, padding=1),
    referred(pf.conv3d, _NCDHW, normal(3, 2, 2, 6, 2, dtype=F64), data_format="NDHWC", padding="same"),
    referred(pf.conv1d, _NCW, normal(2, 9, 4, dtype=F64), data_format="NWC", padding=((1, 0),)),
    referred(pf.conv, integers(-9, 9, 2, 3, 5, 4, dtype=np.int32), integers(-9, 9, 4, 3, 2, 3, dtype=np.int32)),
    *(
        Case(
            pf.conv_transpose1d,
            (normal(2, 3, 5, dtype=d), normal(3, 4, 3, dtype=d)),
            {"stride": 2},
            _spread,
            rtol=1e-4,
            atol=1e-6,
        )
        for d in FLOATS
    ),
    referred(pf.conv_transpose2d, _NCHW, normal(4, 3, 3, 2, dtype=F64), normal(6, dtype=F64), groups=2, dilation=2),
    referred(pf.conv_transpose2d, _NCHW, normal(4, 3, 3, 2, dtype=F64), stride=2, padding="same"),
    referred(pf.conv_transpose2d, _NCHW, normal(4, 3, 3, 3, dtype=F64), stride=2, output_shape=(14, 13)),
    referred(pf.conv_transpose3d, _NCDHW, normal(4, 3, 2, 3, 2, dtype=F64), stride=2, padding=1, output_padding=1),
    *(
        referred(op, distinct(2, 3, *sizes, dtype=F64), kernel=3, stride=2, padding=1, ceil_mode=ceil, **more)
        for sizes in ((8,), (7, 6), (5, 4, 6))
        for ceil in (False, True)
        for op, more in (
            ("max_pool", {}),
            ("max_pool", {"dilation": 2}),
            ("max_pool_with_indices", {"column_major": ceil, "whole": not ceil}),
            ("avg_pool", {"count_include_pad": True}),
            ("avg_pool", {"count_include_pad": False}),
            ("lp_pool", {"p": 3.0}),
        )
    ),
    referred("max_pool", distinct(2, 5, 4, 3, dtype=F64), kernel=2, data_format="NHWC"),
    referred("max_pool", distinct(2, 5, 4, 3, 2, dtype=F64), kernel=2, data_format="NDHWC"),
    referred("avg_pool", normal(2, 3, 7, 5, dtype=F64), kernel=3, dilation=2, padding="same"),
    referred("max_pool", integers(0, 99, 2, 3, 7, 5, dtype=np.int32), kernel=3, padding="same_lower"),
    *(
        referred(pool, distinct(2, 3, 8, 7, dtype=F64), output_size=size)
        for pool in (pf.adaptive_avg_pool, pf.adaptive_max_pool)
        for size in ((3, 5), (4, 7))
    ),
    referred(_unpooled, distinct(2, 3, 5, 4, dtype=F64)),
    referred(pf.global_avg_pool, normal(2, 3, 5, 4, dtype=F64)),
    referred(pf.global_max_pool, distinct(2, 3, 5, 4, dtype=F64)),
    referred(pf.global_lp_pool, normal(2, 3, 5, 4, dtype=F64), p=3.0),
]
