"""``fused``: a group of ops that one kernel call computes. Made by the fuse pass, never by users."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from pyflow import views
from pyflow.errors import message
from pyflow.graph import Node, Value
from pyflow.interpret import evaluate
from pyflow.objects import constant_handles
from pyflow.opdef import OBJECT, Lowering, define
from pyflow.ops.common import constant_array
from pyflow.ops.sizes import Check, broadcast_check
from pyflow.plan import Instr, Program, View
from pyflow.region import Region

_known_calls: WeakKeyDictionary[Region, list[Node]] = WeakKeyDictionary()


def _calls(body: Region) -> list[Node]:
    """The nodes of the body that compute, operands first."""
    known = _known_calls.get(body)
    if known is None:
        given = set(body.inputs)
        known = _known_calls[body] = [node for node in body.nodes() if node.outputs[0] not in given]
    return known


def lead(node: Node) -> Node:
    """The node that speaks for a fused one when a backend is chosen: its root, else its last scalar op."""
    calls = _calls(node.attrs["body"])
    return root_of(node) or calls[-1]


def check_message(region: Region, node: Node, what: str) -> str:
    """What a run says where sizes that ``node`` needs to be equal are not."""
    origins = region.table.origins.get(node, ())
    op = lead(node).op.name if node.op.name == "fused" else node.attrs.get("by", node.op.name)
    return message(op, what, origins[0] if origins else None)


def root_of(node: Node) -> Node | None:
    """The node whose finished result the rest of the group acts on; None for a group of scalar ops."""
    return next((each for each in _calls(node.attrs["body"]) if each.op.epilogue), None)


def _program(body: Region, root: Node | None) -> tuple[Program, list[Value]]:
    """The program of the scalar ops, and the body's inputs that it reads, in the order of its registers."""
    calls = [node for node in _calls(body) if node is not root]
    made = {node.outputs[0] for node in calls}
    first = root.outputs[0] if root is not None else None
    read = dict.fromkeys(value for node in calls for value in node.inputs if value not in made and value is not first)
    extras = list(read)
    registers = ([first] if first is not None else []) + extras
    number: dict[Value, int] = {value: i for i, value in enumerate(registers)}
    instrs: list[Instr] = []
    for node in calls:
        held = constant_array(node.outputs[0])
        dtype = node.outputs[0].dtype.memory
        number[node.outputs[0]] = len(registers) + len(instrs)
        if held is None:
            instrs.append(Instr(node.op.scalar, dtype, tuple(number[value] for value in node.inputs)))
        else:
            native = constant_handles(held) if node.outputs[0].dtype.is_object else np.ascontiguousarray(held)
            bits = int.from_bytes(native.tobytes(), "little")
            instrs.append(Instr("const", dtype, (), bits))
    program = Program(
        tuple(value.dtype.memory for value in registers), tuple(instrs), tuple(number[value] for value in body.outputs)
    )
    return program, extras


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    body: Region = node.attrs["body"]
    root = root_of(node)
    program, extras = _program(body, root)
    given = dict(zip(body.inputs, inputs, strict=True))
    domain = body.outputs[0].dims
    wide = [views.broadcast_to(given[value], domain) for value in extras]
    if root is None:
        return Lowering("elementwise", tuple(wide), outputs, programs=(program,))
    operands = [given[value] for value in root.inputs]
    call = root.op.lowering(root, (*operands, *wide), outputs)
    return Lowering(call.kernel, call.inputs, call.outputs, call.ints, call.floats, call.text, (program,))


def _checks(node: Node) -> list[Check]:
    """Those of the body's ops, and that sizes not known yet broadcast to the known ones that types assume."""
    result: list[Check] = []
    for each in _calls(node.attrs["body"]):
        if each.op.checks is not None:
            result += each.op.checks(each)
        if each.op.scalar:
            for value in each.inputs:
                domain = each.types[0].dims[len(each.types[0].dims) - value.ndim :]
                for axis, (have, want) in enumerate(zip(value.dims, domain, strict=True)):
                    if not isinstance(have, int) and isinstance(want, int):
                        what = f"{each.op.name} of {value.type}: axis {axis} must be 1 or {want}"
                        result += broadcast_check(have, want, what)
    return result


define(
    "fused",
    "*xs:*",
    attrs={"body": OBJECT},
    infer=lambda *xs, body: tuple(value.type for value in body.outputs),
    ref=lambda *xs, body: tuple(evaluate(body, xs)),
    lower=_lower,
    checks=_checks,
    fallible=lambda node: any(each.op.is_fallible(each) for each in _calls(node.attrs["body"])),
    multiple=True,
    doc="""What ``body`` computes from ``xs``, in one kernel call.

    ``body``: a region whose inputs are the ``xs``: scalar ops, casts and constants of one element, all outputs of equal
    dims; at most one root, an op whose kernel takes an epilogue, whose dims are the outputs' too.
    """,
)
