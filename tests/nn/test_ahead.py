"""Functions over modules ahead of time: a train step and a prediction in one library, over shared variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, FailedPreconditionError


@pytest.mark.builds
def test_a_library_trains_as_the_function_does(tmp_path: Any) -> None:
    pf.eager.seed(1)
    model = pf.nn.Sequential(pf.nn.Linear(3, 8), pf.nn.BatchNorm1d(8), pf.nn.Tanh(), pf.nn.Linear(8, 2))
    optimizer = pf.optim.Adam(model.named_parameters(), lr=0.05)

    @pf.function
    def train(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = pf.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    y = np.arange(6) % 2
    given = pf.tensor(x), pf.tensor(y)
    train(*given)
    still = pf.function(lambda x: pf.softmax(model[3](x), -1))
    hidden = pf.tensor(np.ones((2, 8), np.float32))
    still(hidden)
    made = pf.aot.compile({"train": train, "still": still}, out_dir=tmp_path, name="step", emit="shared").load()
    for _ in range(4):
        wanted = train(*given).item()
        mine = made.train(x, y)
        np.testing.assert_allclose(np.asarray(mine[0] if isinstance(mine, (list, tuple)) else mine), wanted, rtol=1e-5)
    assert {"0.weight", "0.weight.mean", "1.running_var"} <= {each["name"] for each in made.manifest["variables"]}
    mine = np.asarray(made.still(hidden.numpy()))
    np.testing.assert_allclose(mine.reshape(2, 2), still(hidden).numpy(), rtol=1e-5)
    model.eval()
    with pytest.raises(FailedPreconditionError, match=r"training.*differs"):
        pf.aot.compile(train, out_dir=tmp_path)


def test_what_cannot_be_compiled(tmp_path: Any) -> None:
    double = pf.function(lambda x: x * 2)
    with pytest.raises(FailedPreconditionError, match="call it with tensors first"):
        pf.aot.compile({"double": double}, out_dir=tmp_path)
    double(pf.tensor([1.0]))
    double(pf.tensor([1]))
    with pytest.raises(FailedPreconditionError, match="found 2"):
        pf.aot.compile({"double": double}, out_dir=tmp_path)
    with pytest.raises(DTypeError, match=r"expected a graph.*test_ahead"):
        pf.aot.compile(lambda x: x, out_dir=tmp_path)


def test_a_declared_function_is_part_of_a_graph() -> None:
    w = pf.nn.Parameter([2.0])

    @pf.function
    def move(x: Any, by: float = 1.0) -> dict[str, Any]:
        with pf.no_grad():
            w.add_(x.sum() * by)
        return {"w": w * 1.0}

    move(pf.tensor([1.0]), by=3.0)
    graph = pf.Graph()
    with graph.as_default():
        (x,), result = move.declare()
    with pf.Session(graph, pf.SessionConfig(auto_init=True)) as session:
        assert session.run(result["w"], {x: [1, 1]}).tolist() == [11]
    assert w.tolist() == [5]
