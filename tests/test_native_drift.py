"""Alarms over tables that Python and C++ both hold, and over what the compiler makes of a kernel file."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pyflow import _core, dtypes
from pyflow.opdef import OPS
from pyflow.plan import SHORT

ROOT = Path(__file__).resolve().parents[1]
KERNELS = sorted(_core.kernel_names())
OBJECTS = ROOT / "build/objects"
ISAS = ("portable", "avx2", "avx512")
PLAIN = "plain"
LIBC = re.compile(
    r"(?:mem(?:cpy|set|move|cmp)|str(?:cmp|len|ncmp)|v?snprintf(?:_chk)?|__v?snprintf_chk|__mem\w+_chk|abort)$"
)
LIBM = re.compile(
    r"(?:fma|sqrt|cbrt|hypot|floor|ceil|trunc|rint|nearbyint|exp|exp2|log|log2|log10|expm1|log1p|pow|a?sinh?|a?cosh?|a?tanh?|"
    r"atan2|erfc?|lgamma|nextafter|fmod|ldexp|frexp)f?(?:_r)?$"
)
COMPILER = re.compile(r"(?:_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__tls_get_addr|_Unwind_Resume)$")


def _strings(*folders: str) -> set[str]:
    """Every string that the sources of the folders hold, and what their f-strings make of the names of ops."""
    result: set[str] = set()
    for folder in folders:
        for path in (ROOT / "pyflow" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    result.add(node.value)
                elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                    result.update(f"{node.values[0].value}{name}" for name in OPS)
    return result


def test_dtype_tables_agree() -> None:
    header = (ROOT / "csrc/include/pyflow/dtype.h").read_text()
    rows = [(name, int(code), int(bits)) for name, code, bits in re.findall(r"ROW\((\w+), (\d+), (\d+)\)", header)]
    assert rows == [(dtype.name, dtype.code, dtype.bits) for dtype in dtypes.ALL]
    count = re.search(r"#define PF_DTYPE_COUNT (\d+)", header)
    assert count is not None
    assert int(count[1]) == len(rows)


def _documented() -> set[str]:
    first_cells = re.findall(r"^\|([^|]+)\|", (ROOT / "docs/kernels.md").read_text(), re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}


def test_short_sums_are_summed_in_one_stretch() -> None:
    header = (ROOT / "csrc/backends/cpu/gemm.h").read_text()
    assert re.findall(r"constexpr int64_t kDepth = (\d+);", header) == [str(SHORT)]


def test_docs_list_the_kernels_there_are() -> None:
    assert sorted(_documented()) == KERNELS


def test_every_kernel_is_used() -> None:
    """By an op of its name, or named by an op or a pass that lowers to it."""
    named = _strings("ops", "passes") | set(OPS)
    unused = [kernel for kernel in KERNELS if kernel not in named]
    assert not unused


def test_every_scalar_row_is_used_by_an_op() -> None:
    used = {op.scalar for op in OPS.values()} | _strings("ops")
    unused = [name for name, *_ in _core.scalar_ops() if name not in used]
    assert not unused


def test_scalar_rows_are_those_of_the_table() -> None:
    table = (ROOT / "csrc/kernels/scalar_ops.def").read_text()
    rows = re.findall(r"^SCALAR\((\w+), (\d+)", table, re.MULTILINE)
    native = {name: count for name, count, _ in _core.scalar_ops()}
    assert {name: int(count) for name, count in rows}.items() <= native.items()
    assert set(native) - {name for name, _ in rows} <= {"where", "const", "cast", "cast_saturated"}


def _symbols(path: Path) -> list[tuple[str, str]]:
    """(kind, name), names demangled, as nm shows them."""
    listed = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
    return [
        (found[1], found[2]) for line in listed.splitlines() if (found := re.match(r"[0-9a-f ]*\b(\w) (.+)$", line))
    ]


@pytest.mark.builds
@pytest.mark.parametrize("isa", [*ISAS, PLAIN])
def test_kernel_objects_stand_alone(isa: str) -> None:
    """What an object of one ISA defines is static or in the ISA's namespace, so that the linker cannot take another
    ISA's for it; it needs what is compiled once for all of them, libc and libm at most."""
    objects = sorted((OBJECTS / isa).glob("*.o"))
    if not objects:
        pytest.skip(f"no objects in build/objects/{isa}: pyflow was not built in place")
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    wrong = []
    own, shared = f"pf::{isa}::", f"pf::{PLAIN}::"
    for path in objects:
        for kind, name in _symbols(path):
            if kind in "WwVvu" and own not in name:
                wrong.append(f"{path.name}: weak {name}")
            elif kind == "U":
                known = own in name or shared in name or any(each.match(name) for each in (LIBC, LIBM, COMPILER))
                wrong += [] if known else [f"{path.name}: needs {name}"]
            elif kind.isupper() and own not in name:
                wrong.append(f"{path.name}: {name} is outside of {own}")
    assert not wrong, "\n    ".join(["", *wrong])
