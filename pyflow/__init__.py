"""pyflow: a deep-learning compiler and runtime. Declare a graph, compile it, run it, train it."""

from pyflow import data, errors, optim, train
from pyflow.dims import Dim
from pyflow.dtypes import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from pyflow.gradients import gradients
from pyflow.graph import (
    Graph,
    Node,
    Value,
    control_dependencies,
    get_default_graph,
    name_scope,
    reset_default_graph,
)
from pyflow.opdef import Attr, Facts, OpDef, TensorType, define
from pyflow.ops import *  # noqa: F403
from pyflow.ops import __all__ as _op_names
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

__version__ = "0.1.0"

__all__ = [  # noqa: PLE0604
    "Attr",
    "CancelToken",
    "DType",
    "Dim",
    "Facts",
    "Graph",
    "InteractiveSession",
    "Node",
    "OpDef",
    "RunOptions",
    "Session",
    "SessionConfig",
    "State",
    "TensorType",
    "Value",
    "Variable",
    "bfloat16",
    "bool_",
    "complex64",
    "complex128",
    "constant",
    "control_dependencies",
    "data",
    "define",
    "errors",
    "float16",
    "float32",
    "float64",
    "get_default_graph",
    "get_include",
    "global_variables",
    "global_variables_initializer",
    "gradients",
    "group",
    "int8",
    "int16",
    "int32",
    "int64",
    "list_backends",
    "load_backend",
    "load_graph",
    "name_scope",
    "no_op",
    "optim",
    "parse_graph",
    "placeholder",
    "placeholder_with_default",
    "reset_default_graph",
    "set_random_seed",
    "train",
    "trainable_variables",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    *_op_names,
]
