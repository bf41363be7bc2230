"""Which file of csrc/backends/cpu holds a kernel: what a generated program names to have it linked."""

from __future__ import annotations

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


def row_of(step: Step) -> str | None:
    """The row that holds all that a step may need, None if that is the one in its family's table."""
    if step.kernel not in FLOAT32 or step.inputs[0].dtype is not dtypes.float32:
        return None
    groups = step.ints[6] if step.kernel in ("conv2d", "conv2d_packed") else None
    return f"{step.kernel}_one_group_float32" if groups == 1 else f"{step.kernel}_float32"
