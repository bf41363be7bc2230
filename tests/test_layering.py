"""Who may import whom (docs/layout.md), read from the sources; and what no source may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sorted((ROOT / "pyflow").rglob("*.py"))
CPP = sorted(path for ending in ("*.h", "*.cpp", "*.def") for path in (ROOT / "csrc").rglob(ending))

# room: what its files may import besides the room itself. A room is a file or folder of pyflow/.
DECLARE = {"attrs", "dims", "dtypes", "errors", "objects"}
GRAPH = DECLARE | {"apply", "body", "graph", "opdef", "operators"}
PASSES = GRAPH | {
    "check",
    "interpret",
    "knobs",
    "ops",
    "plan",
    "printer",
    "region",
    "rewrite",
    "stored",
    "target",
    "views",
}
MAY_IMPORT: dict[str, set[str]] = {
    "collecting": set(),
    "errors": set(),
    "dims": set(),
    "attrs": {"dims"},
    "dtypes": {"errors"},
    "knobs": {"errors"},
    "objects": {"dtypes", "errors"},
    "opdef": DECLARE,
    "stored": DECLARE | {"opdef"},
    "operators": DECLARE | {"opdef"},
    "graph": DECLARE | {"opdef", "operators"},
    "apply": DECLARE | {"graph", "opdef"},
    "body": DECLARE | {"graph", "opdef"},
    "plan": {"dims", "dtypes", "errors"},
    "views": {"dims", "dtypes", "plan"},
    "entries": {"errors", "plan"},
    "region": GRAPH,
    "interpret": GRAPH | {"region"},
    "ops": GRAPH | {"interpret", "plan", "region", "views"},
    "algebra": GRAPH | {"ops"},
    "gradients": GRAPH | {"ops"},
    "parser": GRAPH,
    "printer": GRAPH | {"parser", "plan", "region", "stored"},
    "check": GRAPH | {"region"},
    "rewrite": GRAPH | {"knobs", "region"},
    "target": GRAPH | {"interpret", "plan"},
    "passes": PASSES | {"algebra"},
    "container": DECLARE,
    "runtime": PASSES | {"_core", "collecting", "container", "entries", "passes"},
    "flow": GRAPH | {"gradients", "ops", "region", "rewrite"},
    "eager": GRAPH | {"flow", "gradients", "ops", "runtime"},
    "nn": DECLARE | {"container", "eager", "graph", "optim", "pyflow"},
    "optim": GRAPH | {"eager", "gradients", "ops"},
    "data": DECLARE,
    "train": DECLARE | {"container", "ops"},
    "demo": {"pyflow"},
    "onnx": PASSES | {"collecting", "pyflow", "runtime"},
    "aot": PASSES | {"runtime"},
    "__main__": {"cli"},
    "cli": {"errors"},
    "pyflow": GRAPH
    | {
        "_core",
        "aot",
        "data",
        "eager",
        "flow",
        "gradients",
        "nn",
        "ops",
        "optim",
        "parser",
        "printer",
        "runtime",
        "train",
    },
}
# Inside a function, when it is called: a convenience of a lower room that an upper one implements.
LATE: dict[tuple[str, str], str] = {
    ("check", "printer"): "writes the graph to a file when it reports a bug",
    ("opdef", "apply"): "the function that define makes applies the op",
    ("graph", "printer"): "Graph.dump",
    ("graph", "runtime"): "Graph.save",
    ("parser", "ops"): "variables are declared as users declare them",
    ("cli", "pyflow"): "a command imports what it needs",
    ("cli", "_core"): "doctor",
    ("cli", "knobs"): "doctor",
    ("cli", "demo"): "demo",
    ("cli", "runtime"): "run, inspect, verify, bench",
    ("cli", "onnx"): "models in ONNX files",
    ("cli", "aot"): "compile",
    ("cli", "dims"): "sizes of inputs made by chance",
}
PASS_IMPORTS = {
    ("schedule", "lowering"): "its first half",
    ("schedule", "bodies"): "its part for control flow",
    ("schedule", "order"): "its second half",
    ("bodies", "lowering"): "bodies are lowered as the rest",
    ("bodies", "order"): "and ordered as the rest",
    ("order", "lowering"): "it orders what the first half made",
}


@dataclass(frozen=True)
class Import:
    source: Path
    line: int
    module: str
    late: bool

    @property
    def room(self) -> str:
        return self.module.partition(".")[2].partition(".")[0] or "pyflow"

    def __str__(self) -> str:
        return f"{self.source.relative_to(ROOT)}:{self.line} imports {self.module}"


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "pyflow").with_suffix("").parts
    return "pyflow" if parts == ("__init__",) else parts[0]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return module == "pyflow._core" or path.is_dir() or path.with_suffix(".py").is_file()


def imports_of(path: Path) -> Iterator[Import]:
    """Of pyflow's own modules; not those that only type checkers see."""

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if _is_type_checking(child):
                continue
            inner = late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            if isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: a relative import"
                names = [f"{child.module}.{alias.name}" for alias in child.names]
                modules = [name if _exists(name) else str(child.module) for name in names]
            elif isinstance(child, ast.Import):
                modules = [alias.name for alias in child.names]
            else:
                yield from walk(child, inner)
                continue
            for module in dict.fromkeys(modules):
                if module.split(".")[0] == "pyflow":
                    yield Import(path, child.lineno, module, inner)

    yield from walk(ast.parse(path.read_text()), False)


