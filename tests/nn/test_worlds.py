"""One module, three worlds: eager calls, ``pf.function`` and a Session give the same bits, and train alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import FailedPreconditionError, InvalidArgumentError

nn = pf.nn
STRICT = pf.SessionConfig(numerics="strict", auto_init=True)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 7, shape)


class Decoder(nn.Module):
    """Attention over what a recurrent layer gives, with a weight tied to the table."""

    def __init__(self) -> None:
        self.embed = nn.Embedding(7, 6)
        self.rnn = nn.LSTM(6, 6, batch_first=True)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.out = nn.Linear(6, 7, bias=False)
        self.out.weight = self.embed.weight
        self.scale = nn.Parameter([2.0])

    def forward(self, x: Any) -> dict[str, Any]:
        y, (h, _) = self.rnn(self.embed(x))
        seen, weights = self.attend(y, y, y)
        return {"logits": self.out(seen) * self.scale, "weights": weights, "last": h}


MODELS: dict[str, tuple[Callable[[], Any], np.ndarray, tuple[Any, ...]]] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)),
        normal(4, 5),
        ("n", 5),
    ),
    "batch norm": (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.SiLU()), normal(7, 5), ("n", 5)),
    "mean of all": (lambda: nn.BatchNorm2d(3, momentum=None), normal(3, 3, 2, 5), ("n", 3, 2, 5)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        ),
        normal(3, 2, 4, 5),
        ("n", 2, 4, 5),
    ),
    "decoder": (Decoder, tokens(2, 5), ("n", 5)),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2),
        normal(2, 3, 8),
        ("n", 3, 8),
    ),
    "gru both ways": (lambda: nn.GRU(3, 4, 2, bidirectional=True), normal(5, 2, 3), (5, 2, 3)),
    "groups": (
        lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm1d(4), nn.PReLU(4)),
        normal(2, 4, 6),
        (2, 4, 6),
    ),
}


def flat(result: Any) -> list[Any]:
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, (tuple, list)):
        return [leaf for entry in result for leaf in flat(entry)]
    return [result]


def held(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits(name: str, training: bool) -> None:
    make, array, dims = MODELS[name]
    pf.eager.seed(3)
    module = make().train(training)
    start = held(module)
    x = pf.tensor(array)
    eager = [leaf.numpy() for leaf in flat(module(x))]
    after = held(module)

    module.load_state_dict(start)
    traced = pf.function(module)
    assert [leaf.shape for leaf in flat(traced(x))] == [leaf.shape for leaf in eager]
    module.load_state_dict(start)
    for mine, wanted in zip(flat(traced(x)), eager, strict=True):
        np.testing.assert_array_equal(mine.numpy(), wanted)
    for key, value in held(module).items():
        np.testing.assert_array_equal(value, after[key], err_msg=key)
    assert traced.traces == 1

    module.load_state_dict(start)
    graph = pf.Graph()
    with graph.as_default():
        fed = pf.placeholder(x.dtype, dims)
        result = module(fed)
    with pf.Session(graph, STRICT) as session:
        for mine, wanted in zip(session.run(flat(result), {fed: array}), eager, strict=True):
            np.testing.assert_array_equal(mine, wanted)
        for key, value in after.items():
            if session.state.has(key):
                np.testing.assert_array_equal(session.state.get(key), value, err_msg=key)
    assert set(graph.variables) - {"random/generator"} <= set(module.state_dict())


def test_dropout_draws_the_same_numbers() -> None:
    module = nn.Sequential(nn.Dropout(0.4), nn.Linear(6, 6), nn.Dropout2d(0.5), nn.AlphaDropout(0.3))
    x = normal(3, 6, 6)
    pf.eager.seed(11)
    eager = module(pf.tensor(x)).numpy()
    pf.eager.seed(11)
    np.testing.assert_array_equal(pf.function(module)(pf.tensor(x)).numpy(), eager)
    graph = pf.Graph()
    graph.seed = 11
    with graph.as_default():
        fed = pf.placeholder(pf.float32, (3, 6, 6))
        y = module(fed)
    with pf.Session(graph, STRICT) as session:
        np.testing.assert_array_equal(session.run(y, {fed: x}), eager)
    assert 0.1 < (nn.Dropout(0.4)(pf.tensor(np.ones(1000, np.float32))).numpy() == 0).mean() < 0.6
    np.testing.assert_array_equal(module.eval()(pf.tensor(x)).numpy(), module[1](pf.tensor(x)).numpy())


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: pf.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: pf.optim.Adam(p, lr=0.02),
    "AdamW": lambda p: pf.optim.AdamW([{"params": list(p), "weight_decay": 0.1}], lr=0.02),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_train_step_in_three_worlds(name: str) -> None:
    def trained(world: str) -> dict[str, np.ndarray]:
        pf.eager.seed(5)
        model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))
        optimizer = OPTIMIZERS[name](model.named_parameters() if name != "AdamW" else model.parameters())
        loss_of = nn.CrossEntropyLoss()

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            pf.optim.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            return loss

        x, y = normal(8, 3), np.arange(8) % 2
        if world == "session":
            graph = pf.Graph()
            with graph.as_default():
                fed = pf.placeholder(pf.float32, ("n", 3)), pf.placeholder(pf.int64, ("n",))
                loss = pf.function(step)(*fed)
            with pf.Session(graph, STRICT) as session:
                losses = [float(session.run(loss, dict(zip(fed, (x, y), strict=True)))) for _ in range(4)]
                model.read_from(session)
        else:
            run = pf.function(step) if world == "function" else step
            losses = [run(pf.tensor(x), pf.tensor(y)).item() for _ in range(4)]
            assert world != "function" or run.traces == 1
        assert losses[-1] < losses[0]
        return {**held(model), "losses": np.array(losses)}

    wanted = trained("eager")
    for world in ("function", "session"):
        for key, value in trained(world).items():
            np.testing.assert_array_equal(value, wanted[key], err_msg=f"{world} {key}")


def test_minimize_trains_a_module_and_saver_keeps_its_state(tmp_path: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model[0].weight.requires_grad = False
    fixed = held(model)["0.weight"]
    graph = pf.Graph()
    with graph.as_default():
        x, y = pf.placeholder(pf.float32, ("n", 2)), pf.placeholder(pf.float32, ("n", 1))
        loss = pf.mse_loss(model(x), y)
        train = pf.optim.Adam(lr=0.05).minimize(loss)
    points = normal(32, 2)
    with pf.Session(graph, STRICT) as session:
        feeds = {x: points, y: points.sum(1, keepdims=True)}
        losses = [session.run([loss, train], feeds)[0] for _ in range(60)]
        saved = [graph.variables[name] for name in model.state_dict()]
        path = pf.train.Saver(saved).save(session, tmp_path / "model")
        assert losses[-1] < 0.2 * losses[0]
        model.load_state_dict(path)
        np.testing.assert_array_equal(model[2].weight.numpy(), session.state.get("2.weight"))
        np.testing.assert_array_equal(model[0].weight.numpy(), fixed)
        assert model[1].num_batches_tracked.item() == 60
        nn.init.zeros_(model[2].weight)
        model.write_to(session)
        assert not session.state.get("2.weight").any()


def test_each_graph_has_its_own_values() -> None:
    linear = nn.Linear(2, 1)
    results = []
    for value in (1.0, 3.0):
        nn.init.constant_(linear.weight, value)
        nn.init.zeros_(linear.bias)
        graph = pf.Graph()
        with graph.as_default(), pf.name_scope("net"):
            x = pf.placeholder(pf.float32, (1, 2))
            y = linear(x)
            again = linear(y * np.ones((1, 2), np.float32))
        assert list(graph.variables) == ["net/weight", "net/bias"]
        results.append((pf.Session(graph, STRICT), x, y, again))
    nn.init.zeros_(linear.weight)
    for (session, x, y, again), value in zip(results, (1.0, 3.0), strict=True):
        assert session.run([y, again], {x: [[1, 1]]})[0].item() == 2 * value
        session.close()


def test_a_module_inside_control_flow() -> None:
    cell = nn.GRUCell(3, 4)
    x = normal(5, 2, 3)

    def run(rows: Any) -> Any:
        return pf.scan(lambda h, row: ((new := cell(row, h)), new), np.zeros((2, 4), np.float32), rows)[1]

    eager = run(pf.tensor(x)).numpy()
    np.testing.assert_array_equal(pf.function(run)(pf.tensor(x)).numpy(), eager)
    graph = pf.Graph()
    with graph.as_default():
        fed = pf.placeholder(pf.float32, (5, 2, 3))
        y = run(fed)
    with pf.Session(graph, STRICT) as session:
        np.testing.assert_array_equal(session.run(y, {fed: x}), eager)


def test_a_mode_or_setting_that_changes_makes_another_trace() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
    traced = pf.function(module)
    x = pf.tensor(normal(4, 2))
    for _ in range(2):
        module.train()
        traced(x)
        module.eval()
        np.testing.assert_array_equal(traced(x).numpy(), module(x).numpy())
    assert traced.traces == 2
    assert "training" in traced.explain()
    module.load_state_dict(module.state_dict())
    traced(x)
    assert traced.traces == 2
    module[0].eps = 1.0
    np.testing.assert_array_equal(traced(x).numpy(), module(x).numpy())
    module[0].weight = nn.Parameter([5.0, 5.0])
    np.testing.assert_array_equal(traced(x).numpy(), module(x).numpy())
    assert traced.traces == 4


def test_a_method_is_traced_for_each_instance() -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            self.factor = nn.Parameter([factor])

        @pf.function(max_traces=1)
        def twice(self, x: Any) -> Any:
            return x * self.factor * 2

    x = pf.tensor([1.0, 2.0])
    for value in range(3):
        module = Scaled(float(value))
        assert module.twice(x).tolist() == [2 * value, 4 * value]
        assert module.twice.traces == 1
        other = copy.deepcopy(module)
        nn.init.constant_(other.factor, 7.0)
        assert other.twice(x).tolist() == [14, 28]
        assert module.twice(x).tolist() == [2 * value, 4 * value]


def test_values_of_another_graph_and_a_leaked_one_are_refused() -> None:
    linear = nn.Linear(2, 2)
    with pf.Graph().as_default():
        x = pf.placeholder(pf.float32, (1, 2))
    with pf.Graph().as_default(), pytest.raises(InvalidArgumentError, match=r"another graph.*test_worlds"):
        linear(x)
    leaked: list[Any] = []
    pf.function(lambda v: leaked.append(v))(pf.tensor([[1.0, 2.0]]))
    with pytest.raises(InvalidArgumentError, match=r"trace that ended(.|\n)*return"):
        linear(leaked[0])
    with pf.Session(pf.Graph()) as session, pytest.raises(FailedPreconditionError, match="no variables"):
        linear.read_from(session)
