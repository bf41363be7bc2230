"""libpyflow: saved plans run by C and C++ hosts give the bits that the session gives; damage and misuse give errors."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hosts import EXAMPLES, need, not_sanitized, run
from hosts import build as build_host

import pyflow as pf
from pyflow.demo.digits import load_digits
from pyflow.demo.model import build_digits

pytestmark = pytest.mark.builds
HOSTS = Path(__file__).with_name("libpyflow_hosts")
Build = Callable[..., Path]


def config(*options: str) -> list[str]:
    """Asked from a folder that has no pyflow of its own."""
    command = [sys.executable, "-m", "pyflow", "config", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tempfile.gettempdir())
    return done.stdout.split()


@pytest.fixture(scope="module")
def flags() -> dict[bool, list[str]]:
    """What a build needs, by whether the library is the static one."""
    need("c++")
    return {False: config("--includes", "--libs"), True: config("--includes", "--libs", "--static")}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, flags: dict[bool, list[str]]) -> Build:
    folder = tmp_path_factory.mktemp("hosts")

    def made(source: Path, *options: str, static: bool = False) -> Path:
        out = f"{source.stem}{'_static' if static else ''}{len(options)}"
        return build_host(source, *options, *flags[static], "-pthread", out=out, folder=folder)

    return made


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A saved plan of a dense layer, and what its session gives for two rows of ones."""
    path = tmp_path_factory.mktemp("plan") / "layer.plan"
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("batch", 4), name="x")
        w = pf.Variable(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), name="w")
        y = pf.tanh(x @ w, name="y")
        double = w.assign(w * 2.0).op
        big = pf.nonzero(x > 0.5)
    with pf.Session(graph, pf.SessionConfig(auto_init=True)) as session:
        expected = session.run(y, {x: np.ones((2, 4), np.float32)})
        session.save_plan(path, {"predict": ([x], [y]), "double": ([], [double]), "where": ([x], [big])})
    return path, expected


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_a_c99_host_gives_the_sessions_bits(build: Build, layer: tuple[Path, np.ndarray], static: bool) -> None:
    lines = run(build(EXAMPLES / "host.c", static=static), layer[0])
    np.testing.assert_array_equal(np.array(lines, np.float32), layer[1].reshape(-1))


def test_four_threads_with_a_pool_of_the_host(build: Build, layer: tuple[Path, np.ndarray]) -> None:
    lines = run(build(EXAMPLES / "threads.cpp"), layer[0])
    np.testing.assert_array_equal(np.array(lines, np.float32), np.repeat(layer[1][0, 0], 4))


def test_without_exceptions_and_rtti(build: Build, layer: tuple[Path, np.ndarray]) -> None:
    lines = run(build(EXAMPLES / "threads.cpp", "-fno-exceptions", "-fno-rtti", "-Os"), layer[0])
    np.testing.assert_array_equal(np.array(lines, np.float32), np.repeat(layer[1][0, 0], 4))


def test_training_in_c_gives_a_checkpoint_for_python(build: Build, tmp_path: Path) -> None:
    model = build_digits()
    train_x, test_x, train_y, test_y = load_digits()
    for name, images, labels in (("train", train_x, train_y), ("test", test_x, test_y)):
        images.astype(np.float32).tofile(tmp_path / f"{name}_images.bin")
        labels.astype(np.int64).tofile(tmp_path / f"{name}_labels.bin")
    with model.graph.as_default():
        step = pf.optim.Adam(lr=1e-3).minimize(model.loss)
        initialise = pf.global_variables_initializer()
    entries = {
        "train_step": ([model.images, model.labels], [model.loss, step]),
        "predict": ([model.images], [model.logits]),
    }
    with pf.Session(model.graph) as session:
        session.run(initialise)
        session.save_plan(tmp_path / "digits.plan", entries)
    checkpoint = tmp_path / "trained.safetensors"
    host = build(EXAMPLES / "train.cpp")
    (line,) = run(host, tmp_path / "digits.plan", tmp_path, len(train_y), len(test_y), 250, 64, checkpoint)
    accuracy = float(line.rpartition(" ")[2])
    assert accuracy >= 0.97
    with pf.Session(model.graph) as session:
        weights = [variable for variable in model.graph.variables.values() if variable.trainable]
        pf.train.Saver(weights).restore(session, checkpoint)
        logits = session.run(model.logits, {model.images: test_x})
    assert np.mean(np.argmax(logits, 1) == test_y) == pytest.approx(accuracy, abs=1e-4)


