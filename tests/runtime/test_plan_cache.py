"""Compiled plans in a folder: hits give the bits of a compile, and nothing that lies there gives a wrong answer."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import FailedPreconditionError

onnx = pytest.importorskip("onnx")

import pyflow.onnx  # noqa: E402
from pyflow.runtime import backends, plan_key  # noqa: E402
from pyflow.runtime.plan_folder import PlanFolder  # noqa: E402

RNG = np.random.default_rng(7)
WEIGHTS = RNG.standard_normal((24, 16, 3, 3)).astype(np.float32)
IMAGE = RNG.standard_normal((1, 16, 13, 11)).astype(np.float32)


@pytest.fixture(autouse=True)
def _nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are neither kept nor looked up where somebody looks at the passes, or where plugins were loaded: by other
    tests of this process, that is."""
    monkeypatch.setattr(backends, "_loaded", set())
    for name in ("PYFLOW_CHECK", "PYFLOW_DEBUG", "PYFLOW_DUMP", "PYFLOW_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def network(weights: np.ndarray = WEIGHTS, factor: float = 0.5) -> pf.Graph:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", ("batch", 16, "rows", 11), name="x")
        y = pf.conv2d(x, pf.constant(weights), padding="SAME", data_format="NCHW")
        graph.outputs = [pf.relu(y * factor)]
    return graph


def run(graph: pf.Graph, folder: Any, **config: Any) -> tuple[np.ndarray, pf.Session]:
    session = pf.Session(graph, pf.SessionConfig(cache_dir=folder, **config))
    return session.run(graph.outputs[0], {graph.inputs[0]: IMAGE}), session


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pfplan"), key=lambda path: -path.stat().st_size)


def model_file(path: Path, size: int = 200, name: str = "w") -> np.ndarray:
    """A model with weights that are large enough to stay in the file; what it gives for ones."""
    w = RNG.standard_normal((size, size)).astype(np.float32)
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", name], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", size])],
        [helper.make_tensor_value_info("y", 1, ["n", size])],
        [onnx.numpy_helper.from_array(w, name)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return w


def test_a_hit_gives_the_bits_of_a_compile(tmp_path: Path) -> None:
    want, none = run(network(), "")
    first, made = run(network(), tmp_path)
    again, found = run(network(), tmp_path)
    assert (none.stats.cache_hits, made.stats.cache_hits, found.stats.cache_hits) == (0, 0, 1)
    assert (made.stats.compiles, found.stats.compiles) == (1, 0)
    np.testing.assert_array_equal(first.view(np.uint32), want.view(np.uint32))
    np.testing.assert_array_equal(again.view(np.uint32), want.view(np.uint32))
    notes = found.explain(found.graph.outputs[0], [found.graph.inputs[0]]).notes
    assert any(str(files(tmp_path)[0]) in note for note in notes)


def test_one_plan_runs_at_all_sizes_and_threads(tmp_path: Path) -> None:
    run(network(), tmp_path)
    graph = network()
    session = pf.Session(graph, pf.SessionConfig(cache_dir=tmp_path, threads=2))
    plain = pf.Session(graph, pf.SessionConfig(cache_dir="", threads=1))
    for rows in (1, 4, 13):
        x = RNG.standard_normal((2, 16, rows, 11)).astype(np.float32)
        one, other = (each.run(graph.outputs[0], {graph.inputs[0]: x}) for each in (session, plain))
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
    assert (session.stats.compiles, session.stats.cache_hits) == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        lambda folder: run(network(WEIGHTS + 1), folder),
        lambda folder: run(network(factor=0.25), folder),
        lambda folder: run(network(), folder, numerics="strict"),
        lambda folder: run(network(), folder, check_numerics="first"),
    ],
)
def test_what_differs_is_no_hit(tmp_path: Path, other: Any) -> None:
    run(network(), tmp_path)
    got, session = other(tmp_path)
    assert session.stats.cache_hits == 0
    want, _ = other("")
    np.testing.assert_array_equal(got, want)


def test_another_isa_is_no_hit(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np, pyflow as pf\n"
        "g = pf.Graph()\n"
        "with g.as_default():\n"
        "    x = pf.placeholder('float32', (2, 40)); y = pf.matmul(x, pf.constant(np.ones((40, 8), np.float32)))\n"
        "s = pf.Session(g, pf.SessionConfig(cache_dir=sys.argv[1])); s.run(y, {x: np.ones((2, 40), np.float32)})\n"
        "print(s.stats.cache_hits)"
    )

    def hits(isa: str) -> int:
        environment = {**os.environ, "PYFLOW_ISA": isa}
        return int(
            subprocess.check_output([sys.executable, "-c", script, str(tmp_path)], env=environment, cwd=tmp_path)
        )

    assert hits("portable") == 0
    assert hits("portable") == 1
    assert hits("") == (0 if pf.runtime.plan_key._core.selected_isa() != "portable" else 1)


