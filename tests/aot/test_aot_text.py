"""The generated text: compilers take it without a warning, it is built by hand, on every ISA, under any name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aot_graphs import CASES
from hosts import WARNINGS, build, need, not_sanitized, run

import pyflow as pf
from pyflow.aot.build import ISA_FLAGS, archives, kernel_include
from pyflow.aot.kernels import FLOAT32
from pyflow.runtime.backends import built_isas

pytestmark = pytest.mark.builds
HOSTS = Path(__file__).with_name("aot_hosts")
COMPILERS = ("g++", "clang++")
VARIED = (
    "digits",
    "branch",
    "loop",
    "scan",
    "late",
    "halves",
    "integers",
    "doubles",
    "random",
    "block",
    "lstm",
    "fixed",
)


def emitted(name: str, folder: Path, emit: str, **options: Any) -> pf.aot.Artefact:
    case = CASES[name]()
    session = pf.Session(case.graph, pf.SessionConfig(threads=1, seed=3))
    if case.initial is not None:
        session.run(case.initial)
    return pf.aot.compile(session, case.entries, folder, "model", emit=emit, max_sizes=case.max_sizes, **options)


def includes() -> list[str]:
    return [f"-I{pf.get_include()}", f"-I{kernel_include()}"]


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_compiler_warns(name: str, compiler: str, tmp_path: Path) -> None:
    need(compiler)
    emitted(name, tmp_path, "source")
    command = (compiler, "-std=c++17", *WARNINGS, *includes())
    # What g++ warns of it may find while it optimises.
    how = ("-O1", "-S", "-o", "/dev/null") if compiler == "g++" else ("-fsyntax-only",)
    run(*command, *how, "model.cpp", "-Wno-overlength-strings", folder=tmp_path)
    run(*command, *how, "model_example.cpp", folder=tmp_path)
    if (tmp_path / "model_loops.cpp").exists():
        for isa in built_isas():
            run(*command, "-fsyntax-only", *ISA_FLAGS[isa], f"-DPF_ISA={isa}", "model_loops.cpp", folder=tmp_path)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_header_is_c99(compiler: str, tmp_path: Path) -> None:
    need(compiler)
    for name in ("digits", "late"):
        emitted(name, tmp_path, "source")
        (tmp_path / "only.c").write_text('#include "model.h"\nint main(void) { return MODEL_OK; }\n')
        run(compiler, "-std=c99", *WARNINGS, "-fsyntax-only", "only.c", folder=tmp_path)


def objects(compiler: str, folder: Path, *more: str) -> list[str]:
    """Compiles the text as docs/aot.md says."""
    made = []
    flags = ("-std=c++17", "-O1", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off", *includes(), *more)
    jobs = [("model.cpp", ()), ("model_weights.S", ())]
    jobs += [("model_loops.cpp", (*ISA_FLAGS[isa], f"-DPF_ISA={isa}")) for isa in built_isas()]
    for source, options in jobs:
        if (folder / source).exists():
            made.append(f"{len(made)}.o")
            run(compiler, *flags, *options, "-c", source, "-o", made[-1], folder=folder)
    return made


@not_sanitized
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", ["cnn", "halves"])
def test_the_text_is_built_by_hand(name: str, compiler: str, tmp_path: Path) -> None:
    need(compiler)
    emitted(name, tmp_path, "source")
    made = objects(compiler, tmp_path)
    build("model_example.cpp", *made, *archives(), "-lm", out="example", folder=tmp_path, compiler=compiler)
    *lines, last = run("./example", "model_golden.bin", folder=tmp_path)
    assert last == "all as recorded"
    assert lines and all(line.endswith("0 with other bits") for line in lines)


@not_sanitized
def test_the_machine_chooses_the_isa(tmp_path: Path) -> None:
    """The least ISA gives values near the session's, that of the session its bits; a CPU that has none an error."""
    emitted("cnn", tmp_path, "source")
    made = objects("c++", tmp_path)
    options = (*includes(), HOSTS / "isa.cpp", *made, *archives(), "-lm")
    build("model_example.cpp", *options, out="example", folder=tmp_path)
    own = built_isas().index(pf._core.selected_isa())
    for isa in (own, 0):
        *lines, last = run("./example", "model_golden.bin", folder=tmp_path, WANTED_ISA=str(isa))
        assert last == "all as recorded"
        assert isa != own or all(line.endswith("0 with other bits") for line in lines)
    # A machine may have more than pyflow was built for.
    if own == len(built_isas()) - 1:
        assert run("./example", "model_golden.bin", folder=tmp_path, WANTED_ISA="2")[-1] == "all as recorded"
    with pytest.raises(AssertionError, match="this CPU lacks"):
        run("./example", "model_golden.bin", folder=tmp_path, WANTED_ISA="-1")


