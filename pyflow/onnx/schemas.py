"""What the standard's schemas say of a node: attributes with defaults, how many inputs, of which types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from onnx import AttributeProto, NodeProto, defs

from pyflow import dtypes
from pyflow.errors import DTypeError, InvalidArgumentError
from pyflow.onnx.tensors import attribute_of

_NAMES = {"float32": "float", "float64": "double", "float8_e8m0fnu": "float8e8m0", "float4_e2m1fn": "float4e2m1"}
_TYPES = {dtype: f"tensor({_NAMES.get(dtype.name, dtype.name.replace('_', ''))})" for dtype in dtypes.ALL}
"""How the standard calls a tensor of a dtype."""


def attributes_of(proto: NodeProto, schema: Any, outer: Mapping[str, Any], folder: str | None) -> dict[str, Any]:
    """The node's attributes by name, with the schema's defaults; ``outer`` holds what references refer to."""
    result: dict[str, Any] = {}
    kinds = {} if schema is None else _kinds(schema)
    for attribute in proto.attribute:
        name = attribute.name
        if name in result:
            raise InvalidArgumentError(f"the attribute {name!r} is given twice")
        if schema is not None and name not in kinds:
            raise InvalidArgumentError(f"unknown attribute {name!r}; it has {', '.join(sorted(kinds)) or 'none'}")
        if attribute.ref_attr_name:
            if outer.get(attribute.ref_attr_name) is not None:
                result[name] = outer[attribute.ref_attr_name]
            continue
        if schema is not None and kinds[name][0] != attribute.type:
            wanted = AttributeProto.AttributeType.Name(kinds[name][0])
            raise InvalidArgumentError(f"the attribute {name!r} is of the wrong type; expected {wanted}")
        result[name] = attribute_of(attribute, folder)
    for name, (_, required, default) in kinds.items():
        if name not in result and default is not None:
            result[name] = default
        elif name not in result and required:
            raise InvalidArgumentError(f"the attribute {name!r} is missing")
    return result


@lru_cache(maxsize=1024)
def _kinds(schema: Any) -> dict[str, tuple[int, bool, Any]]:
    """name -> (type, required, default)."""
    result = {}
    for key, attribute in schema.attributes.items():
        default = attribute.default_value
        given = attribute_of(default, None) if default.name else None
        result[key] = (int(attribute.type.value), attribute.required, given)  # type: ignore[attr-defined]
    return result


class _Formal(NamedTuple):
    """What the standard says of an input."""

    name: str
    variable: str
    """The name of its type."""
    required: bool
    same: bool
    """All that are given for it are of one type."""
    options: frozenset[str]
    """The types that it may be; empty for what is no tensor."""


@lru_cache(maxsize=1024)
def _signature(schema: Any) -> tuple[int, int, list[_Formal]]:
    """How many inputs at least and at most, and each of them."""
    single = defs.OpSchema.FormalParameterOption.Single
    allowed = {entry.type_param_str: frozenset(entry.allowed_type_strs) for entry in schema.type_constraints}
    formals = []
    for entry in schema.inputs:
        options = allowed.get(entry.type_str, frozenset({entry.type_str}))
        tensors = options if any(option.startswith("tensor") for option in options) else frozenset()
        formals.append(_Formal(entry.name, entry.type_str, entry.option == single, entry.is_homogeneous, tensors))
    return schema.min_input, schema.max_input, formals


def check_inputs(schema: Any, inputs: Sequence[Any]) -> None:
    """Raises unless number and element types of the inputs are what the schema takes."""
    least, most, formals = _signature(schema)
    count = len(inputs)
    if not least <= count <= most:
        raise InvalidArgumentError(f"expected {least} to {'more' if most > 1000 else most} inputs, got {count}")
    found: dict[str, Any] = {}
    for index, value in enumerate(inputs):
        name, variable, required, same, options = formals[min(index, len(formals) - 1)]
        if value is None:
            if required:
                raise InvalidArgumentError(f"the input {name!r} is left out")
            continue
        if not options:
            continue
        dtype = value.dtype
        if dtype is not dtypes.variant and _TYPES[dtype] not in options:
            raise DTypeError(f"the input {name!r} is {value.type}; expected {', '.join(sorted(options))}")
        first = found.setdefault(variable, value) if same else value
        if first.dtype is not dtype:
            raise DTypeError(f"the inputs {first.type} and {value.type} must be of one element type")
