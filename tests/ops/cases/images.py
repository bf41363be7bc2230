"""Rows of resizing, sampling and rearranging images."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import FLOATS, Case, distinct, integers, normal, referred, uniform

F64 = np.float64


def _doubled(x: np.ndarray, **_: Any) -> np.ndarray:
    return x.repeat(2, 2).repeat(2, 3)


def _shuffled(x: np.ndarray, upscale_factor: int) -> np.ndarray:
    n, c, h, w = x.shape
    r = upscale_factor
    return x.reshape(n, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // r**2, h * r, w * r)


_X = distinct(2, 3, 5, 4, dtype=F64)
_BOXES = np.array([[0.5, 0.2, 6.3, 5.1], [-2, 1, 3, 7.0], [2, 2, 2.3, 2.4]])
_IMAGES = np.array([0, 1, 1])
_MAP = normal(2, 3, 8, 7, dtype=F64)

CASES = [
    *(
        Case(pf.resize, (normal(2, 3, 4, 5, dtype=d),), {"scales": (1, 1, 2, 2), "mode": "nearest"}, _doubled)
        for d in FLOATS
    ),
    *(
        referred(pf.resize, _X, sizes=size, axes=(2, 3), mode=mode, coordinate_transformation_mode=coordinates)
        for size in ((7, 9), (3, 2))
        for mode in ("nearest", "linear", "cubic")
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
    ),
    *(
        referred(pf.resize, _X, scales=(1.7, 0.6), axes=(3, 2), mode=mode, **more)
        for mode, more in (
            ("linear", {"antialias": True}),
            ("cubic", {"antialias": True, "exclude_outside": True, "cubic_coeff_a": -0.5}),
            ("cubic", {"exclude_outside": True}),
            ("linear", {"coordinate_transformation_mode": "half_pixel_symmetric"}),
            ("nearest", {"nearest_mode": "ceil"}),
            ("nearest", {"nearest_mode": "round_prefer_ceil"}),
            ("nearest", {"nearest_mode": "floor"}),
        )
    ),
    referred(
        pf.resize,
        _X,
        sizes=(3, 6),
        axes=(2, 3),
        coordinate_transformation_mode="tf_crop_and_resize",
        roi=(0.2, -0.3, 0.9, 1.4),
        extrapolation_value=10.0,
    ),
    referred(
        pf.resize,
        _X,
        sizes=(7, 9),
        axes=(2, 3),
        keep_aspect_ratio_policy="not_larger",
        _symbolic=False,
        _label="policy",
    ),
    referred(pf.resize, integers(0, 99, 2, 3, 4, 5, dtype=np.int32), scales=(1, 1, 1.5, 2)),
    referred(pf.interpolate, _X, size=(7, 3), mode="bicubic", antialias=True),
    referred(pf.interpolate, _X, scale_factor=1.5, mode="nearest-exact"),
    referred(pf.interpolate, _X, size=(2, 3), mode="area"),
    *(
        referred(
            "grid_sample",
            _X,
            uniform(-1.3, 1.3, 2, 3, 4, 2, dtype=F64),
            mode=mode,
            padding_mode=padding,
            align_corners=align,
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for align in (False, True)
        if mode != "bicubic" or not align
    ),
    referred("grid_sample", normal(2, 3, 4, 3, 5, dtype=F64), uniform(-1.3, 1.3, 2, 3, 2, 4, 3, dtype=F64)),
    referred("affine_grid", normal(2, 2, 3, dtype=F64), size=(2, 3, 4, 5)),
    referred("affine_grid", normal(2, 3, 4, dtype=F64), size=(2, 3, 4, 5, 3), align_corners=True),
    *(
        referred(
            pf.roi_align,
            _MAP,
            _BOXES,
            _IMAGES,
            constant=(1,),
            output_size=(3, 2),
            spatial_scale=0.8,
            _gradient=mode == "avg",
            **more,
        )
        for mode in ("avg", "max")
        for more in (
            {"mode": mode, "sampling_ratio": 2},
            {"mode": mode},
            {"mode": mode, "sampling_ratio": 2, "aligned": False},
        )
    ),
    referred("roi_pool", _MAP, _BOXES, _IMAGES, constant=(1,), output_size=(3, 2), spatial_scale=0.8),
    referred(
        pf.deform_conv2d,
        normal(2, 4, 6, 7, dtype=F64),
        normal(2, 36, 3, 4, dtype=F64),
        normal(4, 2, 3, 3, dtype=F64),
        stride=2,
        padding=1,
        groups=2,
        offset_groups=2,
    ),
    Case(pf.pixel_shuffle, (normal(2, 12, 3, 4, dtype=F64),), {"upscale_factor": 2}, _shuffled),
    *(
        referred(op, normal(2, 8, 4, 6, dtype=F64), block_size=2, mode=mode)
        for op in ("depth_to_space", "space_to_depth")
        for mode in ("DCR", "CRD")
    ),
    referred(pf.pixel_unshuffle, normal(2, 3, 4, 6, dtype=F64), downscale_factor=2),
    referred(pf.channel_shuffle, normal(2, 6, 3, 4, dtype=F64), groups=3),
    referred(pf.center_crop_pad, normal(5, 4, 7, dtype=F64), shape=(8, 4), axes=(0, 2)),
]