def test_memory_that_the_header_tells_is_enough_on_every_isa(tmp_path: Path) -> None:
    """STATE_BYTES and ARENA_BYTES are told by the machine that compiles; another machine runs it."""
    emitted("fixed", tmp_path, "source")
    made = objects("c++", tmp_path)
    header = emitted("fixed", tmp_path / "whole", "object").header.read_text()
    told = {line.split()[1]: int(line.split()[2]) for line in header.splitlines() if "_BYTES " in line}
    (tmp_path / "host.cpp").write_text(
        '#include <cstdio>\n#include "model.h"\n'
        'int main() { std::printf("%zu\\n%zu\\n", model_state_bytes(), model_predict_arena_bytes(1)); }\n'
    )
    options = (*includes(), HOSTS / "isa.cpp", *made, *archives(), "-lm")
    build("host.cpp", *options, out="host", folder=tmp_path)
    for isa in range(len(pf._core.cpu_isas())):
        state, arena = map(int, run("./host", folder=tmp_path, WANTED_ISA=str(isa)))
        assert state == told["MODEL_STATE_BYTES"]
        assert 0 < arena <= told["MODEL_ARENA_BYTES"]


@pytest.mark.parametrize(
    ("emit", "expected"),
    [
        ("source", {"model_weights.S", "model.weights", "model_loops.cpp"}),
        ("object", {"model.o", "model_weights.S", "model.weights", "model_loops.cpp"} - {"model_weights.S"}),
        ("static", {"libmodel.a", "model_loops.cpp"}),
        ("shared", {"libmodel.so", "model_loops.cpp"}),
        ("cmake", {"libmodel.a", "libmodel.so", "modelConfig.cmake", "model.pc", "model_static.pc", "model_loops.cpp"}),
    ],
)
def test_what_each_way_of_emitting_writes(emit: str, expected: set[str], tmp_path: Path) -> None:
    made = emitted("mlp", tmp_path, emit)
    common = {"model.h", "model.cpp", "model.json", "model_example.cpp", "model_golden.bin"}
    assert {path.name for path in made.files} >= common | (expected - {"model.weights"})
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in made.files}
    library = {"object": "model.o", "static": "libmodel.a", "shared": "./libmodel.so", "cmake": "libmodel.a"}.get(emit)
    if library is not None:
        build("model_example.cpp", library, "-lm", "-Wl,-rpath,.", out="example", folder=tmp_path)
        assert run("./example", folder=tmp_path)[-1] == "all as recorded"


def test_text_for_another_pyflow_is_refused(tmp_path: Path) -> None:
    emitted("mlp", tmp_path, "source")
    header = tmp_path / "model.h"
    header.write_text(header.read_text().replace("#define MODEL_ABI 1", "#define MODEL_ABI 2"))
    with pytest.raises(AssertionError, match="model was generated for another pyflow"):
        run("c++", "-std=c++17", *includes(), "-fsyntax-only", "model.cpp", folder=tmp_path)


def test_weights_are_a_safetensors_file_of_aligned_arrays(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    made = emitted("mlp", tmp_path, "shared", weights="file")
    arrays = load_file(tmp_path / "model.weights")
    loaded = made.load()
    assert {name.removeprefix("variable/") for name in arrays} >= set(loaded.variables)
    for variable in loaded.variables:
        np.testing.assert_array_equal(loaded.get(variable), arrays[f"variable/{variable}"])
    assert (8 + int.from_bytes((tmp_path / "model.weights").read_bytes()[:8], "little")) % 64 == 0


NAMES = (
    *("begin", "state_of", "kModel", "best_isa", "Run", "bool", "golden", "sizes", "turn", "std", "report", "NULL"),
    *("INT64_MAX", "main", "int64_t", "memory", "pf", "add", "max", "Step", "MODEL_OK", "model_state", "größe"),
    *("model.0.weight", "argc", "printf", "1st", "predict_steps", "_Bool", "threads", "asm", "y_dims"),
)
"""Of the languages, of what programs include, of the generated text; and what is no name in C."""


def test_any_name_is_taken(tmp_path: Path) -> None:
    graph = pf.Graph()
    with graph.as_default():
        inputs = [pf.placeholder(pf.float32, (name if name.isidentifier() else "n", 2), name=name) for name in NAMES]
        outputs = [pf.exp(value) for value in inputs]
    entries = {"predict": (inputs, outputs)}
    for index, entry in enumerate(("state", "state_init", "a b/c", "class", "predict_arena_bytes", "ab", "aB", "a_b")):
        entries[entry] = ([inputs[index]], [outputs[index]])
    made = pf.aot.compile(pf.Session(graph), entries, tmp_path, "model", emit="shared")
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler) is not None:
            run(compiler, "-std=c99", *WARNINGS, "-fsyntax-only", "-x", "c", "model.h", folder=tmp_path)
    build("model_example.cpp", "./libmodel.so", "-Wl,-rpath,.", out="example", folder=tmp_path)
    assert run("./example", folder=tmp_path)[-1] == "all as recorded"
    loaded = made.load()
    x = np.full((3, 2), 0.5, np.float32)
    for result in loaded.predict(*[x for _ in inputs]):
        np.testing.assert_array_equal(result, np.asarray(pf.exp(pf.tensor(x))))
    assert loaded["a b/c"](x).shape == loaded["aB"](x).shape == (3, 2)


def test_rows_for_float32_are_in_the_archive() -> None:
    need("nm")
    symbols = "\n".join(run("nm", "-C", "--defined-only", archives()[-1]))
    for isa in built_isas():
        assert {name for name in FLOAT32 if f"pf::{isa}::{name}_float32" in symbols} == FLOAT32
