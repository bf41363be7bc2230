"""What modules hold: names, states, hooks, copies, containers, initial values; and the errors of what does not fit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import (
    DataLossError,
    DTypeError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    UnimplementedError,
)

nn = pf.nn
HERE = "test_modules.py"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter([2.0, 3.0])
        self.layers = nn.ModuleList([nn.Linear(2, 3), nn.BatchNorm1d(3)])
        self.register_buffer("offset", pf.tensor([1.0]))
        self.register_buffer("cache", pf.tensor([0.0]), persistent=False)
        self.tied = self.layers[0]
        self.nothing = None

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x * self.scale[0] + self.offset


PARTS = ("weight", "bias")

PATHS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "net": (
        Net,
        [
            "scale",
            "offset",
            "layers.0.weight",
            "layers.0.bias",
            "layers.1.weight",
            "layers.1.bias",
            "layers.1.running_mean",
            "layers.1.running_var",
            "layers.1.num_batches_tracked",
            "tied.weight",
            "tied.bias",
        ],
    ),
    "lstm": (
        lambda: nn.LSTM(2, 3, 2, bidirectional=True),
        [
            f"{part}_{side}_l{layer}{way}"
            for layer in range(2)
            for way in ("", "_reverse")
            for part in ("weight", "bias")
            for side in ("ih", "hh")
        ],
    ),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2),
        ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"],
    ),
    "attention, sizes apart": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, bias=False),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 1, nn.LayerNorm(4)),
        [
            *(f"layers.0.self_attn.{name}" for name in ("in_proj_weight", "in_proj_bias")),
            *(f"layers.0.{name}" for name in ("self_attn.out_proj.weight", "self_attn.out_proj.bias")),
            *(f"layers.0.{name}.{part}" for name in ("linear1", "linear2", "norm1", "norm2") for part in PARTS),
            "norm.weight",
            "norm.bias",
        ],
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_those_of_pytorch(name: str) -> None:
    make, paths = PATHS[name]
    assert list(make().state_dict()) == paths


def test_what_a_module_lists() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()][:3] == ["scale", "layers.0.weight", "layers.0.bias"]
    assert len(list(net.parameters())) == 5
    assert len(list(net.parameters(recurse=False))) == 1
    assert "tied.weight" in dict(net.named_parameters(remove_duplicate=False))
    assert [name for name, _ in net.named_modules()] == ["", "layers", "layers.0", "layers.1"]
    assert [name for name, _ in net.named_children()] == ["layers", "tied"]
    assert [name for name, _ in net.named_buffers()][:2] == ["offset", "cache"]
    assert net.get_submodule("layers.1") is net.layers[1]
    assert net.get_parameter("layers.0.bias") is net.tied.bias
    assert net.get_buffer("layers.1.running_var").tolist() == [1, 1, 1]
    assert isinstance(net.scale, nn.Parameter) and isinstance(net.scale, pf.Tensor)
    assert not isinstance(net.offset, nn.Parameter)
    assert repr(net) == (
        "Net(\n  (layers): ModuleList(\n    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)\n  )\n"
        "  (tied): Linear(in_features=2, out_features=3, bias=True)\n)"
    )
    seen: list[Any] = []
    assert net.apply(seen.append) is net
    assert seen[-1] is net and len(seen) == 5
    assert not net.eval().layers[1].training and net.train().layers[1].training
    net.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_states_come_from_anything(tmp_path: Any) -> None:
    source, net = Net(), Net()
    x = pf.tensor(normal(4, 2))
    source(x)
    wanted = source.eval()(x).numpy()

    class Foreign:
        """As a library that has arrays of its own."""

        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return self.array

    arrays = {name: tensor.numpy().copy() for name, tensor in source.state_dict().items()}
    nn.save_file(source.state_dict(), tmp_path / "net.safetensors")
    assert list(nn.load_file(tmp_path / "net.safetensors")) == sorted(arrays)
    for state in (
        source.state_dict(),
        arrays,
        {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in arrays.items()},
        {name: Foreign(array) for name, array in arrays.items()},
        tmp_path / "net.safetensors",
        str(tmp_path / "net.safetensors"),
    ):
        net = Net()
        assert net.load_state_dict(state) == ([], [])
        np.testing.assert_array_equal(net.eval()(x).numpy(), wanted)
    weight = net.layers[0].weight
    net.load_state_dict({"scale": [7.0, 8.0], "other": 1}, strict=False)
    assert net.scale.tolist() == [7, 8] and net.layers[0].weight is weight
    del arrays["layers.1.num_batches_tracked"]
    assert Net().load_state_dict(arrays).missing_keys == ["layers.1.num_batches_tracked"]


def test_states_that_do_not_fit_list_all_that_is_wrong(tmp_path: Any) -> None:
    net = Net()
    before = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    state: dict[str, Any] = dict(before)
    del state["scale"], state["layers.1.bias"]
    state["layers.0.weight"] = np.zeros((2, 3), np.float32)
    state["layers.1.running_mean"] = np.zeros(3, np.complex64)
    state["layers.0.wieght"] = np.zeros(1)
    with pytest.raises(InvalidArgumentError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    for part in (
        "2 missing, 1 unexpected, 2 of another shape or dtype",
        HERE,
        "missing: scale",
        "missing: layers.1.bias",
        "unexpected: layers.0.wieght (near: layers.0.weight)",
        "conflict: layers.0.weight is float32[3,2], given float32[2,3]",
        "conflict: layers.1.running_mean is float32[3], given complex64[3]",
    ):
        assert part in text
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    with pytest.raises(InvalidArgumentError, match="conflict"):
        net.load_state_dict(state, strict=False)
    with pytest.raises(DTypeError, match=r"scale.*object"):
        net.load_state_dict({"scale": object()}, strict=False)
    with pytest.raises(DTypeError, match="mapping"):
        net.load_state_dict([1, 2])
    with pytest.raises(NotFoundError, match="no file"):
        net.load_state_dict(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(DataLossError, match="truncated"):
        net.load_state_dict(tmp_path / "bad.safetensors")


def test_hooks() -> None:
    linear = nn.Linear(2, 2)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    x = pf.tensor([[1.0, 2.0]])
    seen: list[str] = []
    first = linear.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    linear.register_forward_hook(lambda module, args, y: seen.append(f"{args[0].tolist()} {y.tolist()}"))
    last = linear.register_forward_hook(lambda module, args, y: y + 1)
    assert linear(x).tolist() == [[3, 5]]
    assert seen == ["[[2.0, 4.0]] [[2.0, 4.0]]"]
    first.remove()
    last.remove()
    assert linear(x).tolist() == [[1, 2]]


def test_copies_and_pickles_are_modules_of_their_own() -> None:
    net = Net()
    x = pf.tensor(normal(4, 2))
    wanted = net.eval()(x).numpy()
    for made in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert made.tied is made.layers[0] and isinstance(made.scale, nn.Parameter)
        np.testing.assert_array_equal(made(x).numpy(), wanted)
        nn.init.zeros_(made.scale)
        assert made.scale.requires_grad and not made.training
    np.testing.assert_array_equal(net(x).numpy(), wanted)


def test_other_dtypes() -> None:
    net = Net()
    parameter = net.tied.weight
    assert net.double().tied.weight.dtype is pf.float64
    assert net.tied is net.layers[0] and net.layers[1].num_batches_tracked.dtype is pf.int64
    assert net.float().tied.weight is not parameter and isinstance(net.tied.weight, nn.Parameter)
    weight = net.tied.weight
    assert net.to(pf.float32).tied.weight is weight
    assert net.half()(pf.tensor(normal(4, 2)).astype("float16")).dtype is pf.float16
    assert net.bfloat16().scale.dtype is pf.bfloat16
    with pytest.raises(DTypeError, match=r"floating dtype, got int32"):
        net.to(pf.int32)


def test_containers() -> None:
    sequence = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(sequence) == 3 and isinstance(sequence[-1], nn.Linear) and len(sequence[:2]) == 2
    assert list(nn.Sequential({"first": nn.Linear(2, 2), "then": nn.Tanh()}).state_dict()) == [
        "first.weight",
        "first.bias",
    ]
    sequence.append(nn.Tanh()).insert(1, nn.Identity())
    assert [type(each).__name__ for each in sequence] == ["Linear", "Identity", "ReLU", "Linear", "Tanh"]
    del sequence[1]
    sequence[1] = nn.Sigmoid()
    assert [name for name, _ in sequence.named_children()] == ["0", "1", "2", "3"]
    many = nn.ModuleDict({"a": nn.Linear(1, 1)})
    many["b"] = nn.Linear(2, 2)
    assert list(many) == ["a", "b"] and "a" in many and many.pop("a") and list(many.keys()) == ["b"]
    weights = nn.ParameterList([[1.0], nn.Parameter([2.0])]).append([3.0])
    assert [parameter.tolist() for parameter in weights] == [[1], [2], [3]]
    assert list(nn.ParameterDict({"x": [1.0]}).state_dict()) == ["x"]
    more = [nn.Linear(2, 2)]
    modules = nn.ModuleList([nn.Linear(1, 1)]) + more
    assert len(modules) == 2
    with pytest.raises(OutOfRangeError, match=r"has no entry 5"):
        modules[5]
    with pytest.raises(DTypeError, match=r"cannot be a name"):
        many["train"] = nn.Linear(1, 1)
    with pytest.raises(DTypeError, match=r"expected a module"):
        nn.ModuleList([1])
    with pytest.raises(KeyError):
        many["none"]


def test_initial_values() -> None:
    init = nn.init
    tensor = pf.tensor(np.zeros((64, 48), np.float32))
    assert init.xavier_uniform_(tensor, seed=1) is tensor
    first = tensor.numpy().copy()
    assert np.abs(first).max() <= np.sqrt(6 / 112) and first.std() > 0.9 * np.sqrt(2 / 112)
    np.testing.assert_array_equal(init.xavier_uniform_(tensor, seed=1).numpy(), first)
    assert (init.xavier_uniform_(tensor, seed=2).numpy() != first).any()
    assert abs(init.kaiming_normal_(tensor, nonlinearity="relu").numpy().std() / np.sqrt(2 / 48) - 1) < 0.1
    assert abs(init.kaiming_uniform_(tensor, mode="fan_out", nonlinearity="linear").numpy().std() * 8 - 1) < 0.1
    drawn = init.trunc_normal_(tensor, 1.0, 2.0, 0.0, 4.0).numpy()
    assert drawn.min() >= 0 and drawn.max() <= 4 and 1 < drawn.mean() < 2.2
    for shape in ((5, 3), (3, 5), (4, 2, 2)):
        matrix = init.orthogonal_(pf.tensor(np.zeros(shape)), gain=2.0).numpy().reshape(shape[0], -1)
        small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-6)
    assert init.constant_(tensor, 3).numpy().mean() == 3 and init.ones_(tensor).numpy().all()
    kernel = init.dirac_(pf.tensor(np.zeros((3, 3, 5), np.float32)))
    x = pf.tensor(normal(2, 3, 7))
    np.testing.assert_array_equal(pf.conv1d(x, kernel, padding=2).numpy(), x.numpy())
    assert init.calculate_gain("leaky_relu", 1.0) == 1
    with pytest.raises(InvalidArgumentError, match=r"\[xavier_normal_\].*at least 2 axes"):
        init.xavier_normal_(pf.tensor([1.0]))
    with pytest.raises(InvalidArgumentError, match="fan_in"):
        init.kaiming_normal_(tensor, mode="fan")
    pf.eager.seed(4)
    one = nn.Linear(3, 3).weight.numpy().copy()
    pf.eager.seed(4)
    np.testing.assert_array_equal(nn.Linear(3, 3).weight.numpy(), one)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "linear": (
        lambda: nn.Linear(3, 2)(pf.tensor(normal(2, 4))),
        InvalidArgumentError,
        r"\[linear\] expected x \[..., 3\]",
    ),
    "linear dtype": (lambda: nn.Linear(3, 2)(pf.tensor(["a", "b", "c"])), DTypeError, r"string"),
    "conv": (
        lambda: nn.Conv2d(3, 4, 3)(pf.tensor(normal(1, 2, 8, 8))),
        InvalidArgumentError,
        r"\[N, 3, H, W\].*float32",
    ),
    "conv rank": (lambda: nn.Conv1d(3, 4, 3)(pf.tensor(normal(1, 2, 3, 8))), InvalidArgumentError, r"\[N, 3, L\] or"),
    "kernel": (
        lambda: nn.Conv2d(1, 1, 5)(pf.tensor(normal(1, 1, 3, 3))),
        InvalidArgumentError,
        r"window of 5",
    ),
    "groups": (lambda: nn.Conv2d(3, 4, 3, groups=2), InvalidArgumentError, r"do not divide into 2 groups"),
    "channels": (lambda: nn.Linear(0, 2), InvalidArgumentError, r"in_features.*at least 1, got 0"),
    "batch norm": (
        lambda: nn.BatchNorm2d(3)(pf.tensor(normal(2, 3))),
        InvalidArgumentError,
        r"x of 4 axes, 3 channels",
    ),
    "one row": (lambda: nn.BatchNorm1d(3)(pf.tensor(normal(1, 3))), InvalidArgumentError, r"more than one value"),
    "layer norm": (lambda: nn.LayerNorm((2, 3))(pf.tensor(normal(3, 2))), InvalidArgumentError, r"\[..., 2, 3\]"),
    "group norm": (lambda: nn.GroupNorm(2, 4)(pf.tensor(normal(1, 6))), InvalidArgumentError, r"\[N, 4, ...\]"),
    "embedding": (lambda: nn.Embedding(5, 2)(pf.tensor([0.5])), DTypeError, r"int64"),
    "row": (lambda: nn.Embedding(5, 2)(pf.tensor([5])), OutOfRangeError, r"index 5 is out of range"),
    "lstm": (
        lambda: nn.LSTM(3, 2)(pf.tensor(normal(4, 2, 5))),
        InvalidArgumentError,
        r"\[LSTM\] expected x \[L, N, 3\]",
    ),
    "state": (
        lambda: nn.GRU(3, 2)(pf.tensor(normal(4, 2, 3)), pf.tensor(normal(1, 3, 2))),
        InvalidArgumentError,
        r"states \[1, 2, 2\]",
    ),
    "heads": (lambda: nn.MultiheadAttention(5, 2), InvalidArgumentError, r"5 is no multiple of num_heads 2"),
    "query": (
        lambda: nn.MultiheadAttention(4, 2)(*(pf.tensor(normal(3, 2, 6)),) * 3),
        InvalidArgumentError,
        r"query \[L, N, 4\]",
    ),
    "dropout": (lambda: nn.Dropout(1.5), InvalidArgumentError, r"probability"),
    "reduction": (lambda: nn.MSELoss(reduction="avg"), InvalidArgumentError, r"got 'avg'"),
    "labels": (lambda: nn.CrossEntropyLoss()(pf.tensor(normal(2, 3)), pf.tensor([1])), InvalidArgumentError, r"target"),
    "no forward": (lambda: nn.ModuleList([])(pf.tensor(1.0)), UnimplementedError, r"no forward"),
    "assigned": (lambda: setattr(Net(), "scale", 3.0), DTypeError, r"scale of Net is a parameter"),
    "buffer": (lambda: Net().register_buffer("b", 3), DTypeError, r"expected a tensor"),
    "parameter": (lambda: Net().register_parameter("p", pf.tensor(1.0)), DTypeError, r"expected a pf.nn.Parameter"),
    "path": (lambda: Net().get_submodule("layers.7"), NotFoundError, r"no module '7'"),
    "integers": (lambda: nn.Parameter([1, 2]), DTypeError, r"can have no gradient"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_have_the_users_line(name: str) -> None:
    attempt, kind, text = WRONG[name]
    with pytest.raises(kind, match=text) as caught:
        attempt()
    assert HERE in str(caught.value)


def test_wrong_training() -> None:
    linear = nn.Linear(2, 1)
    x = pf.tensor(normal(3, 2))
    loss = linear(x).sum()
    loss.backward()
    with pytest.raises(FailedPreconditionError, match=r"retain_graph"):
        loss.backward()

    class Branching(nn.Module):
        def forward(self, x: Any) -> Any:
            while x.sum() > 0:
                x = x - 1
            return x

    with pytest.raises(DTypeError, match=r"no truth value(.|\n)*pf.while_loop") as caught:
        pf.function(Branching())(x)
    assert HERE in str(caught.value)
    with pytest.raises(DTypeError, match=r"numbers are known when the graph is run"):
        pf.function(lambda v: v.sum().item())(x)
    turning = pf.function(lambda v, n: v * n, max_traces=3)
    with pytest.raises(FailedPreconditionError, match=r"3 traces(.|\n)*pass what changes as tensors"):
        for number in range(5):
            turning(x, number)
    with pf.Graph().as_default(), pytest.raises(FailedPreconditionError, match=r"pf\.gradients"):
        pf.placeholder(pf.float32, ()).backward()


def test_gradients_are_those_of_differences() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.GroupNorm(2, 4), nn.Linear(4, 2)).double()
    x = np.random.default_rng(0).standard_normal((5, 3))

    def loss() -> Any:
        return (pf.tanh(module(pf.tensor(x))) * np.arange(10).reshape(5, 2)).sum()

    loss().backward()
    rng = np.random.default_rng(1)
    for name, parameter in module.named_parameters():
        along = rng.standard_normal(parameter.shape)
        both = []
        for sign in (1, -1):
            with pf.no_grad():
                parameter += sign * 1e-6 * along
                both.append(loss().item())
                parameter -= sign * 1e-6 * along
        slope = (parameter.grad.numpy() * along).sum()
        np.testing.assert_allclose((both[0] - both[1]) / 2e-6, slope, rtol=2e-6, atol=2e-7, err_msg=name)


def test_recurrent_layers_are_their_cells_in_turn() -> None:
    x = normal(5, 2, 3)
    for layer, cell in (
        (nn.RNN(3, 4), nn.RNNCell(3, 4)),
        (nn.GRU(3, 4), nn.GRUCell(3, 4)),
        (nn.LSTM(3, 4), nn.LSTMCell(3, 4)),
    ):
        cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in layer.state_dict().items()})
        y, last = layer(pf.tensor(x))
        state = None
        for row, wanted in zip(x, y, strict=True):
            state = cell(pf.tensor(row), state)
            h = state[0] if isinstance(state, tuple) else state
            np.testing.assert_allclose(h.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
        end = last[1][0] if isinstance(last, tuple) else last[0]
        np.testing.assert_allclose(end.numpy(), (state[1] if isinstance(state, tuple) else state).numpy(), atol=1e-6)


def test_attention_by_its_formula() -> None:
    module = nn.MultiheadAttention(4, 2, batch_first=True)
    x = normal(2, 3, 4)
    w, b = module.in_proj_weight.numpy(), module.in_proj_bias.numpy()
    q, k, v = (part.reshape(2, 3, 2, 2).transpose(0, 2, 1, 3) for part in np.split(x @ w.T + b, 3, axis=-1))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(2)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(2, 3, 4)
    wanted = mixed @ module.out_proj.weight.numpy().T + module.out_proj.bias.numpy()
    y, shown = module(*(pf.tensor(x),) * 3)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shown.numpy(), weights.mean(1), rtol=1e-5, atol=1e-6)
    assert module(*(pf.tensor(x),) * 3, need_weights=False)[1] is None


def test_batch_norm_by_its_formula() -> None:
    x = normal(4, 3, 5)
    module = nn.BatchNorm1d(3, momentum=0.3)
    mean, variance = x.mean((0, 2)), x.var((0, 2))
    y = module(pf.tensor(x)).numpy()
    np.testing.assert_allclose(y, (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.running_mean.numpy(), 0.3 * mean, rtol=1e-5)
    np.testing.assert_allclose(module.running_var.numpy(), 0.7 + 0.3 * x.var((0, 2), ddof=1), rtol=1e-5)
    assert module.num_batches_tracked.item() == 1
    empty = nn.Linear(3, 2)(pf.tensor(normal(0, 3)))
    assert empty.shape == (0, 2)
