"""Names by which users of NumPy, PyTorch and TensorFlow know functions that have another one here."""

from __future__ import annotations

from pyflow.ops.arrays.arranging import array_split as tensor_split
from pyflow.ops.arrays.arranging import moveaxis as movedim
from pyflow.ops.arrays.arranging import repeat as repeat_interleave
from pyflow.ops.arrays.arranging import swapaxes as swapdims
from pyflow.ops.arrays.arranging import unstack as unbind
from pyflow.ops.arrays.arranging import vstack as row_stack
from pyflow.ops.arrays.joining import concat as cat
from pyflow.ops.arrays.scatter import masked_select as boolean_mask
from pyflow.ops.arrays.scatter import scatter_nd as tensor_scatter_nd_update
from pyflow.ops.arrays.scatter import take_along_axis as take_along_dim
from pyflow.ops.arrays.shape import flip as reverse
from pyflow.ops.arrays.shape import transpose as permute
from pyflow.ops.arrays.sorting import top_k as topk
from pyflow.ops.elementwise.activation import sigmoid as expit
from pyflow.ops.elementwise.arithmetic import abs as fabs
from pyflow.ops.elementwise.arithmetic import clip as clamp
from pyflow.ops.elementwise.arithmetic import clip as clip_by_value
from pyflow.ops.elementwise.arithmetic import divide as div
from pyflow.ops.elementwise.arithmetic import identity as clone
from pyflow.ops.elementwise.arithmetic import identity as copy
from pyflow.ops.elementwise.arithmetic import identity as positive
from pyflow.ops.elementwise.arithmetic import mod as floormod
from pyflow.ops.elementwise.arithmetic import multiply as mul
from pyflow.ops.elementwise.arithmetic import negative as neg
from pyflow.ops.elementwise.arithmetic import pow as power
from pyflow.ops.elementwise.arithmetic import round as around
from pyflow.ops.elementwise.arithmetic import round as rint
from pyflow.ops.elementwise.arithmetic import stop_gradient as detach
from pyflow.ops.elementwise.arithmetic import subtract as sub
from pyflow.ops.elementwise.bitwise import invert as bitwise_invert
from pyflow.ops.elementwise.casting import cast as astype
from pyflow.ops.elementwise.complex import conj as conjugate
from pyflow.ops.elementwise.logic import equal as eq
from pyflow.ops.elementwise.logic import greater as gt
from pyflow.ops.elementwise.logic import greater_equal as ge
from pyflow.ops.elementwise.logic import less as lt
from pyflow.ops.elementwise.logic import less_equal as le
from pyflow.ops.elementwise.logic import not_equal as ne
from pyflow.ops.elementwise.special import lgamma as gammaln
from pyflow.ops.linear.einsum import matvec as mv
from pyflow.ops.linear.products import matmul as mm
from pyflow.ops.randoms.distributions import random_permutation as randperm
from pyflow.ops.reductions.reduce import all as reduce_all
from pyflow.ops.reductions.reduce import any as reduce_any
from pyflow.ops.reductions.reduce import max as reduce_max
from pyflow.ops.reductions.reduce import mean as reduce_mean
from pyflow.ops.reductions.reduce import min as reduce_min
from pyflow.ops.reductions.reduce import prod as reduce_prod
from pyflow.ops.reductions.reduce import sum as reduce_sum
from pyflow.ops.reductions.statistics import logsumexp as reduce_logsumexp
from pyflow.ops.reductions.statistics import std as reduce_std
from pyflow.ops.reductions.statistics import var as reduce_variance
from pyflow.ops.sizes import size as numel

__all__ = [
    "around",
    "astype",
    "bitwise_invert",
    "boolean_mask",
    "cat",
    "clamp",
    "clip_by_value",
    "clone",
    "conjugate",
    "copy",
    "detach",
    "div",
    "eq",
    "expit",
    "fabs",
    "floormod",
    "gammaln",
    "ge",
    "gt",
    "le",
    "lt",
    "mm",
    "movedim",
    "mul",
    "mv",
    "ne",
    "neg",
    "numel",
    "permute",
    "positive",
    "power",
    "randperm",
    "reduce_all",
    "reduce_any",
    "reduce_logsumexp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_std",
    "reduce_sum",
    "reduce_variance",
    "repeat_interleave",
    "reverse",
    "rint",
    "row_stack",
    "sub",
    "swapdims",
    "take_along_dim",
    "tensor_scatter_nd_update",
    "tensor_split",
    "topk",
    "unbind",
]
