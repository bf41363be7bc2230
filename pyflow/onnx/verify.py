"""``verify_model``: the first node of a model whose result differs from what another implementation computes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto

from pyflow import dtypes
from pyflow.dtypes import DType
from pyflow.errors import PyflowError
from pyflow.onnx import extract
from pyflow.onnx.loader import in_a_known_opset, load, read
from pyflow.onnx.references import REFERENCES, values_of
from pyflow.runtime.config import SessionConfig
from pyflow.runtime.session import Session
from pyflow.runtime.verify import NOWHERE, Difference, difference, random_feeds, verify_graph

TOLERANCES: Mapping[DType, float] = {
    dtypes.float64: 1e-8,
    dtypes.complex128: 1e-8,
    dtypes.float32: 1e-4,
    dtypes.complex64: 1e-4,
    dtypes.float16: 5e-3,
    dtypes.bfloat16: 3e-2,
}
"""How far results may be apart, relative to the largest magnitude of the value; other dtypes must be equal."""


@dataclass(frozen=True)
class Compared:
    """One value of the model, here and there."""

    node: str
    """The name of the ONNX node, or its op and place."""
    op_type: str
    value: str
    type: str
    difference: Difference
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.difference.relative <= self.tolerance


@dataclass
class ModelReport:
    """What was compared, in the order of the nodes, and where it first differs."""

    against: str
    rows: list[Compared] = field(default_factory=list)
    outputs: list[Compared] = field(default_factory=list)
    """The model's outputs as the optimised plan gives them."""
    skipped: list[str] = field(default_factory=list)
    """Values that the reference could not compute."""
    alone: Difference | None = None
    """Of the first node that differs, run by itself on the inputs that the reference computed."""
    within: str = ""
    """Where the optimised plan differs although every node by itself agrees."""
    folder: str = ""
    """Of the reproducer, and the command that runs it."""
    command: str = ""

    @property
    def first(self) -> Compared | None:
        return next((row for row in self.rows if not row.agrees), None)

    @property
    def agrees(self) -> bool:
        return all(row.agrees for row in (*self.rows, *self.outputs))

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        rows = [{**asdict(row), "agrees": row.agrees} for row in self.rows]
        outputs = [{**asdict(row), "agrees": row.agrees} for row in self.outputs]
        first = next((row for row in rows if not row["agrees"]), None)
        return {
            "against": self.against,
            "agrees": self.agrees,
            "first": first,
            "alone": asdict(self.alone) if self.alone is not None else None,
            "within": self.within,
            "reproducer": self.folder,
            "command": self.command,
            "skipped": self.skipped,
            "outputs": outputs,
            "nodes": rows,
        }


def verify_model(
    path: str | os.PathLike[str] | bytes | ModelProto,
    against: str = "numpy",
    feeds: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    device: str = "cpu",
    folder: str | os.PathLike[str] = "pyflow-verify",
) -> ModelReport:
    """Compares every value of a model with what ``numpy``, ``reference`` or ``onnxruntime`` computes.

    feeds: arrays by input; others are random by ``seed``, of ``sizes`` by symbol. tolerance: of floats, relative to the
    largest magnitude; default by dtype. folder: where a model of the first node that differs is written, with its
    inputs; nothing is written if all agree. Raises what ``load`` raises, and UnimplementedError where the reference
    cannot run the model.
    """
    proto, _, beside = read(path)
    proto = in_a_known_opset(proto)
    graph = load(path)
    given = {**random_feeds(graph, sizes or {}, seed, known=feeds or {}), **(feeds or {})}
    makers = {
        name: (index, node)
        for index, node in enumerate(proto.graph.node)
        for name in node.output
        if name in graph.aliases
    }
    names = list(makers)
    results = [entry.name for entry in proto.graph.output]
    want = values_of(against, _whole(proto, beside), graph, given, list(dict.fromkeys([*names, *results])))
    report = ModelReport(against)
    with Session(graph, SessionConfig(device=device, threads=1)) as session:
        plan = dict(zip(results, session.run(None, given), strict=True))
        have = dict(zip(names, session.run(names, given), strict=True))
    report.skipped = [name for name in names if name not in want]
    for name in names:
        if name in want:
            index, node = makers[name]
            report.rows.append(_compared(_called(node, index), node.op_type, name, have[name], want[name], tolerance))
    report.outputs = [_compared("", "", name, plan[name], want[name], tolerance) for name in results if name in want]
    if report.first is not None:
        _reproduce(
            report, proto, beside, makers[report.first.value][1], {**have, **want, **given}, device, Path(folder)
        )
    elif not report.agrees:
        report.within = verify_graph(graph, given, device=device).where or "the optimised plan"
    return report


