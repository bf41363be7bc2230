"""Generated libraries in C and C++ hosts: what they refuse, what they need, what they export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hosts import EXAMPLES, build, need, not_sanitized, run

import pyflow as pf
from pyflow.aot.kernels import FAMILIES
from pyflow.cli import main
from pyflow.demo.digits import load_digits
from pyflow.demo.model import build_digits

pytestmark = pytest.mark.builds
HOSTS = Path(__file__).with_name("aot_hosts")
ALLOWED = {"memcmp", "memcpy", "memmove", "memset", "snprintf", "strcmp", "vsnprintf"}
"""Of the C library, beside what libm exports."""


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    need("c++")


def layer() -> tuple[pf.Session, dict[str, Any], Any]:
    """A dense layer; its entries; what is fetched."""
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("batch", 4), name="x")
        w = pf.Variable(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), name="w")
        y = pf.tanh(x @ w, name="y")
        double = w.assign(w * 2.0).op
        initial = pf.global_variables_initializer()
    session = pf.Session(graph)
    session.run(initial)
    return session, {"predict": ([x], [y]), "double": ([], [double])}, y


def fixed() -> tuple[pf.Session, dict[str, Any]]:
    """Fixed sizes."""
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, (3, 4), name="x")
        w = pf.Variable(np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32), name="w")
        y = pf.softmax(pf.relu(x @ w) @ pf.constant(np.eye(3, dtype=np.float32)))
        grow = w.assign(w * 1.01).op
        initial = pf.global_variables_initializer()
    session = pf.Session(graph)
    session.run(initial)
    return session, {"predict": ([x], [y]), "grow": ([], [grow])}


def wide() -> tuple[pf.Session, dict[str, Any], Any]:
    """Large enough for threads."""
    graph = pf.Graph()
    random = np.random.default_rng(2)
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("batch", 64), name="x")
        w = pf.Variable(random.standard_normal((64, 64)).astype(np.float32), name="w")
        y = pf.tanh(pf.exp(pf.sin(x @ w) * 0.5) @ w)
        initial = pf.global_variables_initializer()
    session = pf.Session(graph)
    session.run(initial)
    return session, {"predict": ([x], [y])}, y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three artefacts."""
    folder = tmp_path_factory.mktemp("artefacts")
    session, entries, _ = layer()
    pf.aot.compile(session, entries, folder, "layer")
    session, entries, _ = wide()
    pf.aot.compile(session, entries, folder, "wide", weights="file")
    pf.aot.compile(*fixed(), folder, "fixed")
    return folder


def test_misuse_gives_errors_and_changes_nothing(folder: Path) -> None:
    host = build(HOSTS / "misuse.c", "-std=c11", f"-I{folder}", "liblayer.a", "-lm", out="misuse", folder=folder)
    assert run(host)[-1] == "all as expected"


@not_sanitized
def test_without_exceptions_and_threads_nothing_is_allocated(folder: Path) -> None:
    flags = ("-fno-exceptions", "-fno-rtti", "-Os", f"-I{folder}")
    host = build(HOSTS / "quiet.cpp", *flags, "libfixed.a", "-lm", out="quiet", folder=folder)
    session, entries = fixed()
    (inputs, outputs), (_, grow) = entries.values()
    feed = {inputs[0]: (np.arange(12, dtype=np.float32) / 8).reshape(3, 4)}
    for _ in range(100):
        expected = session.run(outputs[0], feed)
        session.run(grow)
    np.testing.assert_array_equal(np.array(run(host), np.float32), expected.reshape(-1))


def test_a_static_arena(folder: Path) -> None:
    """Exceptions, RTTI, threads and the C++ library are not needed."""
    flags = ("-fno-exceptions", "-fno-rtti", "-Os", f"-I{folder}")
    host = build(EXAMPLES / "aot_static.cpp", *flags, "libfixed.a", "-lm", out="static", folder=folder)
    session, entries = fixed()
    (inputs, outputs), _ = entries.values()
    expected = session.run(outputs[0], {inputs[0]: (np.arange(12, dtype=np.float32) / 8).reshape(3, 4)})
    np.testing.assert_array_equal(np.array(run(host), np.float32), expected.reshape(-1))


