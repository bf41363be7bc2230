"""The code in the docs does what it says, the tables are current, and links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pyflow as pf
from pyflow import knobs
from pyflow.cli import main as command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_page = _module(ROOT / "tests/docs/run_page.py")


def _name(page: Path) -> str:
    return page.name


def _code(page: Path) -> list[tuple[str, int, str]]:
    return list(run_page.blocks(page))


def _environment() -> dict[str, str]:
    """Of a page: this interpreter as ``python``, this pyflow, no knob."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYFLOW_")}
    package = str(Path(pf.__file__).parents[1])
    paths = [package, *filter(None, [kept.get("PYTHONPATH", "")])]
    return {
        **kept,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), kept.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(paths),
        "MPLBACKEND": "Agg",
    }


def _compiles(page: Path) -> bool:
    return any(language == "sh" and text.startswith(run_page.COMPILERS) for language, _, text in _code(page))


RUN = [
    pytest.param(page, marks=pytest.mark.builds if _compiles(page) else (), id=page.name)
    for page in PAGES
    if any(language == "python" for language, _, _ in _code(page))
]


@pytest.mark.parametrize("page", RUN)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    if _compiles(page) and shutil.which("c++") is None:
        pytest.skip("there is no c++")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/docs/run_page.py"), str(page)],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


COMMANDS = {"pip", "pyflow", "pytest", "python", *run_page.COMPILERS}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_shell_blocks_call_known_commands(page: Path) -> None:
    for language, line, text in _code(page):
        if language != "sh":
            continue
        for call in re.split(r"&&|\n", text.strip()):
            words = call.split()
            assert words[0] in COMMANDS or words[0].startswith("./"), f"{page.name}:{line}: {words[0]}"
            if words[0] == "pyflow":
                assert words[1] in command.commands, f"{page.name}:{line}: pyflow has no command {words[1]}"


def test_commands_that_the_readme_lists_exist() -> None:
    listed = re.findall(r"^\| `pyflow (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(listed) == set(command.commands)


@pytest.mark.builds
@pytest.mark.parametrize("page", [page for page in PAGES if any(b[0] in ("c", "cpp") for b in _code(page))], ids=_name)
def test_c_blocks_compile(page: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("there is no c++")
    built = "".join(text for language, _, text in _code(page) if language == "sh")
    for language, line, text in _code(page):
        named = run_page.NAMED.match(text)
        if language in ("c", "cpp") and not (named and named[1] in built):
            source = tmp_path / f"line{line}.cpp"
            source.write_text(text)
            flags = ["-std=c++17", "-Wall", "-Werror", "-fsyntax-only", f"-I{pf.get_include()}"]
            done = subprocess.run(["c++", *flags, str(source)], capture_output=True, text=True)
            assert done.returncode == 0, f"{page.name}:{line}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_paths_that_a_page_names_exist(page: Path) -> None:
    """`folder/file.ext` in backquotes, from the root or as C includes it."""
    named = re.findall(r"`((?:pyflow|csrc|tests|docs|bench)/[\w/.]+)`", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "csrc/include" / name).exists()]
    assert not missing, missing


def test_generated_pages_are_current() -> None:
    generate = _module(ROOT / "docs/generate.py")
    for name, text in generate.pages().items():
        assert (ROOT / "docs" / name).read_text() == text, f"run python docs/generate.py: docs/{name} is old"


def test_every_knob_is_a_row_and_is_documented() -> None:
    declared = {value.name for value in vars(knobs).values() if isinstance(value, knobs.Knob)}
    assert declared == {knob.name for knob in knobs.ALL}
    assert all(len(knob.doc) > 20 for knob in knobs.ALL)


def test_every_environment_variable_that_is_read_is_a_knob() -> None:
    known = {knob.name for knob in knobs.ALL}
    sources = [*(ROOT / "pyflow").rglob("*.py"), *(ROOT / "csrc").rglob("*.cpp"), *(ROOT / "csrc").rglob("*.h")]
    unknown = {name for path in sources for name in re.findall(r'"(PYFLOW_[A-Z_]+)"', path.read_text())} - known
    guards = {name for name in unknown if name.endswith("_H")}
    assert not unknown - guards


def _table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    text = (ROOT / "docs" / page).read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_numerics_lists_the_rules_that_round() -> None:
    rounding = set()
    for path in sorted((ROOT / "pyflow").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rule":
                given = [*node.args[3:4], *(each.value for each in node.keywords if each.arg == "exact")]
                if given and isinstance(given[0], ast.Constant) and given[0].value is False:
                    assert isinstance(node.args[0], ast.Constant)
                    rounding.add(node.args[0].value)
    assert {row[0].strip("`") for row in _table("numerics.md", "Rewrites that round")} == rounding


def test_numerics_gives_the_bounds_that_are_measured() -> None:
    tests = _module(ROOT / "tests/kernels/test_elementwise.py")
    measured = {**tests.UNARY, **tests.PAIRED}
    bounds = {name: bounds for name, (_, *bounds) in measured.items() if max(bounds) > 0.51}
    stated = {
        name: [float(row[1]), float(row[2])]
        for row in _table("numerics.md", "Element-wise functions")
        for name in row[0].replace("`", "").split()
    }
    assert stated.pop("pow") == [1, 1]
    assert stated == bounds


def test_numerics_lists_the_isa_levels() -> None:
    build = (ROOT / "setup.py").read_text()
    levels = re.findall(r'^    "(\w+)": \["-march=([\w-]+)"', build, re.MULTILINE)
    assert [(row[0].strip("`"), row[1]) for row in _table("numerics.md", "ISA levels")] == levels
