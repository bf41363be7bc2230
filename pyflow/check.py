"""Checks a region between passes: what every pass may rely on, so that a bug shows where it is made."""

from __future__ import annotations

import os
import tempfile

from pyflow.errors import InternalError, PyflowError, message
from pyflow.graph import Node
from pyflow.opdef import OPS
from pyflow.region import Region

ONLY_DECLARED = ("read", "write", "update")
"""Effects of declared graphs; capture turns them into values and commits."""

FIRST_IN = {
    "transfer": "place",
    "matmul_pack": "pack",
    "matmul_packed": "pack",
    "conv2d_pack": "pack",
    "conv2d_packed": "pack",
    "fused": "fuse",
}
"""Ops that only passes make, and the first pass that may."""

ORDER = (
    "capture",
    "unify",
    "infer",
    "simplify",
    "fold",
    "flow",
    "recognise",
    "attend",
    "place",
    "merge",
    "pack",
    "layout",
    "simplify_again",
    "fuse",
    "schedule",
)


def check(region: Region, stage: str) -> None:
    """Raises InternalError naming ``stage``, the pass that made ``region``, unless

    operands come before users and all are of the region's table; inputs are input nodes; types inferred anew are those
    that stand in the nodes; the ops are legal at this stage; every node has an origin.
    """
    table = region.table
    seen: set[Node] = set()
    for value in (*region.inputs, *region.variables.values()):
        if value.node.op.name != "input":
            raise _bug(region, stage, value.node, "is an input of the region but no input node")
    inputs = {value.node for value in region.inputs}
    for node in region.nodes():
        if node.graph is not None:
            raise _bug(region, stage, node, "is a declared node, not one of the region")
        late = next((value.node for value in node.inputs if value.node not in seen), None)
        if late is not None:
            raise _bug(region, stage, node, f"comes before its operand {late!r}")
        seen.add(node)
        if OPS.get(node.op.name) is not node.op:
            raise _bug(region, stage, node, "is of an op that is not registered")
        if node.op.name == "input" and node not in inputs:
            raise _bug(region, stage, node, f"reads {node.attrs['label']!r}, which is no input of the region")
        if node.op.name == "placeholder" or node.op.effect in ONLY_DECLARED:
            raise _bug(region, stage, node, "has no place in a region")
        if stage in ORDER and ORDER.index(stage) < ORDER.index(FIRST_IN.get(node.op.name, "capture")):
            raise _bug(region, stage, node, f"is of an op that no pass before {FIRST_IN[node.op.name]} may make")
        if not table.origins.get(node):
            raise _bug(region, stage, node, "has lost its origin")
        _check_types(region, stage, node)
        for body in node.op.bodies(node).values():
            check(body, stage)
    for node in region.effects:
        if node.op.effect != "host" and not node.op.is_fallible(node):
            raise _bug(region, stage, node, "is listed as an effect but has none")


def _check_types(region: Region, stage: str, node: Node) -> None:
    try:
        types = node.op.types_of(node.inputs, node.attrs)
    except PyflowError as error:
        raise _bug(region, stage, node, f"does not infer: {error}") from error
    for have, want in zip(node.types, types, strict=True):
        if have.dtype is not want.dtype or len(have.dims) != len(want.dims):
            raise _bug(region, stage, node, f"has type {have}, inferred anew it is {want}")
        for a, b in zip(have.dims, want.dims, strict=True):
            if isinstance(a, int) and isinstance(b, int) and a != b:
                raise _bug(region, stage, node, f"has type {have}, inferred anew it is {want}")


def write_graph(region: Region, stage: str, folder: str = "") -> str:
    """Writes the region's text to a new file and returns its path; "" if that fails."""
    from pyflow.printer import dump

    try:
        handle, path = tempfile.mkstemp(".txt", f"pyflow_{stage}_", folder or None)
        with os.fdopen(handle, "w") as file:
            file.write(dump(region))
    except Exception:
        return ""
    return path


def _bug(region: Region, stage: str, node: Node, what: str) -> InternalError:
    rules = ", ".join(region.table.rewrites) or "none"
    path = write_graph(region, stage)
    origin = next(iter(region.table.origins.get(node, ())), None)
    hint = f"after pass {stage!r} (rules that fired so far: {rules}); this is a bug in pyflow: please report it"
    return InternalError(message(node.op.name, f"{node!r} {what}", origin, f"{hint}; the graph is in {path}"))