def test_two_artefacts_and_threads_in_one_process(folder: Path) -> None:
    libraries = ("liblayer.a", "libwide.a", "-lm", "-pthread")
    host = build(HOSTS / "pair.cpp", f"-I{folder}", *libraries, out="pair", folder=folder)
    lines = run(host, folder / "wide.weights")
    session, entries, y = layer()
    ones = session.run(y, {entries["predict"][0][0]: np.ones((1, 4), np.float32)}).reshape(-1)
    session, entries, y = wide()
    x = (np.arange(300 * 64) % 97).astype(np.float32).reshape(300, 64) / np.float32(97)
    values = session.run(y, {entries["predict"][0][0]: x}).reshape(-1)[:5]
    np.testing.assert_array_equal(np.array(lines, np.float32), np.concatenate([ones, values]))


def test_the_example_runs_the_golden_vectors(folder: Path) -> None:
    for name in ("layer", "wide", "fixed"):
        build(f"{name}_example.cpp", f"lib{name}.a", "-lm", out="example", folder=folder)
        lines = run("./example", folder=folder)
        assert lines[-1] == "all as recorded"
        assert all(line.endswith("0 with other bits") for line in lines[:-1])


@not_sanitized
def test_symbols(folder: Path) -> None:
    """Undefined is only what libc and libm have; defined only what the header says; nothing runs before main."""
    libm = run("sh", "-c", "nm -D --defined-only $(cc -print-file-name=libm.so.6)")
    mathematics = {line.split()[-1].partition("@")[0] for line in libm}
    undefined = {line.split()[-1] for line in run("nm", "-u", folder / "liblayer.a") if " U " in line}
    assert undefined <= ALLOWED | mathematics
    defined = {line.split()[-1] for line in run("nm", "-g", "--defined-only", folder / "liblayer.a") if " " in line}
    assert defined == {f"layer_{name}" for name in ENTRY_POINTS}
    shared = {line.split()[-1] for line in run("nm", "-D", "--defined-only", folder / "liblayer.so")}
    assert shared == defined
    sections = "\n".join(run("readelf", "-SW", folder / "liblayer.a"))
    assert ".init_array" not in sections and ".ctors" not in sections and ".tbss" not in sections


ENTRY_POINTS = (
    "state_bytes",
    "state_init",
    "state_reset",
    "state_get",
    "state_set",
    "predict",
    "predict_arena_bytes",
    "double",
    "double_arena_bytes",
)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for turn in ("first", "second"):
        session, entries, _ = layer()
        pf.aot.compile(session, entries, tmp_path / turn, "layer")
    for path in sorted((tmp_path / "first").iterdir()):
        data = path.read_bytes()
        assert data == (tmp_path / "second" / path.name).read_bytes(), path.name
        assert str(tmp_path).encode() not in data
        assert str(Path(pf.__file__).parent).encode() not in data


@pytest.mark.parametrize("target", ["layer::layer", "layer::layer_static"])
def test_cmake_finds_the_package(folder: Path, tmp_path: Path, target: str) -> None:
    need("cmake")
    shutil.copy(folder / "layer_example.cpp", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(host CXX)\nset(CMAKE_CXX_STANDARD 17)\n"
        "find_package(layer CONFIG REQUIRED)\nadd_executable(host layer_example.cpp)\n"
        f"target_link_libraries(host {target})\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "out", f"-Dlayer_DIR={folder}")
    run("cmake", "--build", tmp_path / "out")
    assert run(tmp_path / "out" / "host", folder / "layer_golden.bin")[-1] == "all as recorded"


@pytest.mark.parametrize("package", ["layer", "layer_static"])
def test_pkg_config_finds_the_package(folder: Path, package: str) -> None:
    need("pkg-config")
    (words,) = run("pkg-config", "--cflags", "--libs", package, PKG_CONFIG_PATH=str(folder))
    build("layer_example.cpp", *words.split(), f"-Wl,-rpath,{folder}", out="packaged", folder=folder)
    assert run("./packaged", folder=folder)[-1] == "all as recorded"


def test_loaded_entries_speak_as_a_session_does(folder: Path) -> None:
    loaded = pf.aot.load(folder / "layer.json")
    session, entries, y = layer()
    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(x=x), session.run(y, {entries["predict"][0][0]: x}))
    loaded.set("w", np.zeros((4, 3), np.float32))
    assert not loaded.predict(x).any()
    loaded.reset()
    np.testing.assert_array_equal(loaded.get("w"), session.state.get("w"))
    with pytest.raises(pf.errors.InvalidArgumentError, match=r"shape \[2, 3\]; expected \[batch, 4\]"):
        loaded.predict(np.ones((2, 3), np.float32))
    with pytest.raises(pf.errors.DTypeError, match="float64, expected float32"):
        loaded.predict(np.ones((2, 4)))
    with pytest.raises(pf.errors.InvalidArgumentError, match="expected x, got 0 arrays"):
        loaded.predict()
    with pytest.raises(pf.errors.NotFoundError, match="there is predict, double"):
        loaded["train"]
    with pytest.raises(pf.errors.NotFoundError, match="no variable 'v'"):
        loaded.get("v")
    with pytest.raises(pf.errors.NotFoundError, match="there is no"):
        pf.aot.load(folder / "nothing.json")


