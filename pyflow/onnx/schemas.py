"""What the standard's schemas say of a node: attributes with defaults, how many inputs, of which types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from onnx import AttributeProto, NodeProto, defs

from pyflow.errors import DTypeError, InvalidArgumentError
from pyflow.onnx.tensors import attribute_of

_NAMES = {"float32": "float", "float64": "double", "float8_e8m0fnu": "float8e8m0", "float4_e2m1fn": "float4e2m1"}


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
def _kinds_of(domain: str, name: str, since: int) -> dict[str, tuple[int, bool, Any]]:
    schema = defs.get_schema(name, since, domain)
    result = {}
    for key, attribute in schema.attributes.items():
        default = attribute.default_value
        given = attribute_of(default, None) if default.name else None
        result[key] = (int(attribute.type.value), attribute.required, given)  # type: ignore[attr-defined]
    return result


def _kinds(schema: Any) -> dict[str, tuple[int, bool, Any]]:
    """name -> (type, required, default)."""
    return _kinds_of(schema.domain, schema.name, schema.since_version)


@lru_cache(maxsize=1024)
def _signature(domain: str, name: str, since: int) -> tuple[list[tuple[str, str, bool, bool]], dict[str, set[str]]]:
    """Per formal input (name, type variable, must be given, of one type); the types that each variable may be."""
    schema = defs.get_schema(name, since, domain)
    option = defs.OpSchema.FormalParameterOption
    formals = [
        (entry.name, entry.type_str, entry.option == option.Single, entry.is_homogeneous) for entry in schema.inputs
    ]
    allowed = {entry.type_param_str: set(entry.allowed_type_strs) for entry in schema.type_constraints}
    return formals, allowed


def check_inputs(schema: Any, inputs: Sequence[Any]) -> None:
    """Raises unless number and element types of the inputs are what the schema takes."""
    count = len(inputs)
    if not schema.min_input <= count <= schema.max_input:
        most = "more" if schema.max_input > 1000 else str(schema.max_input)
        raise InvalidArgumentError(f"expected {schema.min_input} to {most} inputs, got {count}")
    formals, allowed = _signature(schema.domain, schema.name, schema.since_version)
    found: dict[str, Any] = {}
    for index, value in enumerate(inputs):
        name, variable, required, same = formals[min(index, len(formals) - 1)]
        if value is None:
            if required:
                raise InvalidArgumentError(f"the input {name!r} is left out")
            continue
        text = f"tensor({_NAMES.get(value.dtype.name, value.dtype.name.replace('_', ''))})"
        options = allowed.get(variable, {variable})
        if not any(option.startswith("tensor") for option in options):
            continue
        if value.dtype.name != "variant" and text not in options:
            raise DTypeError(f"the input {name!r} is {value.type}; expected {', '.join(sorted(options))}")
        first = found.setdefault(variable, value) if same else value
        if first.dtype is not value.dtype:
            raise DTypeError(f"the inputs {first.type} and {value.type} must be of one element type")