def test_what_tells_one_build_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pyflow"
    (package / "passes").mkdir(parents=True)
    source = package / "passes" / "fuse.py"
    source.write_text("a = 1")
    monkeypatch.setattr(plan_key, "PACKAGE", str(package))
    build = plan_key.build.__wrapped__
    seen = [build()]
    source.write_text("a = 12")
    seen.append(build())
    (tmp_path / "pyflow_plugin-1.0.dist-info").mkdir()
    assert build() == seen[-1]
    installed = tmp_path / "pyflow-0.1.0.dist-info"
    installed.mkdir()
    assert build() == seen[-1]  # no list of files in it
    (installed / "RECORD").write_text("")
    assert build() == seen[-1]
    for digest in ("AAAA", "BBBB"):
        (installed / "RECORD").write_text(f"pyflow/passes/fuse.py,sha256={digest},6\n")
        seen.append(build())
    assert len(set(seen)) == 4
    (tmp_path / "pyflow-0.2.0.dist-info").mkdir()
    assert build() == seen[1]  # of which of the two it is, nobody knows


def test_variables_keep_their_meaning(tmp_path: Path) -> None:
    def session() -> tuple[pf.Session, Any, Any, Any]:
        graph = pf.Graph()
        with graph.as_default():
            v = pf.Variable(np.full((4, 4), 2, np.float32), name="v")
            w = pf.constant(np.arange(16, dtype=np.float32).reshape(4, 4))
            x = pf.placeholder("float32", (3, 4))
            y = pf.matmul(pf.matmul(x, w), v.value())
            step = v.assign_add(np.ones((4, 4), np.float32))
        return pf.Session(graph, pf.SessionConfig(cache_dir=tmp_path, auto_init=True)), x, y, step

    x = RNG.standard_normal((3, 4)).astype(np.float32)
    results = []
    for _ in range(2):
        made, feed, y, step = session()
        row = [made.run(y, {feed: x})]
        for _ in range(3):
            made.run(step)
            row.append(made.run(y, {feed: x}))
        results.append(row)
    assert made.stats.cache_hits > 0
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[1][3], x @ np.arange(16).reshape(4, 4) @ np.full((4, 4), 5), rtol=1e-5)


def test_an_op_of_the_users_is_not_kept(tmp_path: Path) -> None:
    double = pf.define("cached_double", "x:T", infer=lambda x: x.type, ref=lambda x: x * 2, expand=lambda x: x + x)
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", (2,))
        graph.outputs = [double(x)]
    session = pf.Session(graph, pf.SessionConfig(cache_dir=tmp_path))
    np.testing.assert_array_equal(session.run(graph.outputs[0], {x: [1, 2]}), [2, 4])
    assert not files(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "head", "plan", "weights", "foreign", "renamed", "long"])