def test_newer_and_damaged_manifests(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*layer*"):
        shutil.copy(path, tmp_path)
    manifest = json.loads((tmp_path / "layer.json").read_text())
    (tmp_path / "layer.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(pf.errors.FailedPreconditionError, match="update pyflow"):
        pf.aot.load(tmp_path)
    (tmp_path / "layer.json").write_text("{}")
    with pytest.raises(pf.errors.DataLossError, match="no manifest"):
        pf.aot.load(tmp_path)


def test_all_that_cannot_be_compiled_is_listed(tmp_path: Path) -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("n", "n"), name="x")
        y = pf.linalg.inv(x)
        z = pf.linalg.det(y)
    with pytest.raises(pf.errors.UnimplementedError, match=r"2 steps(.|\n)*inv(.|\n)*det"):
        pf.aot.compile(graph, {"main": ([x], [y, z])}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, entries, _ = layer()
    with pytest.raises(pf.errors.InvalidArgumentError, match="expected emit="):
        pf.aot.compile(session, entries, tmp_path, emit="dll")
    with pytest.raises(pf.errors.InvalidArgumentError, match="begins with a letter"):
        pf.aot.compile(session, entries, tmp_path, "2nd-layer")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(pf.errors.NotFoundError, match="emit='source'"):
        pf.aot.compile(session, entries, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    session, entries, _ = layer()
    (tmp_path / "file").write_text("")
    with pytest.raises(pf.errors.FailedPreconditionError, match="cannot write to"):
        pf.aot.compile(session, entries, tmp_path / "file", emit="source")
    if Path("/dev/full").exists():
        full = tmp_path / "full"
        full.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_text", lambda *_, **__: open("/dev/full", "w", buffering=1).write("x\n"))
            with pytest.raises(pf.errors.ResourceExhaustedError, match="No space left"):
                pf.aot.compile(session, entries, full, emit="source")
        assert not list(full.iterdir())


def test_every_kernel_has_its_family() -> None:
    from pyflow import _core

    assert {name for names in FAMILIES.values() for name in names} >= set(_core.kernel_names())


def test_the_command(tmp_path: Path) -> None:
    session, entries, y = layer()
    session.graph.outputs = [y]
    session.graph.save(tmp_path / "layer.pfg", session)
    done = CliRunner().invoke(main, ["compile", str(tmp_path / "layer.pfg"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    loaded = pf.aot.load(tmp_path / "out")
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(loaded.predict(x), session.run(y, {entries["predict"][0][0]: x}))
    options = ["--emit", "source", "--entry", "f=x:y", "--name", "other"]
    done = CliRunner().invoke(main, ["compile", str(tmp_path / "layer.pfg"), "-o", str(tmp_path / "text"), *options])
    assert done.exit_code == 0, done.output
    assert "other_f(" in (tmp_path / "text" / "other.h").read_text()
    done = CliRunner().invoke(main, ["compile", str(tmp_path / "layer.pfg"), "-o", "x", "--entry", "nonsense"])
    assert done.exit_code == 2


def test_the_command_compiles_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (float[batch, 3] x, bool flag) => (float[batch, 2] y)
    <float[3, 2] w = {1, 2, 3, 4, 5, 6}>
    { hidden = MatMul(x, w)
      chosen = If(flag) <
        then_branch = then () => (float[batch, 2] a) { a = Relu(hidden) },
        else_branch = other () => (float[batch, 2] b) { b = Neg(hidden) } >
      y = Softmax <axis: int = 1> (chosen) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    done = CliRunner().invoke(main, ["compile", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    loaded = pf.aot.load(tmp_path / "out")
    with pf.Session(pf.onnx.load(tmp_path / "net.onnx")) as session:
        for batch, flag in ((1, True), (5, False)):
            x = np.random.default_rng(batch).standard_normal((batch, 3)).astype(np.float32)
            (expected,) = session.run(None, {"x": x, "flag": np.array(flag)})
            np.testing.assert_array_equal(loaded.predict(x, np.array(flag)), expected)


def test_a_result_without_a_bound_needs_one(tmp_path: Path) -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("n",), name="x")
        count = pf.placeholder(pf.int64, (), name="count")
        y = pf.zeros((count,)) + pf.sum(x)
    entries = {"main": ([x, count], [y])}
    with pytest.raises(pf.errors.UnimplementedError, match=r"nothing bounds(.|\n)*max_sizes=\{") as raised:
        pf.aot.compile(graph, entries, tmp_path)
    names = str(raised.value).partition("max_sizes={")[2].partition("}")[0]
    bounds = {part.partition(":")[0].strip(" '"): 8 for part in names.split(",")}
    loaded = pf.aot.compile(graph, entries, tmp_path, emit="shared", max_sizes=bounds).load()
    ones = np.ones(3, np.float32)
    np.testing.assert_array_equal(loaded.main(ones, np.int64(5)), np.full(5, 3, np.float32))
    assert loaded.main(ones, np.int64(0)).shape == (0,)
    with pytest.raises(pf.errors.InvalidArgumentError, match="is 9; expected 0 to 8"):
        loaded.main(ones, np.int64(9))


def test_training_in_a_c_program(tmp_path: Path) -> None:
    model = build_digits()
    train_x, test_x, train_y, test_y = load_digits()
    for name, images, labels in (("train", train_x, train_y), ("test", test_x, test_y)):
        images.astype(np.float32).tofile(tmp_path / f"{name}_images.bin")
        labels.astype(np.int64).tofile(tmp_path / f"{name}_labels.bin")
    session = pf.Session(model.graph)
    session.run(model.initialise)
    entries = {
        "train_step": ([model.images, model.labels, model.rate], [model.loss, model.train_step]),
        "predict": ([model.images], [model.logits]),
    }
    pf.aot.compile(session, entries, tmp_path, "digits", emit="static")
    library = (f"-I{tmp_path}", "libdigits.a", "-lm")
    train = build(EXAMPLES / "aot_train.c", "-std=c11", *library, out="train", folder=tmp_path)
    (line,) = run(train, tmp_path, len(train_y), len(test_y), 250, 64)
    accuracy = float(line.rpartition(" ")[2])
    assert accuracy >= 0.97
    data = np.fromfile(tmp_path / "weights.bin", np.float32)
    with pf.Session(model.graph) as trained:
        for name, variable in model.graph.variables.items():
            if variable.trainable:
                count = int(np.prod(variable.dims))
                value, data = data[:count].reshape(variable.dims), data[count:]
                assert not np.array_equal(value, session.state.get(name))
                trained.state.set(name, value)
        assert data.size == 0
        logits = trained.run(model.logits, {model.images: test_x})
    assert np.mean(np.argmax(logits, 1) == test_y) == pytest.approx(accuracy, abs=1e-4)
    look = build(EXAMPLES / "aot_classifier.cpp", *library, out="look", folder=tmp_path)
    digits = [int(line) for line in run(look, tmp_path / "test_images.bin")]
    expected = np.argmax(session.run(model.logits, {model.images: test_x}), 1)
    assert digits == expected.tolist()
