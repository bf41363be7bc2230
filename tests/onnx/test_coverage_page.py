"""docs/onnx_coverage.md is what docs/onnx_coverage.py writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    text = (DOCS / "onnx_coverage.md").read_text()
    if f"of onnx {onnx.__version__} pass" not in text:
        pytest.skip(f"the page is of another version than onnx {onnx.__version__}")
    spec = importlib.util.spec_from_file_location("onnx_coverage", DOCS / "onnx_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert text == module.page(), "run python docs/onnx_coverage.py"
