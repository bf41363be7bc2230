"""``narrowed``: the end of what the place pass widened. A cast, told apart from those that users write."""

from __future__ import annotations

from pyflow.opdef import define
from pyflow.ops.math import cast_settings

define(
    "narrowed",
    "x:T",
    **cast_settings(saturate=False),
    scalar="cast",
    doc="""``x``, computed in a wider dtype, in the ``dtype`` of its op.""",
)
