"""Networks as torch exports them, run at three sizes by one plan, against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
import pyflow.onnx

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

import architectures  # noqa: E402

ARCHITECTURES = architectures.ARCHITECTURES
CASES = [(name, exporter) for name, each in ARCHITECTURES.items() for exporter in each.exporters]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Any, str]]:
    """The module and the path of its model, each made once."""
    folder = tmp_path_factory.mktemp("architectures")
    modules: dict[str, Any] = {}

    def get(name: str, exporter: str) -> tuple[Any, str]:
        if name not in modules:
            try:
                modules[name] = architectures.build(name)
            except ModuleNotFoundError as error:
                pytest.skip(str(error))
        path = folder / f"{name}.{exporter}.onnx"
        if not path.exists():
            path.write_bytes(architectures.export(name, modules[name], exporter))
        return modules[name], str(path)

    return get


@pytest.mark.parametrize(("name", "exporter"), CASES, ids=["-".join(case) for case in CASES])
def test_equals_torch_at_every_size_with_one_compile(name, exporter, exported):
    architecture = ARCHITECTURES[name]
    module, path = exported(name, exporter)
    graph = pyflow.onnx.load(path)
    with pf.Session(graph, pf.SessionConfig(threads=1)) as session:
        for sizes in architecture.sizes:
            given = architectures.feeds(name, sizes)
            want = architectures.reference(module, given)
            have = session.run(None, {key: tensor.numpy() for key, tensor in given.items()})
            assert len(have) == len(want)
            for output, a, b in zip(architecture.outputs, have, want, strict=True):
                assert a.dtype == b.dtype and a.shape == b.shape, (output, a.dtype, a.shape, b.dtype, b.shape)
                assert np.isfinite(b).all() and np.abs(b).max() > 0, f"{output} tells nothing"
                np.testing.assert_array_less(np.abs(a - b).max(), architecture.tolerance * np.abs(b).max(), output)
        assert session.stats.compiles == 1


def test_all_twelve_are_here():
    models = {name.removesuffix("_with_past") for name in ARCHITECTURES}
    assert len(models) == 12 and "gpt2_with_past" in ARCHITECTURES
