"""Encoded images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, UnimplementedError, message
from pyflow.graph import Node, Value
from pyflow.opdef import SIZES, TensorType, choice, define
from pyflow.ops.common import no_gradient

__all__ = ["decode_image"]

_MODES = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}


def _canonical(x: Value, *, pixel_format: str, size: tuple[Size, ...]) -> Mapping[str, Any]:
    if x.ndim != 1:
        raise InvalidArgumentError(f"expected the bytes of a file, [n], got x: {x.type}")
    return {"size": size or tuple(dims.fresh_late_symbol("decode_image") for _ in range(2))}


def _infer(x: Value, *, pixel_format: str, size: tuple[Size, ...]) -> TensorType:
    return TensorType(dtypes.uint8, (*size, 1 if pixel_format == "Grayscale" else 3))


def _ref(x: np.ndarray, *, pixel_format: str, size: tuple[Size, ...] = ()) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        what = "images are decoded by the Pillow package"
        raise UnimplementedError(message("decode_image", what, hint="pip install pillow")) from None
    try:
        picture = Image.open(io.BytesIO(x.tobytes())).convert(_MODES[pixel_format])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidArgumentError(f"{x.size} bytes are no image that can be read: {error}") from None
    pixels = np.asarray(picture)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(pixels[:, :, ::-1] if pixel_format == "BGR" else pixels)


def _defines(node: Node) -> tuple[str, ...]:
    return tuple(name for size in node.attrs["size"] for name in dims.late_names(size))


decode_image = define(
    "decode_image",
    "x:uint8",
    attrs={"pixel_format": choice(*_MODES), "size": SIZES},
    defaults={"pixel_format": "RGB", "size": ()},
    canonical=_canonical,
    infer=_infer,
    ref=_ref,
    defines=_defines,
    host=True,
    fallible=True,
    vjp=no_gradient,
    onnx="ImageDecoder",
    doc="""The pixels of an encoded image: uint8[height, width, channels], whose sizes the run finds out.

    x: uint8[n], the bytes of a PNG, JPEG, BMP, TIFF, WebP ... file, whatever the Pillow package reads, which is needed.
    pixel_format: "RGB", "BGR" or "Grayscale" (one channel). Leave ``size`` out. The run fails with
    InvalidArgumentError for bytes that are no image.
    """,
)
