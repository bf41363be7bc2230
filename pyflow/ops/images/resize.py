"""Resizing: axis by axis, a gather of the neighbours and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert, is_operand
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, FLOAT, INTS, NUMERIC, SIZES, Attr, call, choice
from pyflow.ops.arrays.indexing import gather, iota
from pyflow.ops.arrays.shape import reshape
from pyflow.ops.common import normalise_axis
from pyflow.ops.composite import GIVEN, as_number, composite, optional, present
from pyflow.ops.layers.adaptive import adaptive_avg_pool
from pyflow.ops.sizes import SHAPE, as_sizes

__all__ = ["interpolate", "resize"]

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES = ("stretch", "not_larger", "not_smaller")
REACH = {"linear": 1, "cubic": 2}
"""How far the kernel of a mode reaches, in elements of the smaller of both grids."""


def _numbers(value: Any) -> tuple[float | None, ...]:
    return tuple(None if entry is None else float(entry) for entry in value)


SCALES = Attr("scales", _numbers, lambda value: ((), ()))
"""A number per axis; None where the sizes say it."""


def _f64(value: Any) -> Value:
    result: Value = (
        call("cast", value, dtypes.float64)
        if isinstance(value, Value)
        else call("constant", float(value), dtypes.float64)
    )
    return result


def _coordinates(out: Size, have: Size, scale: Value, mode: str, roi: Sequence[Any]) -> tuple[Value, Value | None]:
    """(where each element of the result lies in the axis, whether that is outside: for tf_crop_and_resize)."""
    y = _f64(iota(out))
    size = _f64(as_number(have))
    whole = size * scale
    if mode == "asymmetric":
        return y / scale, None
    if mode == "align_corners":
        return call("where", whole == 1, 0, y * (size - 1) / call("where", whole == 1, 1, whole - 1)), None
    if mode == "tf_crop_and_resize":
        start, end = roi
        spread = y * ((end - start) * (size - 1)) / call("where", whole == 1, 1, whole - 1)
        x = call("where", whole == 1, 0.5 * (end - start) * (size - 1), spread) + start * (size - 1)
        return x, call("logical_or", x < 0, x > size - 1)
    centred = (y + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return call("where", whole == 1, -0.5, centred), None
    if mode == "half_pixel_symmetric":
        return centred + 0.5 * size * (1 - _f64(as_number(out)) / whole), None
    return centred, None


def _rounded(x: Value, rounding: str) -> Value:
    made = {
        "round_prefer_floor": lambda: call("ceil", x - 0.5),
        "round_prefer_ceil": lambda: call("floor", x + 0.5),
        "floor": lambda: call("floor", x),
        "ceil": lambda: call("ceil", x),
    }[rounding]()
    result: Value = call("cast", made, dtypes.int64)
    return result


def _kernel(distance: Value, mode: str, a: float) -> Value:
    """The weight of an element at ``distance`` >= 0."""
    if mode == "linear":
        result: Value = call("maximum", 1 - distance, 0)
        return result
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    result = call("where", distance <= 1, near, call("where", distance < 2, far, 0))
    return result


def _taps(have: Size, out: Size, scale: float | None, reach: int, antialias: bool) -> Size:
    """How many neighbours an element is made of."""
    if not antialias or (scale is not None and scale >= 1):
        return 2 * reach
    if scale is not None:
        return 2 * int(np.ceil(reach / scale))
    return dims.maximum(dims.mul(dims.ceildiv(dims.mul(have, reach), out), 2), 2 * reach)


def _weighted(x: Value, axis: int, at: Value, taps: Size, shrink: Any, exclude: bool, mode: str, a: float) -> Value:
    have = as_number(x.dims[axis])
    first = call("cast", call("floor", at), dtypes.int64)
    offsets = iota(taps) - (as_number(dims.floordiv(taps, 2)) - 1)
    places = reshape(first, (-1, 1)) + offsets
    weights = _kernel(call("abs", _f64(places) - reshape(at, (-1, 1))) * shrink, mode, a)
    inside = call("logical_and", places >= 0, places < have)
    if taps != 2 * REACH[mode]:
        weights = weights / call("sum", weights, (1,), True)
    if exclude:
        weights = call("where", inside, weights, 0)
        total = call("sum", weights, (1,), True)
        weights = weights / call("where", total == 0, 1, total)
    clamped = call("clip", places, 0, have - 1)
    tail = (1,) * (x.ndim - axis - 1)
    weights = call("cast", weights, x.dtype)
    if not isinstance(taps, int) or taps > 4:
        shaped = reshape(weights, (*weights.dims, *tail))
        result: Value = call("sum", gather(x, clamped, axis) * shaped, (axis + 1,))
        return result
    parts = [gather(x, clamped[:, i], axis) * reshape(weights[:, i], (-1, *tail)) for i in range(taps)]
    return sum(parts[1:], parts[0])


def _expand(
    x: Value,
    *run: Value,
    given: Sequence[str],
    axes: Sequence[int],
    sizes: Sequence[Size],
    scales: Sequence[float | None],
    mode: str,
    coordinates: str,
    rounding: str,
    cubic_coeff: float,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: float,
    roi: Sequence[float],
) -> Value:
    value = x if x.dtype.is_floating or mode == "nearest" else call("cast", x, dtypes.float64)
    factors, box = optional(given, run, "scales", "roi")
    for i, axis in enumerate(axes):
        have, out, scale = value.dims[axis], sizes[i], scales[i]
        window: Sequence[Any] = roi[2 * i : 2 * i + 2] if roi else (0.0, 1.0)
        if not run and have == out and scale in (None, 1.0) and tuple(window) == (0.0, 1.0):
            continue
        window = window if box is None else (box[2 * i], box[2 * i + 1])
        if scale is None and factors is None and isinstance(have, int) and isinstance(out, int) and have:
            scale = out / have
        ratio = _f64(as_number(out)) / _f64(as_number(have)) if scale is None and factors is None else None
        factor = ratio if ratio is not None else _f64(scale) if factors is None else factors[i]
        at, outside = _coordinates(out, have, factor, coordinates, window)
        if mode == "nearest":
            value = gather(value, call("clip", _rounded(at, rounding), 0, as_number(have) - 1), axis)
        else:
            taps = _taps(have, out, scale, REACH[mode], antialias)
            shrink = call("minimum", factor, 1) if antialias else 1.0
            value = _weighted(value, axis, at, taps, shrink, exclude_outside, mode, cubic_coeff)
        if outside is not None:
            mask = reshape(outside, (-1, *(1,) * (x.ndim - axis - 1)))
            value = call("where", mask, call("constant", extrapolation, value.dtype), value)
    result: Value = value if value.dtype is x.dtype else call("cast", value, x.dtype)
    return result


def _axis_matrix(
    have: int, out: int, scale: float | None, attrs: Any, window: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """(weights [out, have], whether an element lies outside [out]) of one axis."""
    s = out / have if scale is None else scale
    whole, y = s * have, np.arange(out, dtype=np.float64)
    mode, coordinates = attrs["mode"], attrs["coordinates"]
    x = (y + 0.5) / s - 0.5
    if coordinates == "asymmetric":
        x = y / s
    elif coordinates == "align_corners":
        x = np.zeros(out) if whole == 1 else y * (have - 1) / (whole - 1)
    elif coordinates == "half_pixel_symmetric":
        x = x + have / 2 * (1 - out / whole)
    elif coordinates == "pytorch_half_pixel" and whole == 1:
        x = np.full(out, -0.5)
    elif coordinates == "tf_crop_and_resize":
        a, b = window
        x = np.full(out, 0.5 * (b - a) * (have - 1)) if whole == 1 else y * (b - a) * (have - 1) / (whole - 1)
        x = x + a * (have - 1)
    outside = ((x < 0) | (x > have - 1)) & (coordinates == "tf_crop_and_resize")
    matrix = np.zeros((out, have))
    shrink = min(s, 1.0) if attrs["antialias"] else 1.0
    for i, centre in enumerate(x):
        if mode == "nearest":
            low, part = int(np.floor(centre)), centre - np.floor(centre)
            up = {
                "floor": False,
                "ceil": part > 0,
                "round_prefer_floor": part > 0.5,
                "round_prefer_ceil": part >= 0.5,
            }[attrs["rounding"]]
            matrix[i, np.clip(low + up, 0, have - 1)] = 1
            continue
        reach = REACH[mode] / shrink
        places = np.arange(np.floor(centre - reach), np.ceil(centre + reach) + 1).astype(np.int64)
        distance = np.abs(places - centre) * shrink
        a = attrs["cubic_coeff"]
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4) * (distance < 2)
        cubic = np.where(distance <= 1, (a + 2) * distance**3 - (a + 3) * distance**2 + 1, far)
        weights = np.maximum(1 - distance, 0) if mode == "linear" else cubic
        if attrs["exclude_outside"]:
            weights = weights * ((places >= 0) & (places < have))
        if attrs["exclude_outside"] or attrs["antialias"]:
            weights = weights / weights.sum()
        np.add.at(matrix[i], np.clip(places, 0, have - 1), weights)
    return matrix, outside


def _ref(
    x: np.ndarray,
    *run: np.ndarray,
    given: Any,
    axes: Any,
    sizes: Any,
    scales: Any,
    roi: Any,
    extrapolation: float,
    **attrs: Any,
) -> Any:
    factors, box = optional(given, run, "scales", "roi")
    scales = scales if factors is None else factors.tolist()
    roi = roi if box is None else box.tolist()
    value = x if attrs["mode"] == "nearest" else x.astype(np.float64)
    for i, axis in enumerate(axes):
        window = roi[2 * i : 2 * i + 2] if roi else (0.0, 1.0)
        if x.shape[axis] == sizes[i] and scales[i] in (None, 1.0) and tuple(window) == (0.0, 1.0):
            continue
        matrix, outside = _axis_matrix(x.shape[axis], sizes[i], scales[i], attrs, window)
        moved = np.moveaxis(value, axis, -1)
        picked = moved[..., matrix.argmax(1)] if attrs["mode"] == "nearest" else moved @ matrix.T
        value = np.moveaxis(np.where(outside, np.asarray(extrapolation, picked.dtype), picked), -1, axis)
    if x.dtype.kind in "iu" and value.dtype.kind == "f":
        limits = np.iinfo(x.dtype)
        value = np.clip(np.trunc(value), limits.min, limits.max)
    return value.astype(x.dtype)


def _canonical(x: Value, *run: Value, axes: Any, sizes: Any, scales: Any, roi: Any, **rest: Any) -> dict[str, Any]:
    settled = tuple(normalise_axis(axis, x.ndim, f"x: {x.type}") for axis in axes)
    if len(set(settled)) != len(settled) or not len(sizes) == len(scales) == len(settled):
        raise InvalidArgumentError(f"expected different axes of x: {x.type} with a size and a scale each, got {axes}")
    if any(value.ndim != 1 for value in run):
        raise InvalidArgumentError(f"expected scales and roi of one axis, got {run[0].type}")
    if roi and len(roi) != 2 * len(settled):
        raise InvalidArgumentError(f"expected a roi of {2 * len(settled)} numbers, got {len(roi)}")
    if rest["antialias"] and rest["mode"] == "nearest":
        raise InvalidArgumentError("antialias needs mode 'linear' or 'cubic', got 'nearest'")
    for axis, size in zip(settled, sizes, strict=True):
        if x.dims[axis] == 0 and size != 0:
            raise InvalidArgumentError(f"axis {axis} of x: {x.type} has no elements to resize to {size}")
    return {"axes": settled}


_resize = composite(
    "resize",
    "x:T, *run:R",
    attrs={
        "given": GIVEN,
        "axes": INTS,
        "sizes": SIZES,
        "scales": SCALES,
        "mode": choice(*MODES),
        "coordinates": choice(*COORDINATES),
        "rounding": choice(*ROUNDINGS),
        "cubic_coeff": FLOAT,
        "exclude_outside": BOOLEAN,
        "antialias": BOOLEAN,
        "extrapolation": FLOAT,
        "roi": SCALES,
    },
    kinds={"T": NUMERIC, "R": frozenset({dtypes.float64})},
    canonical=_canonical,
    expand=_expand,
    ref=_ref,
    onnx="Resize",
    doc="``x`` with other sizes; see :func:`pyflow.resize`.",
)


def scaled_size(size: Size, scale: float) -> Size:
    """``floor(size * scale)``."""
    if isinstance(size, int):
        return int(size * scale)
    ratio = Fraction(scale).limit_denominator(4096)
    return dims.floordiv(dims.mul(size, ratio.numerator), ratio.denominator)


def _kept_ratio(have: Sequence[Size], wanted: Sequence[Size], policy: str) -> tuple[list[Size], Any]:
    """(sizes, the one scale of each axis) that do not go beyond, or below, those wanted."""
    if all(isinstance(size, int) for size in (*have, *wanted)):
        ratios = [want / size for want, size in zip(wanted, have, strict=True)]  # type: ignore[operator]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        return [int(ratio * size + 0.5) for size in have], [ratio] * len(have)  # type: ignore[operator]
    own = call("stack", *[_f64(as_number(size)) for size in have])
    quotients = call("stack", *[_f64(as_number(size)) for size in wanted]) / own
    common = call("min" if policy == "not_larger" else "max", quotients)
    whole = call("cast", call("floor", own * common + 0.5), dtypes.int64)
    return list(as_sizes(whole)), call("broadcast_to", common, (len(have),))


def resize(
    x: Any,
    sizes: Any = None,
    scales: Any = None,
    mode: str = "linear",
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    extrapolation_value: float = 0.0,
    roi: Any = None,
    keep_aspect_ratio_policy: str = "stretch",
    *,
    name: str | None = None,
) -> Value:
    """``x`` with other sizes along ``axes`` (default: all), as ONNX Resize defines it.

    x: any shape, numeric; integers are computed in float64 and rounded towards 0. Give either sizes (ints, Dims, or an
        integer value) or scales (numbers, or a 1-d value; a size becomes ``floor(size * scale)``), one per axis.
    mode: "nearest" (with ``nearest_mode``), "linear" or "cubic" (``cubic_coeff_a``). antialias: the kernel is stretched
        where an axis shrinks. exclude_outside: weights beyond the border are 0 and the others scaled to a sum of 1.
    coordinate_transformation_mode: "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric" or "tf_crop_and_resize" (``roi``, numbers or a 1-d value: the start of every axis, then the ends,
        as parts of the size; outside of x stands ``extrapolation_value``).
    keep_aspect_ratio_policy: "stretch", or "not_larger" or "not_smaller" than sizes, with one scale for all axes.
    Raises InvalidArgumentError for axes, sizes or scales that do not fit.
    """
    value = convert(x)
    chosen = list(range(value.ndim)) if axes is None else [normalise_axis(axis, value.ndim) for axis in axes]
    if (sizes is None) == (scales is None) or keep_aspect_ratio_policy not in POLICIES:
        what = f"expected sizes or scales, and a policy of {POLICIES}, got {keep_aspect_ratio_policy!r}"
        raise InvalidArgumentError(message("resize", what, user_origin()))
    have = [value.dims[axis] for axis in chosen]
    factors: Any = [None] * len(chosen)
    if scales is not None and is_operand(scales):
        factors = call("cast", convert(scales), dtypes.float64)
        own = call("stack", *[_f64(as_number(size)) for size in have])
        wanted = list(as_sizes(call("cast", call("floor", own * factors), dtypes.int64)))
    elif scales is not None:
        factors = [float(scale) for scale in scales]
        if len(factors) != len(chosen) or not all(scale > 0 for scale in factors):
            what = f"expected {len(chosen)} scales above 0, got {tuple(scales)}"
            raise InvalidArgumentError(message("resize", what, user_origin()))
        wanted = [scaled_size(size, scale) for size, scale in zip(have, factors, strict=True)]
    else:
        wanted = list(SHAPE.normalise(sizes))
        if len(wanted) == len(chosen) and keep_aspect_ratio_policy != "stretch":
            wanted, factors = _kept_ratio(have, wanted, keep_aspect_ratio_policy)
    box: Any = []
    if roi is not None and coordinate_transformation_mode == "tf_crop_and_resize":
        half = len(chosen)
        order = [i + part for i in range(half) for part in (0, half)]
        entries = call("cast", convert(roi), dtypes.float64) if is_operand(roi) else [float(entry) for entry in roi]
        box = call("gather", entries, order) if is_operand(roi) else [entries[i] for i in order if i < len(entries)]
    given, run = present(
        scales=factors if isinstance(factors, Value) else None, roi=box if isinstance(box, Value) else None
    )
    result: Value = _resize(
        value,
        *run,
        given=given,
        axes=chosen,
        sizes=wanted,
        scales=[None] * len(chosen) if isinstance(factors, Value) else factors,
        mode=mode,
        coordinates=coordinate_transformation_mode,
        rounding=nearest_mode,
        cubic_coeff=cubic_coeff_a,
        exclude_outside=exclude_outside,
        antialias=antialias,
        extrapolation=extrapolation_value,
        roi=[] if isinstance(box, Value) else box,
        name=name,
    )
    return result


def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
    *,
    name: str | None = None,
) -> Value:
    """``x`` [N, C, *sizes] with other spatial sizes, as torch.nn.functional.interpolate.

    size or scale_factor: one, or one per spatial axis. mode: "nearest", "nearest-exact", "linear", "bilinear",
    "trilinear", "bicubic" or "area". align_corners, antialias: for the linear and cubic modes.
    """
    value = convert(x)
    axes = tuple(range(2, value.ndim))
    kinds = {"linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
    if mode not in (*kinds, "nearest", "nearest-exact", "area") or (size is None) == (scale_factor is None):
        what = f"expected a mode of torch, and size or scale_factor, got mode {mode!r}"
        raise InvalidArgumentError(message("interpolate", what, user_origin()))

    def each(given: Any) -> list[Any]:
        return list(given) if isinstance(given, (list, tuple)) else [given] * len(axes)

    sizes = None if size is None else each(size)
    scales = None if scale_factor is None else each(scale_factor)
    if scales is not None and (recompute_scale_factor or mode == "area"):
        sizes = [scaled_size(value.dims[axis], scale) for axis, scale in zip(axes, scales, strict=True)]
        scales = None
    if mode == "area":
        return adaptive_avg_pool(value, sizes, name=name)  # type: ignore[no-any-return]
    if mode in kinds:
        settings: dict[str, Any] = {
            "mode": kinds[mode],
            "coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel",
            "antialias": antialias,
            "exclude_outside": antialias,
            "cubic_coeff_a": -0.5 if antialias else -0.75,
        }
    elif mode == "nearest":
        settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        settings = {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}
    return resize(value, sizes, scales, axes=axes, name=name, **settings)
