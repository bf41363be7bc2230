"""Which file of csrc/backends/cpu holds a kernel: what a generated program names to have it linked."""

from __future__ import annotations

from collections.abc import Iterable

from pyflow import dtypes
from pyflow.plan import Step

ISAS = ("portable", "avx2", "avx512")
"""In the order of a generated program's tables."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "argreduce": ("argmax", "argmin"),
    "assert": ("assert",),
    "attention": ("attend",),
    "conv": ("conv2d", "conv2d_pack", "conv2d_packed"),
    "conv_grad": ("conv2d_input_grad", "conv2d_filter_grad"),
    "copy": ("copy",),
    "cumulate": ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "linear_recurrence"),
    "elementwise": ("elementwise",),
    "expand": ("expand_depthwise", "expand_depthwise_project"),
    "fill": ("iota", "sizes", "late_sizes", "define_sizes", "check_sizes"),
    "gather": ("gather", "scatter_add"),
    "matmul": ("matmul", "matmul_pack", "matmul_packed"),
    "nonzero": ("nonzero",),
    "norm": ("layer_norm",),
    "pad": ("pad",),
    "pool": ("max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad"),
    "random": ("random_uniform", "random_normal", "random_integers"),
    "reduce": (
        "reduce_sum",
        "reduce_prod",
        "reduce_mean",
        "reduce_max",
        "reduce_min",
        "reduce_any",
        "reduce_all",
    ),
    "rows": ("put_row",),
    "scatter": ("gather_elements", "gather_nd", "scatter_elements", "scatter_nd"),
    "softmax": ("softmax", "log_softmax"),
    "sort": ("sort", "searchsorted"),
    "winograd": ("winograd_pack", "conv2d_winograd"),
}
FLOAT32 = frozenset(
    """
    attend avg_pool2d avg_pool2d_grad conv2d conv2d_filter_grad conv2d_input_grad conv2d_pack conv2d_packed copy
    layer_norm log_softmax matmul matmul_pack matmul_packed max_pool2d max_pool2d_grad reduce_max reduce_mean reduce_min
    reduce_prod reduce_sum softmax
    """.split()  # noqa: SIM905
)
"""Kernels that have a row for float32 alone (csrc/backends/cpu/kernels.h)."""
FAMILY_OF: dict[str, str] = {kernel: family for family, kernels in FAMILIES.items() for kernel in kernels}


_MULTIPLYING = frozenset(
    kernel
    for family in ("attention", "conv", "conv_grad", "expand", "matmul", "winograd")
    for kernel in FAMILIES[family]
)
"""Kernels with products by register tiles (csrc/backends/cpu/gemm.h)."""


def row_of(step: Step, narrow: bool) -> str | None:
    """The row that holds all that a step may need, None if that is the one in its family's table; ``narrow``: are the
    steps that are linked with it?"""
    if step.kernel not in FLOAT32 or step.inputs[0].dtype is not dtypes.float32:
        return None
    if step.kernel in ("conv2d", "conv2d_packed") and step.ints[6] == 1:
        return f"{step.kernel}_one_group_float32"
    if step.kernel == "matmul_packed" and narrow:
        return "matmul_packed_narrow_float32"
    return f"{step.kernel}_float32"


def all_narrow(steps: Iterable[Step]) -> bool:
    """Has every product a packed operand of two panels at most, and a left one with adjacent columns? Then tiles of
    other widths and the packing of left operands need not be linked."""
    products = [step for step in steps if step.kernel in _MULTIPLYING and step.kernel != "matmul_pack"]
    return all(
        step.kernel == "matmul_packed"
        and step.inputs[0].dtype is dtypes.float32
        and 1 in (step.inputs[0].strides[-1], step.inputs[0].dims[-1])
        and step.inputs[1].dims[-3] in (1, 2)
        for step in products
    )
