"""``narrowed``: the end of what the place pass widened. A cast, told apart from those that users write."""

from __future__ import annotations

from pyflow.opdef import TensorType, define
from pyflow.ops.elementwise.casting import cast_settings

define(
    "narrowed",
    "x:T",
    **{**cast_settings(saturate=False), "infer": lambda x, dtype: TensorType(dtype, x.dims)},
    scalar="cast",
    doc="""``x``, computed in a wider dtype, in the ``dtype`` of its op.""",
)
