"""The importer's table: what an ONNX op becomes, per version where its meaning changed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from onnx import defs

from pyflow.errors import InvalidArgumentError, UnimplementedError
from pyflow.opdef import BY_ONNX, FUNCTIONS, OpDef

Row = Callable[..., Any]
"""``(node, *inputs) -> value or values``: inputs as in the standard, None for one that is left out."""

KNOWN = {"": 28, "ai.onnx.ml": 5, "ai.onnx.preview": 1, "ai.onnx.preview.training": 1}
"""By domain: the newest version that the rows were written for. An op that changed later is not guessed at."""

defs.has("Identity")  # The first look-up registers all of the standard's schemas: part of the import, not of a load.

_rows: dict[tuple[str, str], dict[int, Row]] = {}
_older: set[tuple[str, int]] = set()


def domain_of(domain: str) -> str:
    """The standard's two names of its main domain are one."""
    return "" if domain == "ai.onnx" else domain


def check_version(version: int) -> None:
    """Raises UnimplementedError for an operator set of the main domain that the onnx package does not know."""
    newest = defs.onnx_opset_version()
    if version > newest:
        raise UnimplementedError(f"operator set {version} is newer than {newest}, the newest known: update onnx")


def onnx_op(*op_types: str, since: int = 1, domain: str = "", older: bool = False) -> Callable[[Row], Row]:
    """Makes the function the row of ``op_types`` from version ``since`` of their domain on, up to the next row.

    The function is called as ``row(node, *inputs)`` (see :class:`pyflow.onnx.node.OnnxNode`) and gives the outputs:
    a value, or a tuple, which may be shorter than the node's outputs only where the rest is not used. ``older``: it
    reads the op as it was in that version, before those that are read directly.
    """

    def add(row: Row) -> Row:
        for op_type in op_types:
            _rows.setdefault((domain, op_type), {})[since] = row
            if older:
                _older.add((op_type, since))
        return row

    return add


@cache
def _complete() -> None:
    """Reads the rows that pyflow comes with."""
    import_module("pyflow.onnx.rows")


def is_extended() -> bool:
    """Are there rows that pyflow does not come with?"""
    return not all(row.__module__.startswith("pyflow.") for rows in _rows.values() for row in rows.values())


def _direct(op: OpDef) -> Row:
    function = FUNCTIONS[op.name]
    return lambda node, *inputs: function(*inputs)


@cache
def _direct_row(op_type: str) -> Row | None:
    """Of an op of one output and no attributes, here and in the standard: the name alone says what it becomes."""
    for op in BY_ONNX.get(op_type, ()):
        if not op.attrs and not op.multiple and defs.has(op_type):
            schema = defs.get_schema(op_type)
            fixed = schema.min_input == schema.max_input == len(op.inputs)
            if fixed and not any(entry.variadic for entry in op.inputs) and not schema.attributes:
                return _direct(op)
    return None


def find(domain: str, op_type: str, version: int) -> Row | None:
    """The row of an op at a version of its domain, or None."""
    _complete()
    rows = _rows.get((domain, op_type))
    if rows:
        sinces = sorted(rows)
        at = bisect_right(sinces, version)
        if at:
            return rows[sinces[at - 1]]
    return _direct_row(op_type) if domain == "" else None


def row_of(domain: str, op_type: str, version: int) -> tuple[Row | None, int]:
    """The row of an op in an operator set, None for one that the standard composes of others, and the version at which
    the op last changed. Raises UnimplementedError or InvalidArgumentError for one that is neither."""
    schema = schema_of(domain, op_type, version)
    since = schema.since_version if schema is not None else version
    row = find(domain, op_type, since)
    if schema is None and row is None:
        raise UnimplementedError("the op is not one of the standard, and the model has no function of its name")
    if schema is not None and schema.deprecated and row is None:
        raise InvalidArgumentError(f"the op left the standard at version {since}")
    if schema is not None and not is_known(schema):
        raise UnimplementedError(f"the op changed at version {since}, which is not known yet")
    if row is None and not has_body(schema):
        raise UnimplementedError("there is no mapping for the op")
    return row, since


def reads_older(op_type: str, since: int) -> bool:
    """There is a row for the op of the main domain as it was in an old version."""
    _complete()
    return (op_type, since) in _older


@lru_cache(maxsize=8192)
def schema_of(domain: str, op_type: str, version: int) -> Any:
    """The standard's schema of the op at that version of its domain, or None."""
    try:
        return defs.get_schema(op_type, version, domain)
    except defs.SchemaError:
        return None


def is_known(schema: Any) -> bool:
    """The op has not changed since the rows were written."""
    return schema.since_version <= KNOWN.get(schema.domain, 0)


def has_body(schema: Any) -> bool:
    """The standard defines the op by others."""
    return bool(schema.has_function or schema.has_context_dependent_function)


def supported() -> Iterator[tuple[str, str, str]]:
    """(domain, op, how) of every op of the standard: ``row``, ``body`` (the standard's own), or empty."""
    newest: dict[tuple[str, str], Any] = {}
    for schema in defs.get_all_schemas_with_history():
        key = (schema.domain, schema.name)
        if key not in newest or newest[key].since_version < schema.since_version:
            newest[key] = schema
    for (domain, name), schema in sorted(newest.items()):
        if not schema.deprecated:
            row = is_known(schema) and find(domain, name, schema.since_version)
            yield domain, name, "row" if row else "body" if has_body(schema) else ""
