"""pyflow: a deep-learning compiler and runtime. Declare a graph, compile it, run it, train it."""
# ruff: noqa: F403

from difflib import get_close_matches
from importlib import import_module
from typing import Any

try:
    from pyflow import _core as _core
except ImportError as _error:
    raise ImportError(
        f"the pyflow in {__path__[0]} has no native module for this Python; if that is a checkout, "
        "run Python from another folder, or build in place with: pip install -e ."
    ) from _error

from pyflow import data, eager, errors, ops, optim, train
from pyflow.dims import Dim
from pyflow.dtypes import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float4_e2m1fn,
    float8_e4m3fn,
    float8_e4m3fnuz,
    float8_e5m2,
    float8_e5m2fnuz,
    float8_e8m0fnu,
    float16,
    float32,
    float64,
    int2,
    int4,
    int8,
    int16,
    int32,
    int64,
    string,
    uint2,
    uint4,
    uint8,
    uint16,
    uint32,
    uint64,
    variant,
)
from pyflow.dtypes import bool_ as bool
from pyflow.eager import (
    GradientTape,
    Tensor,
    detect_anomaly,
    enable_grad,
    from_dlpack,
    from_numpy,
    function,
    grad,
    is_grad_enabled,
    no_grad,
    tensor,
)
from pyflow.flow import cond, map, scan, sequence_map, switch_case, while_loop
from pyflow.flow.alignment import ctc_loss
from pyflow.flow.recurrent import gru, lstm, rnn
from pyflow.gradients import gradients
from pyflow.graph import Graph, Node, Value, control_dependencies, get_default_graph, name_scope, reset_default_graph
from pyflow.opdef import Attr, Facts, OpDef, TensorType, define
from pyflow.ops.arrays.arranging import *
from pyflow.ops.arrays.creation import *
from pyflow.ops.arrays.editing import *
from pyflow.ops.arrays.indexing import *
from pyflow.ops.arrays.joining import *
from pyflow.ops.arrays.padding import *
from pyflow.ops.arrays.scatter import *
from pyflow.ops.arrays.shape import *
from pyflow.ops.arrays.slicing import *
from pyflow.ops.arrays.sorting import *
from pyflow.ops.elementwise.activation import *
from pyflow.ops.elementwise.activation_variants import *
from pyflow.ops.elementwise.arithmetic import *
from pyflow.ops.elementwise.bitcast import *
from pyflow.ops.elementwise.bitwise import *
from pyflow.ops.elementwise.casting import *
from pyflow.ops.elementwise.complex import *
from pyflow.ops.elementwise.floating import *
from pyflow.ops.elementwise.logic import *
from pyflow.ops.elementwise.normal import *
from pyflow.ops.elementwise.special import *
from pyflow.ops.elementwise.trigonometry import *
from pyflow.ops.images.detection import *
from pyflow.ops.images.pictures import *
from pyflow.ops.images.pixels import *
from pyflow.ops.images.resize import *
from pyflow.ops.images.roi import *
from pyflow.ops.images.sampling import *
from pyflow.ops.layers.adaptive import *
from pyflow.ops.layers.attention import *
from pyflow.ops.layers.conv import *
from pyflow.ops.layers.conv_nd import *
from pyflow.ops.layers.embedding import *
from pyflow.ops.layers.loss import *
from pyflow.ops.layers.losses import *
from pyflow.ops.layers.margins import *
from pyflow.ops.layers.normalization import *
from pyflow.ops.layers.norms import *
from pyflow.ops.layers.pool import *
from pyflow.ops.layers.pool_nd import *
from pyflow.ops.layers.quantize import *
from pyflow.ops.layers.sliding import *
from pyflow.ops.linear import fft, linalg
from pyflow.ops.linear.einsum import *
from pyflow.ops.linear.matrices import *
from pyflow.ops.linear.products import *
from pyflow.ops.linear.signal_windows import *
from pyflow.ops.names import *
from pyflow.ops.objects import strings
from pyflow.ops.objects.callback import *
from pyflow.ops.objects.debug import *
from pyflow.ops.objects.sequences import *
from pyflow.ops.randoms.distributions import *
from pyflow.ops.randoms.draws import *
from pyflow.ops.randoms.families import *
from pyflow.ops.reductions.cumulative import *
from pyflow.ops.reductions.reduce import *
from pyflow.ops.reductions.segments import *
from pyflow.ops.reductions.statistics import *
from pyflow.ops.sizes import *
from pyflow.ops.sources import constant, placeholder, placeholder_with_default
from pyflow.ops.state import (
    Variable,
    global_variables,
    global_variables_initializer,
    group,
    no_op,
    set_random_seed,
    trainable_variables,
)
from pyflow.printer import parse_graph
from pyflow.runtime.backends import get_include, list_backends, load_backend
from pyflow.runtime.config import CancelToken, RunOptions, SessionConfig
from pyflow.runtime.saved_graph import load_graph
from pyflow.runtime.session import InteractiveSession, Session
from pyflow.runtime.state import State

eager.install(globals(), ops.NAMES, (fft, linalg, strings))

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imported when they are first used: ``pf.nn``, ``pf.aot``, and ``pf.onnx``, which needs the onnx package."""
    if name in ("nn", "aot", "onnx"):
        return import_module(f"pyflow.{name}")
    known = {"array": "tensor, or constant in a graph", "asarray": "tensor, or constant in a graph"}
    close = known.get(name) or next(iter(get_close_matches(name, __all__, 1)), "")
    hint = f"; did you mean {close}?" if close else ""
    raise AttributeError(f"module 'pyflow' has no attribute {name!r}{hint}")


__all__ = [
    "Attr",
    "CancelToken",
    "DType",
    "Dim",
    "Facts",
    "GradientTape",
    "Graph",
    "InteractiveSession",
    "Node",
    "OpDef",
    "RunOptions",
    "Session",
    "SessionConfig",
    "State",
    "Tensor",
    "TensorType",
    "Value",
    "Variable",
    "bfloat16",
    "bool",
    "bool_",
    "complex64",
    "complex128",
    "cond",
    "constant",
    "control_dependencies",
    "ctc_loss",
    "data",
    "define",
    "detect_anomaly",
    "eager",
    "enable_grad",
    "errors",
    "fft",
    "float4_e2m1fn",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "function",
    "get_default_graph",
    "get_include",
    "global_variables",
    "global_variables_initializer",
    "grad",
    "gradients",
    "group",
    "gru",
    "int2",
    "int4",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "linalg",
    "list_backends",
    "load_backend",
    "load_graph",
    "lstm",
    "map",
    "name_scope",
    "no_grad",
    "no_op",
    "optim",
    "parse_graph",
    "placeholder",
    "placeholder_with_default",
    "reset_default_graph",
    "rnn",
    "scan",
    "sequence_map",
    "set_random_seed",
    "string",
    "strings",
    "switch_case",
    "tensor",
    "train",
    "trainable_variables",
    "uint2",
    "uint4",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "variant",
    "while_loop",
]
__all__ += ops.NAMES