def test_misuse_gives_errors_and_changes_nothing(build: Build, layer: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.plan"
    data = bytearray(layer[0].read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    assert run(build(HOSTS / "misuse.cpp"), layer[0], damaged)[-1] == "all as expected"


def test_hooks_of_the_host(build: Build, layer: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """Allocator, executor, logger and deadline; a plan of a newer version; a disk that is full."""
    newer = tmp_path / "newer.plan"
    newer.write_bytes(re.sub(rb'"pyflow.version":"\d"', b'"pyflow.version":"9"', layer[0].read_bytes(), count=1))
    assert run(build(HOSTS / "hooks.cpp"), layer[0], newer, tmp_path)[-1] == "all as expected"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "newer.plan"]


@not_sanitized
def test_runs_allocate_nothing(build: Build, layer: tuple[Path, np.ndarray]) -> None:
    assert run(build(HOSTS / "allocations.cpp", static=True), layer[0])[-1] == "no allocation"


@not_sanitized
def test_one_symbol_is_exported() -> None:
    library = Path(config("--libs")[0].removeprefix("-L")) / "libpyflow.so.0"
    listing = subprocess.run(["nm", "-D", "--defined-only", str(library)], check=True, capture_output=True, text=True)
    assert [line.split()[-1] for line in listing.stdout.splitlines()] == ["pf_get_api"]


@pytest.mark.parametrize("target", ["pyflow::pyflow", "pyflow::pyflow_static"])
def test_cmake_finds_the_package(tmp_path: Path, layer: tuple[Path, np.ndarray], target: str) -> None:
    need("cmake", "c++")
    shutil.copy(EXAMPLES / "threads.cpp", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(host CXX)\nset(CMAKE_CXX_STANDARD 17)\n"
        "find_package(pyflow 0.1 CONFIG REQUIRED)\nfind_package(Threads REQUIRED)\n"
        f"add_executable(host threads.cpp)\ntarget_link_libraries(host {target} Threads::Threads)\n"
    )
    (folder,) = config("--cmakedir")
    run("cmake", "-S", tmp_path, "-B", tmp_path / "out", f"-Dpyflow_DIR={folder}")
    run("cmake", "--build", tmp_path / "out")
    lines = run(tmp_path / "out" / "host", layer[0])
    np.testing.assert_array_equal(np.array(lines, np.float32), np.repeat(layer[1][0, 0], 4))


@pytest.mark.parametrize("package", ["pyflow", "pyflow_static"])
def test_pkg_config_finds_the_package(tmp_path: Path, layer: tuple[Path, np.ndarray], package: str) -> None:
    need("pkg-config", "cc")
    (found,) = run("pkg-config", "--cflags", "--libs", package, PKG_CONFIG_PATH=config("--pkgconfigdir")[0])
    words = found.split()
    folder = next(word for word in words if word.startswith("-L")).removeprefix("-L")
    host = build_host(EXAMPLES / "host.c", *words, f"-Wl,-rpath,{folder}", out="host", folder=tmp_path)
    np.testing.assert_array_equal(np.array(run(host, layer[0]), np.float32), layer[1].reshape(-1))
    needed = [line for line in run("readelf", "-d", host) if "NEEDED" in line]
    assert any("libpyflow" in line for line in needed) == (package == "pyflow")


def test_steps_that_need_python_are_listed(tmp_path: Path) -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("n", "n"), name="x")
        y = pf.linalg.inv(x)
        z = pf.linalg.det(y)
    with (
        pf.Session(graph) as session,
        pytest.raises(pf.errors.UnimplementedError, match=r"2 steps(.|\n)*inv(.|\n)*det"),
    ):
        session.save_plan(tmp_path / "x.plan", {"main": ([x], [y, z])})
    assert not (tmp_path / "x.plan").exists()