IMPORTS = [found for path in PYTHON for found in imports_of(path)]


def _lists(rows: list[str]) -> str:
    return "\n    ".join(["", *rows])


def test_every_room_has_its_row() -> None:
    assert {room_of(path) for path in PYTHON} == set(MAY_IMPORT)


def test_rooms_import_only_what_they_may() -> None:
    wrong = []
    for each in IMPORTS:
        room = room_of(each.source)
        allowed = each.room == room or each.room in MAY_IMPORT[room] or (each.late and (room, each.room) in LATE)
        if not allowed:
            wrong.append(f"{each}{' inside a function' if each.late else ''}")
    assert not wrong, _lists(wrong)
    assert len(IMPORTS) > 200


def test_no_permission_is_left_over() -> None:
    used = {(room_of(each.source), each.room) for each in IMPORTS if each.late}
    assert not set(LATE) - used


def test_rooms_are_in_layers() -> None:
    """No room reaches itself, but for calls at run time."""
    reached: dict[str, set[str]] = {}

    def reach(room: str, above: tuple[str, ...]) -> set[str]:
        assert room not in above, " -> ".join((*above, room))
        if room not in reached:
            below = {each.room for each in IMPORTS if not each.late and room_of(each.source) == room} - {room, "_core"}
            reached[room] = below.union(*(reach(each, (*above, room)) for each in below))
        return reached[room]

    for room in MAY_IMPORT:
        reach(room, ())


def test_passes_do_not_import_each_other() -> None:
    wrong = []
    for each in IMPORTS:
        name, other = each.source.stem, each.module.rpartition(".")[2]
        is_pass = each.source.parent.name == "passes" and name not in ("pipeline", "__init__")
        if is_pass and each.module.startswith("pyflow.passes.") and (name, other) not in PASS_IMPORTS:
            wrong.append(str(each))
    assert not wrong, _lists(wrong)


def test_only_the_runtime_and_the_commands_touch_the_native_code() -> None:
    wrong = [
        str(each)
        for each in IMPORTS
        if each.room == "_core" and room_of(each.source) not in ("runtime", "cli", "pyflow")
    ]
    assert not wrong, _lists(wrong)