def test_damaged_files_cost_a_compile(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    want, _ = run(network(), tmp_path)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    flipped = {"head": 40, "plan": whole.index(b"PYFLPLAN") + 30, "weights": len(whole) - 100}
    if damage in flipped:
        at = flipped[damage]
        data = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    else:
        data = {"empty": b"", "cut": whole[:-1], "foreign": b"GIF89a" * 99, "long": whole + b"\0"}.get(damage, whole)
    path.chmod(0o644)
    path.unlink()
    if damage == "renamed":
        run(network(WEIGHTS + 1), tmp_path)
        (other,) = files(tmp_path)
        data = other.read_bytes()
    path.write_bytes(data)
    got, session = run(network(), tmp_path)
    assert session.stats.cache_hits == 0
    assert "the plan is compiled" in caplog.text
    np.testing.assert_array_equal(got, want)
    again, session = run(network(), tmp_path)
    assert session.stats.cache_hits == 1, "a new file has taken the place of the damaged one"
    np.testing.assert_array_equal(again, want)


def test_a_whole_file_that_holds_no_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    want, _ = run(network(), tmp_path)
    (path,) = files(tmp_path)
    key, folder = path.name.removesuffix(".pfplan"), PlanFolder(tmp_path)
    kept = folder.get(key)
    assert kept is not None
    for plan, arrays in ((b"no plan", kept.arrays), (kept.plan[:-4], kept.arrays), (kept.plan, kept.arrays[:-1])):
        folder.put(key, kept.about, plan, arrays)
        got, session = run(network(), tmp_path)
        assert session.stats.compiles == 1 and "cannot be used" in caplog.text
        np.testing.assert_array_equal(got, want)
        caplog.clear()


def test_every_cut_and_flip_is_seen(tmp_path: Path) -> None:
    folder = PlanFolder(tmp_path)
    key = "ab" * 32
    folder.put(key, {"x": 1}, b"plan" * 9, [np.arange(37, dtype=np.float32), np.zeros(0, np.int64)])
    path = Path(folder.file_of(key))
    whole = path.read_bytes()
    found = folder.get(key)
    assert found is not None and found.plan == b"plan" * 9 and found.about == {"x": 1}
    np.testing.assert_array_equal(found.arrays[0], np.arange(37))
    assert all(array.ctypes.data % 64 == 0 and not array.flags.writeable for array in found.arrays)
    path.chmod(0o644)
    used = set(range(32)) | set(range(32, whole.index(b"plan" * 9)))
    for at in range(0, len(whole), 3):
        path.unlink()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        got = folder.get(key)
        if at not in used or got is not None:
            intact = got is not None and got.plan == found.plan and all(map(np.array_equal, got.arrays, found.arrays))
            assert got is None or intact, at
        path.unlink()
        path.write_bytes(whole[:at])
        assert folder.get(key) is None, at


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("x")
    want, _ = run(network(), "")
    got, session = run(network(), in_the_way / "below")
    assert session.stats.compiles == 1 and "nothing was kept" in caplog.text
    np.testing.assert_array_equal(got, want)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyflow.runtime.plan_folder.os.replace", full)
    want, _ = run(network(), tmp_path)
    assert not list(tmp_path.iterdir()) and "No space left" in caplog.text
    np.testing.assert_array_equal(want, run(network(), "")[0])


def test_read_only_files_are_enough(tmp_path: Path) -> None:
    want, _ = run(network(), tmp_path)
    assert stat.S_IMODE(files(tmp_path)[0].stat().st_mode) == 0o444
    tmp_path.chmod(0o555)
    try:
        got, session = run(network(), tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert session.stats.cache_hits == 1
    np.testing.assert_array_equal(got, want)


def test_many_write_one_folder_at_once(tmp_path: Path) -> None:
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(run(network(), tmp_path)[0])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6 and all(np.array_equal(each, results[0]) for each in results)
    assert len(list(tmp_path.iterdir())) == 1


def test_it_is_off_unless_a_folder_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYFLOW_CACHE_DIR", raising=False)
    run(network(), None)
    monkeypatch.setenv("PYFLOW_CACHE_DIR", str(tmp_path))
    run(network(), "")
    assert not files(tmp_path)
    run(network(), None)
    assert len(files(tmp_path)) == 1
    monkeypatch.setenv("PYFLOW_STOP_AFTER", "infer")
    _, session = run(network(), None)
    assert session.stats.cache_hits == 0 and len(files(tmp_path)) == 1


# Model files.


def test_a_model_that_was_run_is_not_read_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "plans"
    w = model_file(path)
    x = RNG.standard_normal((3, 200)).astype(np.float32)
    script = (
        "import sys, numpy as np, pyflow as pf, pyflow.onnx\n"
        "g = pf.onnx.load(sys.argv[1])\n"
        "s = pf.Session(g)\n"
        "x = np.load(sys.argv[2])\n"
        "np.save(sys.argv[3], s.run('y', {'x': x}))\n"
        "print(s.stats.cache_hits, s.stats.compiles, int('onnx' in sys.modules))"
    )
    np.save(tmp_path / "x.npy", x)
    environment = {**os.environ, "PYFLOW_CACHE_DIR": str(folder)}
    said = []
    for number in range(2):
        command = [sys.executable, "-c", script, str(path), str(tmp_path / "x.npy"), str(tmp_path / f"{number}.npy")]
        said.append(subprocess.check_output(command, env=environment, text=True, cwd=tmp_path).split())
    assert said == [["0", "1", "1"], ["1", "0", "0"]]
    first, second = np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy")
    np.testing.assert_array_equal(first.view(np.uint32), second.view(np.uint32))
    np.testing.assert_allclose(first, np.maximum(x @ w, 0), rtol=1e-4, atol=1e-4)


def test_an_unread_graph_is_read_when_it_is_looked_at(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "plans"
    w = model_file(path)
    x = RNG.standard_normal((2, 200)).astype(np.float32)

    def opened() -> tuple[pf.Graph, pf.Session]:
        graph = pf.onnx.load(path, cache_dir=folder)
        return graph, pf.Session(graph, pf.SessionConfig(cache_dir=folder))

    graph, session = opened()
    (want,) = session.run(None, {"x": x})
    graph, session = opened()
    (got,) = session.run(None, {"x": x})
    assert "nodes" not in graph.__dict__ and session.stats.cache_hits == 1
    np.testing.assert_array_equal(got, want)
    h = session.run("h", {"x": x})
    assert "nodes" in graph.__dict__ and session.stats.compiles == 1
    np.testing.assert_allclose(h, x @ w, rtol=1e-4, atol=1e-4)
    by_value = session.run(graph.outputs[0], {graph.inputs[0]: x})
    np.testing.assert_array_equal(by_value, want)
    assert graph.outputs[0].graph is graph
    graph, session = opened()
    session.run(None, {"x": x})
    assert "matmul_packed" in str(session.explain(None, ["x"]))
    graph, session = opened()
    with pytest.raises(pf.errors.NotFoundError, match="nothing is named 'z'"):
        session.run("z", {"x": x})
    with pytest.raises(pf.errors.InvalidArgumentError, match="expected 2"):
        session.run(None, {"x": x[0]})


def test_nodes_that_were_added_are_not_taken_for_the_files(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "plans"
    model_file(path)
    x = RNG.standard_normal((2, 200)).astype(np.float32)
    results = []
    for factor in (2.0, 3.0):
        graph = pf.onnx.load(path, cache_dir=folder)
        with graph.as_default():
            graph.alias("y", graph.find("y") * factor)
        session = pf.Session(graph, pf.SessionConfig(cache_dir=folder))
        results.append(session.run("y", {"x": x}))
    np.testing.assert_allclose(results[1], results[0] * 1.5, rtol=1e-6)


def test_another_model_under_the_same_name(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "plans"
    x = RNG.standard_normal((2, 200)).astype(np.float32)
    for _ in range(2):
        w = model_file(path)
        graph = pf.onnx.load(path, cache_dir=folder)
        session = pf.Session(graph, pf.SessionConfig(cache_dir=folder))
        np.testing.assert_allclose(session.run("y", {"x": x}), np.maximum(x @ w, 0), rtol=1e-4, atol=1e-4)
        assert session.stats.cache_hits == 0


def test_data_beside_the_model_counts(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "plans"
    x = RNG.standard_normal((2, 200)).astype(np.float32)
    model_file(path)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="m.data", size_threshold=0)
    results = []
    for _ in range(2):
        for _ in range(2):
            session = pf.Session(pf.onnx.load(path, cache_dir=folder), pf.SessionConfig(cache_dir=folder))
            results.append((session.run("y", {"x": x}), session.stats.cache_hits))
        data = np.fromfile(tmp_path / "m.data", np.float32)
        (tmp_path / "m.data").unlink()
        (data * 2).tofile(tmp_path / "m.data")
    assert [hits for _, hits in results] == [0, 1, 0, 1]
    np.testing.assert_array_equal(results[2][0], results[0][0] * 2)


def test_large_weights_are_read_from_the_file_when_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    w = model_file(path)
    graph = pf.onnx.load(path)
    session = pf.Session(graph)
    x = np.eye(200, dtype=np.float32)
    np.testing.assert_allclose(session.run("h", {"x": x}), w, rtol=1e-6)
    np.testing.assert_array_equal(session.run("w", {}), w)
    path.rename(tmp_path / "moved.onnx")
    np.testing.assert_allclose(session.run("y", {"x": x}), np.maximum(w, 0), rtol=1e-6)
    session.save_plan(tmp_path / "m.plan")
    with open(tmp_path / "moved.onnx", "r+b") as file:
        file.truncate(1000)
    np.testing.assert_allclose(session.run("h", {"x": x}), w, rtol=1e-6)
    with pytest.raises(FailedPreconditionError, match="was written to since it was loaded"):
        session.run(["h", "y"], {"x": x})


def test_mapped_weights_take_no_memory_once_packed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    w = model_file(path, 700)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="m.data", size_threshold=0)

    def resident() -> int:
        """KiB of the file."""
        text = Path("/proc/self/smaps").read_text()
        parts = text.split(str(tmp_path / "m.data"))[1:]
        return sum(int(part.split("Rss:", 1)[1].split()[0]) for part in parts)

    graph = pf.onnx.load(path)
    session = pf.Session(graph)
    x = np.eye(700, dtype=np.float32)
    np.testing.assert_allclose(session.run("h", {"x": x}), w, rtol=1e-6)
    assert resident() == 0
    np.testing.assert_array_equal(session.run("w", {}), w)
    assert graph.outputs[0].dims[1] == 700
