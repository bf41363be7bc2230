"""Writes onnx_coverage.md: what of the ONNX standard models may use.   python docs/onnx_coverage.py"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import defs

import pyflow.onnx  # noqa: F401
from pyflow.onnx import table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "onnx"))

from excluded import DRAWN, EXCLUDED, reason  # noqa: E402
from suite import KINDS, cases  # noqa: E402

PAGE = """\
# ONNX coverage

Written by `docs/onnx_coverage.py` from the importer's table (`pyflow/onnx/rows/`) and `tests/onnx/excluded.py`, which
`tests/onnx/test_backend.py` keeps true: a test that is listed and passes is an error.

**{passed} of {total} backend tests of onnx {version} pass** on the cpu backend through
`pf.Session(pf.onnx.load(model))`, each by its own tolerance ({kinds});
{drawn} more are compared in shape and dtype only, {excluded} fails.
**{known} of {ops} ops** of the standard are known: {rows} by rows, {bodies} by the bodies that the standard gives.

Operator sets {oldest} to {newest} of the main domain are read directly, older ones where no op of the model has changed
since or through `onnx.version_converter`.

## Tests that do not pass

| test | reason |
|---|---|
{reasons}

## Tests of random numbers, compared in shape and dtype

| test | reason |
|---|---|
{draws}

## Ops

*versions*: those in which the op changed; *by*: a row of the table, the body that the standard gives, or nothing.

| domain | op | versions | by |
|---|---|---|---|
{table}
"""


def versions() -> dict[tuple[str, str], list[int]]:
    """The versions of each op, in order."""
    found: dict[tuple[str, str], set[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        found.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    return {key: sorted(values) for key, values in found.items()}


def rows_of(reasons: dict[str, str]) -> str:
    rows = []
    for case in cases():
        why = reason(case.name, reasons)
        if why is not None:
            rows.append(f"| `{case.name}` | {why} |")
    return "\n".join(rows)


def page() -> str:
    from pyflow.onnx.loader import OLDEST

    every = versions()
    listed = list(table.supported())
    lines = [
        f"| {domain or 'ai.onnx'} | {name} | {', '.join(map(str, every[domain, name]))} | {how} |"
        for domain, name, how in listed
    ]
    tests = cases()
    drawn = sum(reason(case.name, DRAWN) is not None for case in tests)
    excluded = sum(reason(case.name, EXCLUDED) is not None for case in tests)
    hows = [how for _, _, how in listed]
    return PAGE.format(
        passed=len(tests) - drawn - excluded,
        total=len(tests),
        version=onnx.__version__,
        kinds=", ".join(f"{sum(case.kind == kind for case in tests)} {kind}" for kind in KINDS),
        drawn=drawn,
        excluded=excluded,
        known=len([how for how in hows if how]),
        ops=len(hows),
        rows=hows.count("row"),
        bodies=hows.count("body"),
        oldest=OLDEST,
        newest=table.KNOWN[""],
        reasons=rows_of(EXCLUDED),
        draws=rows_of(DRAWN),
        table="\n".join(lines),
    )


if __name__ == "__main__":
    (Path(__file__).parent / "onnx_coverage.md").write_text(page())