# C++: what the files of a folder may include of ours, as prefixes.
INCLUDES = ("pyflow/",)
MAY_INCLUDE: dict[str, tuple[str, ...]] = {
    "include/pyflow": INCLUDES,
    "core": (*INCLUDES, "core/"),
    "kernels": (*INCLUDES, "kernels/"),
    "backends/cpu": (*INCLUDES, "backends/cpu/", "kernels/", "core/dtype.h", "core/status.h", "core/threads.h"),
    "backends/null": (*INCLUDES, "backends/null/", "kernels/", "core/dtype.h", "core/status.h", "core/threads.h"),
    "aot": (*INCLUDES, "aot/"),
    "capi": (*INCLUDES, "capi/", "core/"),
    "python": (*INCLUDES, "python/", "core/"),
}
# The one file, of each folder, that sees more: it joins two sides.
MAY_ALSO = {
    "core/registry.cpp": ("backends/cpu/backend.h", "backends/null/backend.h"),
    "python/kernel_binding.cpp": ("backends/cpu/backend.h",),
}
FREESTANDING = {"stdarg.h", "stddef.h", "stdint.h", "stdio.h", "string.h", "math.h", "immintrin.h"}
"""What a file that is compiled once per ISA may include of the system."""


def _includes(path: Path) -> list[tuple[str, str]]:
    """("<" or a quote, name)."""
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def _folder(path: Path) -> str:
    return str(path.parent.relative_to(ROOT / "csrc"))


def test_folders_include_only_what_they_may() -> None:
    assert {_folder(path) for path in CPP} == set(MAY_INCLUDE)
    wrong, seen = [], 0
    for path in CPP:
        name = str(path.relative_to(ROOT / "csrc"))
        allowed = MAY_INCLUDE[_folder(path)] + MAY_ALSO.get(name, ())
        for mark, included in _includes(path):
            if mark == '"':
                seen += 1
                if not included.startswith(allowed):
                    wrong.append(f"{name} includes {included}")
    assert not wrong, _lists(wrong)
    assert seen > 100


def _once_per_isa(path: Path) -> bool:
    folder = _folder(path)
    return folder == "kernels" or (folder == "backends/cpu" and not path.name.startswith("backend"))


def test_kernels_are_freestanding() -> None:
    wrong = []
    for path in filter(_once_per_isa, CPP):
        wrong += [
            f"{path.name}: <{name}>" for mark, name in _includes(path) if mark == "<" and name not in FREESTANDING
        ]
        wrong += [f"{path.name}: {name}" for mark, name in _includes(path) if mark == '"' and name.startswith("core/")]
        code = re.sub(r"//.*|/\*(?:.|\n)*?\*/", "", path.read_text())
        wrong += [
            f"{path.name}: {word}"
            for word in re.findall(r"\b(?:new|delete|throw|malloc|dynamic_cast|std)\b(?=\W)", code)
        ]
    assert not wrong, _lists(wrong)


def test_only_one_folder_sees_python() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in CPP
        for _, name in _includes(path)
        if re.match(r"pybind11/|Python\.h|structmember\.h", name) and _folder(path) != "python"
    ]
    assert not wrong, _lists(wrong)


LINES = 500
LONGER: dict[str, str] = {
    "pyflow/dims.py": "one algebra of sizes; its parts need each other's insides",
}


def test_files_are_short() -> None:
    long = {}
    for path in (*PYTHON, *CPP):
        count = path.read_text().count("\n")
        if count > LINES:
            long[str(path.relative_to(ROOT))] = count
    assert set(long) == set(LONGER), long


WORDS = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
TEXT = {".py", ".h", ".cpp", ".def", ".md", ".toml", ".c", ""}


@pytest.mark.parametrize("folder", ["pyflow", "csrc", "docs", "bench", "tests"])
def test_nothing_is_left_to_do(folder: str) -> None:
    wrong = []
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in TEXT and path.is_file() and path != Path(__file__):
            found = [
                f"{path.relative_to(ROOT)}:{i}"
                for i, line in enumerate(path.read_text().split("\n"), 1)
                if WORDS.search(line)
            ]
            wrong += found
    assert not wrong, _lists(wrong)


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest takes two files of one name for the same module."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("__init__.py", "conftest.py")]
    assert len(names) == len({*names}), sorted(name for name in {*names} if names.count(name) > 1)