def _whole(proto: ModelProto, beside: str | None) -> ModelProto:
    """The model with the data of files beside it."""
    if not any(tensor.external_data for tensor in proto.graph.initializer):
        return proto
    whole = ModelProto()
    whole.CopyFrom(proto)
    for tensor in whole.graph.initializer:
        if tensor.external_data:
            tensor.CopyFrom(extract.tensor_of(tensor.name, extract.array_of(tensor, beside)))
    return whole


def _called(node: NodeProto, index: int) -> str:
    return node.name or f"{node.op_type}_{index}"


def _compared(node: str, op: str, name: str, have: Any, want: Any, tolerance: float | None) -> Compared:
    if isinstance(have, (list, tuple)) or isinstance(want, (list, tuple)) or have is None or want is None:
        return Compared(node, op, name, "sequence", _of_lists(have, want), TOLERANCES[dtypes.float32])
    have, want = np.asarray(have), _viewed(np.asarray(want), np.asarray(have).dtype)
    kind = dtypes.as_dtype(have.dtype)
    allowed = TOLERANCES.get(kind, 0.0)
    shown = f"{kind}[{','.join(map(str, have.shape))}]"
    if have.dtype != want.dtype or have.shape != want.shape:
        shown += f" not {want.dtype}[{','.join(map(str, want.shape))}]"
    return Compared(
        node, op, name, shown, difference(have, want), tolerance if tolerance is not None and allowed else allowed
    )


def _of_lists(have: Any, want: Any) -> Difference:
    if have is None or want is None:
        return Difference(0.0, 0.0, 0.0) if have is want else NOWHERE
    if not isinstance(have, (list, tuple)) or not isinstance(want, (list, tuple)) or len(have) != len(want):
        return NOWHERE
    pairs = [difference(np.asarray(a), np.asarray(b)) for a, b in zip(have, want, strict=True)]
    return max(pairs, key=lambda each: each.relative, default=Difference(0.0, 0.0, 0.0))


def _viewed(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Elements that the other side hands over as plain bits, as what they are."""
    bits = array.dtype.kind == "u" and array.dtype.itemsize == dtype.itemsize
    return array.view(dtype) if bits and dtype.type.__module__ == ml_dtypes.__name__ else array


def _reproduce(
    report: ModelReport,
    proto: ModelProto,
    beside: str | None,
    node: NodeProto,
    values: Mapping[str, Any],
    device: str,
    folder: Path,
) -> None:
    """Runs the node by itself and writes what is needed to do so again."""
    first = report.first
    assert first is not None
    read_by = [name for name in dict.fromkeys([*node.input, *extract.captured(node)]) if name]
    constants = extract.constants_of(proto, beside, read_by)
    if any(not isinstance(values.get(name, constants.get(name)), (np.ndarray, np.generic)) for name in read_by):
        return
    model = extract.one_node(proto, node, values, constants)
    inputs = {entry.name: values[entry.name] for entry in model.graph.input}
    made = [name for name in node.output if name]
    want = {name: values[name] for name in made if name in values}
    try:
        graph = load(model)
        with Session(graph, SessionConfig(device=device, threads=1)) as session:
            have = dict(zip(made, session.run(made, inputs), strict=True))
    except PyflowError:
        have = {}
    if have:
        pairs = [_compared("", "", name, have[name], want[name], None).difference for name in want]
        report.alone = max(pairs, key=lambda each: each.relative, default=None)
    target = folder / extract.file_name(first.node)
    files = extract.write(target, model, inputs, want, have)
    report.folder = os.fspath(target)
    report.command = " ".join(
        [f"pyflow verify {target / 'model.onnx'} --against {report.against}"]
        + [f"--input {name}=@{path}" for name, path in files.items()]
    )


def references() -> Sequence[str]:
    """The names that ``against`` takes."""
    return tuple(REFERENCES)
