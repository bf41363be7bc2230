"""The standard's backend interface (onnx.backend.base) over sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from pyflow.errors import InvalidArgumentError, PyflowError, UnimplementedError, message, user_origin
from pyflow.graph import Graph
from pyflow.onnx.checking import check
from pyflow.onnx.importer import type_proto
from pyflow.onnx.loader import load
from pyflow.runtime.backends import list_backends
from pyflow.runtime.config import SessionConfig
from pyflow.runtime.session import Session


class PyflowRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, graph: Graph, device: str = "cpu") -> None:
        self.graph = graph
        self.session = Session(graph, SessionConfig(device=device))

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs. inputs: arrays in the model's order, by name, or the one array."""
        if not isinstance(inputs, (dict, list, tuple)):
            inputs = [inputs]
        if isinstance(inputs, (list, tuple)):
            names = self.graph.inputs
            if len(inputs) > len(names):
                what = f"the model takes {len(names)} inputs, got {len(inputs)}"
                raise InvalidArgumentError(message("onnx", what, user_origin()))
            inputs = dict(zip(names, inputs, strict=False))
        return tuple(self.session.run(None, inputs))


class PyflowBackend(Backend):
    """See onnx.backend.base.Backend."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        try:
            return not check(model)
        except PyflowError:
            return False

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> PyflowRep:
        """The model, ready to run on ``device``; raises as :func:`pyflow.onnx.load`."""
        if not cls.supports_device(device):
            raise UnimplementedError(message("onnx", f"there is no device {device!r}", user_origin()))
        return PyflowRep(load(model), _name_of(device))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node; ``opset_version=`` of the main domain, default the newest."""
        arrays = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
        names = [name for name in node.input if name]
        if len(arrays) != len(names):
            what = f"the node takes {len(names)} inputs, got {len(arrays)}"
            raise InvalidArgumentError(message("onnx", what, user_origin()))
        given = [_value_info(name, array) for name, array in zip(names, arrays, strict=True)]
        made = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", given, made)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        domain = [helper.make_opsetid(node.domain, kwargs.get("domain_version", 1))] if node.domain else []
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version), *domain])
        return cls.run_model(model, arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        try:
            return _name_of(device) in list_backends()
        except (AttributeError, ValueError):
            return False


def _name_of(device: str) -> str:
    return {DeviceType.CPU: "cpu", DeviceType.CUDA: "cuda"}[Device(device).type]


def _value_info(name: str, array: Any) -> onnx.ValueInfoProto:
    import numpy as np

    from pyflow.ops.sources import constant

    with Graph().as_default():
        return onnx.ValueInfoProto(name=name, type=type_proto(constant(np.asarray(array))))


prepare = PyflowBackend.prepare
run_model = PyflowBackend.run_model
run_node = PyflowBackend.run_node
supports_device = PyflowBackend.supports_device
is_compatible = PyflowBackend.is_compatible
