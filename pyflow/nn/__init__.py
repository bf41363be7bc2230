"""Modules: layers, losses and what holds them, with PyTorch's names, so that its weights load. See docs/nn.md."""
# ruff: noqa: F403

from pyflow.nn import (
    activation,
    attention,
    containers,
    conv,
    dropout,
    embedding,
    images,
    init,
    linear,
    loss,
    norm,
    pool,
    recurrent,
    transformer,
    utils,
)
from pyflow.nn.activation import *
from pyflow.nn.attention import *
from pyflow.nn.containers import *
from pyflow.nn.conv import *
from pyflow.nn.dropout import *
from pyflow.nn.embedding import *
from pyflow.nn.images import *
from pyflow.nn.linear import *
from pyflow.nn.loss import *
from pyflow.nn.module import Module
from pyflow.nn.norm import *
from pyflow.nn.parameter import Parameter
from pyflow.nn.pool import *
from pyflow.nn.recurrent import *
from pyflow.nn.state import load_file, save_file
from pyflow.nn.transformer import *

__all__ = ["Module", "Parameter", "init", "load_file", "save_file", "utils"]
__all__ += activation.__all__ + attention.__all__ + containers.__all__ + conv.__all__ + dropout.__all__
__all__ += embedding.__all__ + images.__all__ + linear.__all__ + loss.__all__ + norm.__all__ + pool.__all__
__all__ += recurrent.__all__ + transformer.__all__
