"""The onnx package's backend tests as cases: a model, inputs, expected outputs, tolerances."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TypeProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True)
class Case:
    """One backend test."""

    name: str
    kind: str
    test: Any

    @property
    def id(self) -> str:
        return self.name

    @property
    def model(self) -> ModelProto | str:
        """The model, or the path of its file."""
        if self.test.model is not None:
            return self.test.model
        return str(Path(self.test.model_dir) / "model.onnx")

    def data_sets(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """(inputs, expected outputs) of each data set."""
        if self.test.data_sets is not None:
            for inputs, outputs in self.test.data_sets:
                yield [_array(entry) for entry in inputs], [_array(entry) for entry in outputs]
            return
        proto = onnx.load(self.model)
        for folder in sorted(Path(self.test.model_dir).glob("test_data_set*")):
            yield _read(folder, "input", proto.graph.input), _read(folder, "output", proto.graph.output)

    def compare(self, outputs: Sequence[Any], expected: Sequence[Any]) -> None:
        """As the standard's own runner does, and elements of sequences as arrays too."""
        assert len(outputs) == len(expected)
        for output, wanted in zip(outputs, expected, strict=True):
            if isinstance(wanted, list):
                assert isinstance(output, list), f"expected a sequence, got {type(output)}"
                self.compare(output, wanted)
            elif wanted is None:
                assert output is None, f"expected nothing, got {output}"
            else:
                Runner.assert_similar_outputs([wanted], [output], self.test.rtol, self.test.atol)


def _array(entry: Any) -> Any:
    return numpy_helper.to_array(entry) if isinstance(entry, onnx.TensorProto) else entry


def _read(folder: Path, what: str, infos: Sequence[Any]) -> list[Any]:
    count = len(list(folder.glob(f"{what}_*.pb")))
    return [_load(folder / f"{what}_{i}.pb", infos[i].type) for i in range(count)]


def _load(path: Path, type: TypeProto) -> Any:
    kinds = {
        "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
        "tensor_type": (onnx.TensorProto, numpy_helper.to_array),
        "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
    }
    proto, convert = kinds[type.WhichOneof("value")]
    return convert(proto.FromString(path.read_bytes()))


@lru_cache(maxsize=1)
def cases() -> tuple[Case, ...]:
    """Every test, in one order."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = [Case(test.name, kind, test) for kind in KINDS for test in load_model_tests(kind=kind)]
    return tuple(sorted(found, key=lambda case: (case.kind, case.name)))
