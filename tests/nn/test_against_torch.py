"""Modules with PyTorch's weights give PyTorch's outputs, gradients and running statistics. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf

torch = pytest.importorskip("torch")
nn = torch.nn


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def integers(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([high, *shape]).integers(0, high, shape)


X2, X3, X4, X5 = normal(4, 6), normal(2, 6, 7), normal(2, 6, 5, 7), normal(2, 6, 3, 4, 5)

POINTWISE = (
    *("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Sigmoid", "LogSigmoid", "Tanh", "GELU"),
    *(
        "Tanhshrink",
        "Softsign",
        "ELU",
        "CELU",
        "LeakyReLU",
        "PReLU",
        "Softplus",
        "Hardtanh",
        "Hardshrink",
        "Softshrink",
    ),
)

LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[np.ndarray, ...]]] = {
    "Linear": (lambda m: m.Linear(6, 3), (X2,)),
    "Linear no bias 3d": (lambda m: m.Linear(7, 3, bias=False), (X3,)),
    "Bilinear": (lambda m: m.Bilinear(6, 5, 3), (X2, normal(4, 5))),
    "Identity": (lambda m: m.Identity(), (X2,)),
    "Flatten": (lambda m: m.Flatten(1, 2), (X4,)),
    "Unflatten": (lambda m: m.Unflatten(1, (2, 3)), (X3,)),
    "Conv1d": (lambda m: m.Conv1d(6, 4, 3, 2, 1), (X3,)),
    "Conv1d same": (lambda m: m.Conv1d(6, 4, 4, padding="same", dilation=2), (X3,)),
    "Conv2d": (lambda m: m.Conv2d(6, 4, (3, 2), (2, 1), (1, 0), groups=2), (X4,)),
    "Conv2d one image": (lambda m: m.Conv2d(6, 4, 3, bias=False), (X4[0],)),
    "Conv2d reflect": (lambda m: m.Conv2d(6, 6, 3, padding=1, groups=6, padding_mode="reflect"), (X4,)),
    "Conv2d circular": (lambda m: m.Conv2d(6, 6, 3, padding="same", padding_mode="circular"), (X4,)),
    "Conv2d replicate": (lambda m: m.Conv2d(6, 6, 3, padding=(1, 2), padding_mode="replicate"), (X4,)),
    "Conv3d": (lambda m: m.Conv3d(6, 4, 2, dilation=(1, 2, 1)), (X5,)),
    "ConvTranspose1d": (lambda m: m.ConvTranspose1d(6, 4, 3, 2, 1, 1), (X3,)),
    "ConvTranspose2d": (lambda m: m.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2, dilation=2), (X4,)),
    "ConvTranspose3d": (lambda m: m.ConvTranspose3d(6, 4, 2, 2), (X5,)),
    "MaxPool1d": (lambda m: m.MaxPool1d(3, 2, 1), (X3,)),
    "MaxPool2d": (lambda m: m.MaxPool2d((2, 3), ceil_mode=True), (X4,)),
    "MaxPool3d": (lambda m: m.MaxPool3d(2), (X5,)),
    "MaxPool2d one image": (lambda m: m.MaxPool2d(2), (X4[0],)),
    "AvgPool1d": (lambda m: m.AvgPool1d(3, 2, 1), (X3,)),
    "AvgPool2d": (lambda m: m.AvgPool2d(3, 2, 1, count_include_pad=False), (X4,)),
    "AvgPool3d": (lambda m: m.AvgPool3d(2), (X5,)),
    "LPPool2d": (lambda m: m.LPPool2d(2, 2), (np.abs(X4) + 0.1,)),
    "AdaptiveAvgPool1d": (lambda m: m.AdaptiveAvgPool1d(3), (X3,)),
    "AdaptiveAvgPool2d": (lambda m: m.AdaptiveAvgPool2d((1, None)), (X4,)),
    "AdaptiveAvgPool3d": (lambda m: m.AdaptiveAvgPool3d(2), (X5,)),
    "AdaptiveMaxPool2d": (lambda m: m.AdaptiveMaxPool2d((2, 3)), (X4,)),
    "BatchNorm1d": (lambda m: m.BatchNorm1d(6), (X2,)),
    "BatchNorm1d 3d": (lambda m: m.BatchNorm1d(6, momentum=None), (X3,)),
    "BatchNorm2d": (lambda m: m.BatchNorm2d(6, eps=1e-3, momentum=0.3), (X4,)),
    "BatchNorm2d plain": (lambda m: m.BatchNorm2d(6, affine=False), (X4,)),
    "BatchNorm3d": (lambda m: m.BatchNorm3d(6, track_running_stats=False), (X5,)),
    "LayerNorm": (lambda m: m.LayerNorm(7), (X3,)),
    "LayerNorm 2 axes": (lambda m: m.LayerNorm((5, 7), eps=1e-3), (X4,)),
    "LayerNorm no bias": (lambda m: m.LayerNorm(7, bias=False), (X3,)),
    "LayerNorm plain": (lambda m: m.LayerNorm(7, elementwise_affine=False), (X3,)),
    "RMSNorm": (lambda m: m.RMSNorm(7), (X3,)),
    "GroupNorm": (lambda m: m.GroupNorm(3, 6), (X4,)),
    "InstanceNorm1d": (lambda m: m.InstanceNorm1d(6, affine=True), (X3,)),
    "InstanceNorm2d": (lambda m: m.InstanceNorm2d(6, affine=True, track_running_stats=True), (X4,)),
    "InstanceNorm3d": (lambda m: m.InstanceNorm3d(6), (X5,)),
    "LocalResponseNorm": (lambda m: m.LocalResponseNorm(3, 0.1), (X4,)),
    **{name: ((lambda m, name=name: getattr(m, name)()), (X3,)) for name in POINTWISE},
    "GELU tanh": (lambda m: m.GELU("tanh"), (X3,)),
    "PReLU channels": (lambda m: m.PReLU(6), (X3,)),
    "Softmax": (lambda m: m.Softmax(dim=1), (X3,)),
    "LogSoftmax": (lambda m: m.LogSoftmax(dim=-1), (X3,)),
    "Softmin": (lambda m: m.Softmin(dim=-1), (X3,)),
    "GLU": (lambda m: m.GLU(dim=1), (X3,)),
    "Threshold": (lambda m: m.Threshold(0.1, 20), (X3,)),
    "Softmax2d": (lambda m: m.Softmax2d(), (X4,)),
    "Embedding": (lambda m: m.Embedding(7, 4, padding_idx=2), (integers(7, 3, 5),)),
    "EmbeddingBag": (lambda m: m.EmbeddingBag(7, 4, mode="sum"), (integers(7, 3, 5),)),
    "RNN": (lambda m: m.RNN(6, 4, 2, nonlinearity="relu"), (normal(5, 3, 6),)),
    "GRU": (lambda m: m.GRU(6, 4, batch_first=True, bidirectional=True), (normal(3, 5, 6),)),
    "GRU no bias": (lambda m: m.GRU(6, 4, bias=False), (normal(5, 6),)),
    "LSTM": (lambda m: m.LSTM(6, 4, 2, bidirectional=True), (normal(5, 3, 6),)),
    "LSTM one sequence": (lambda m: m.LSTM(6, 4), (normal(5, 6),)),
    "GRU state": (lambda m: m.GRU(6, 4, 2), (normal(5, 3, 6), normal(2, 3, 4))),
    "RNNCell": (lambda m: m.RNNCell(6, 4), (X2,)),
    "GRUCell": (lambda m: m.GRUCell(6, 4), (X2, normal(4, 4))),
    "LSTMCell": (lambda m: m.LSTMCell(6, 4), (X2,)),
    "MultiheadAttention": (lambda m: m.MultiheadAttention(6, 2, batch_first=True), (normal(2, 4, 6),) * 3),
    "MultiheadAttention kdim": (
        lambda m: m.MultiheadAttention(6, 3, kdim=4, vdim=5, bias=False),
        (normal(4, 2, 6), normal(3, 2, 4), normal(3, 2, 5)),
    ),
    "MultiheadAttention cross": (
        lambda m: m.MultiheadAttention(6, 3),
        (normal(4, 6), normal(3, 6, seed=1), normal(3, 6, seed=2)),
    ),
    "TransformerEncoderLayer": (
        lambda m: m.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation="gelu", norm_first=True),
        (normal(4, 2, 6),),
    ),
    "TransformerDecoderLayer": (
        lambda m: m.TransformerDecoderLayer(6, 2, 8, dropout=0.0, batch_first=True),
        (normal(2, 4, 6), normal(2, 3, 6)),
    ),
    "Transformer": (lambda m: m.Transformer(6, 2, 1, 1, 8, dropout=0.0), (normal(4, 2, 6), normal(3, 2, 6))),
    "Upsample": (lambda m: m.Upsample(scale_factor=2), (X4,)),
    "Upsample bilinear": (lambda m: m.Upsample((4, 9), mode="bilinear", align_corners=True), (X4,)),
    "PixelShuffle": (lambda m: m.PixelShuffle(2), (normal(2, 8, 3, 3),)),
    "PixelUnshuffle": (lambda m: m.PixelUnshuffle(2), (normal(2, 2, 4, 6),)),
    "ChannelShuffle": (lambda m: m.ChannelShuffle(3), (X4,)),
    "Unfold": (lambda m: m.Unfold((2, 3), padding=1), (X4,)),
    "Fold": (lambda m: m.Fold((4, 5), (2, 2)), (normal(2, 8, 12),)),
    "ZeroPad2d": (lambda m: m.ZeroPad2d((1, 2, 3, 0)), (X4,)),
    "ConstantPad1d": (lambda m: m.ConstantPad1d(2, 3.5), (X3,)),
    "ReflectionPad2d": (lambda m: m.ReflectionPad2d((1, 2, 0, 1)), (X4,)),
    "ReplicationPad3d": (lambda m: m.ReplicationPad3d(1), (X5,)),
    "CircularPad2d": (lambda m: m.CircularPad2d(2), (X4,)),
    "CosineSimilarity": (lambda m: m.CosineSimilarity(), (X2, normal(4, 6, seed=1))),
    "PairwiseDistance": (lambda m: m.PairwiseDistance(), (X2, normal(4, 6, seed=1))),
}

P, Q = np.abs(normal(4, 5)) % 1, np.abs(normal(4, 5, seed=1)) % 1
SIGNS = np.sign(normal(4))

LOSSES: dict[str, tuple[Callable[[Any], Any], tuple[np.ndarray, ...]]] = {
    "L1Loss": (lambda m: m.L1Loss(), (P, Q)),
    "MSELoss": (lambda m: m.MSELoss(reduction="sum"), (P, Q)),
    "SmoothL1Loss": (lambda m: m.SmoothL1Loss(beta=0.2), (P, Q)),
    "HuberLoss": (lambda m: m.HuberLoss(delta=0.3), (P, Q)),
    "BCELoss": (lambda m: m.BCELoss(), (P, Q)),
    "BCEWithLogitsLoss": (lambda m: m.BCEWithLogitsLoss(reduction="none"), (normal(4, 5), Q)),
    "CrossEntropyLoss": (lambda m: m.CrossEntropyLoss(label_smoothing=0.1), (normal(4, 5), integers(5, 4))),
    "CrossEntropyLoss 2d": (lambda m: m.CrossEntropyLoss(), (normal(2, 5, 3), integers(5, 2, 3))),
    "CrossEntropyLoss soft": (lambda m: m.CrossEntropyLoss(), (normal(4, 5), P)),
    "NLLLoss": (lambda m: m.NLLLoss(), (normal(4, 5), integers(5, 4))),
    "KLDivLoss": (lambda m: m.KLDivLoss(reduction="batchmean"), (normal(4, 5), P)),
    "HingeEmbeddingLoss": (lambda m: m.HingeEmbeddingLoss(), (normal(4), SIGNS)),
    "MarginRankingLoss": (lambda m: m.MarginRankingLoss(0.5), (normal(4), normal(4, seed=1), SIGNS)),
    "CosineEmbeddingLoss": (lambda m: m.CosineEmbeddingLoss(0.1), (normal(4, 5), normal(4, 5, seed=1), SIGNS)),
    "TripletMarginLoss": (lambda m: m.TripletMarginLoss(), tuple(normal(4, 5, seed=i) for i in range(3))),
    "PoissonNLLLoss": (lambda m: m.PoissonNLLLoss(), (normal(4, 5), P)),
}


def flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [leaf for entry in result for leaf in flat(entry)]
    return [] if result is None else [result]


def compare(make: Callable[[Any], Any], arrays: tuple[np.ndarray, ...], training: bool = True) -> None:
    torch.manual_seed(0)
    theirs = make(nn).double().train(training)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    mine = make(pf.nn).double().train(training)
    mine.load_state_dict(theirs.state_dict())
    assert list(mine.state_dict()) == list(theirs.state_dict())
    same = len(arrays) > 1 and arrays[0] is arrays[1]
    floating = [array.dtype.kind == "f" for array in arrays]
    xs = [torch.tensor(a, requires_grad=f) for a, f in zip(arrays, floating, strict=True)]
    ys = [pf.tensor(a, requires_grad=f) for a, f in zip(arrays, floating, strict=True)]
    if same:
        xs, ys = [xs[0]] * len(xs), [ys[0]] * len(ys)
    wanted, given = flat(theirs(*xs)), flat(mine(*ys))
    assert len(wanted) == len(given)
    near = {"rtol": 1e-7, "atol": 1e-10}  # some of PyTorch's gradients hold float32 constants
    for a, b in zip(given, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), **near)
    sum((b * b).sum() for b in wanted).backward()
    sum(((a * a).sum() for a in given), pf.tensor(0.0, "float64")).backward()
    for x, y, f in zip(xs, ys, floating, strict=True):
        if f and x.grad is not None:
            np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), **near)
    for (name, a), b in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        if b.grad is None:
            assert a.grad is None, name
        else:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), err_msg=name, **near)
    for (name, a), b in zip(mine.named_buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), err_msg=name, rtol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    compare(*LAYERS[name])


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    compare(*LOSSES[name])


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "InstanceNorm2d", "BatchNorm3d"])
def test_norms_in_eval(name: str) -> None:
    make, arrays = LAYERS[name]
    theirs, mine = make(nn).double(), make(pf.nn).double()
    for _ in range(3):
        theirs(torch.tensor(arrays[0]))
    mine.load_state_dict(theirs.state_dict())
    wanted = theirs.eval()(torch.tensor(arrays[0])).detach().numpy()
    np.testing.assert_allclose(mine.eval()(pf.tensor(arrays[0])).numpy(), wanted, rtol=1e-6, atol=1e-7)


def test_unpooling() -> None:
    x = normal(2, 3, 6, 8)
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    wanted = unpool(*pool(torch.tensor(x)))
    y, indices = pf.nn.MaxPool2d(2, return_indices=True)(pf.tensor(x))
    assert indices.tolist() == pool(torch.tensor(x))[1].tolist()
    np.testing.assert_array_equal(pf.nn.MaxUnpool2d(2)(y, indices).numpy(), wanted.numpy())


def test_attention_masks() -> None:
    theirs = nn.MultiheadAttention(6, 2, batch_first=True).double()
    mine = pf.nn.MultiHeadAttention(6, 2, batch_first=True).double()
    mine.load_state_dict(theirs.state_dict())
    q, k = normal(3, 4, 6), normal(3, 5, 6)
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = padding[2, 1:] = True
    mask = np.triu(np.ones((4, 5), bool), 2)
    many = normal(6, 4, 5)
    for options in (
        {"key_padding_mask": padding},
        {"attn_mask": mask, "average_attn_weights": False},
        {"attn_mask": many, "key_padding_mask": padding.astype(float) * -3.0},
        {"attn_mask": mask, "need_weights": False},
    ):
        as_torch = {n: torch.tensor(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
        as_pf = {n: pf.tensor(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
        wanted = flat(theirs(*map(torch.tensor, (q, k, k)), **as_torch))
        given = flat(mine(*map(pf.tensor, (q, k, k)), **as_pf))
        for a, b in zip(given, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-10)
    x = normal(2, 4, 6)
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    wanted = theirs(*(torch.tensor(x),) * 3, attn_mask=causal)[0].detach().numpy()
    np.testing.assert_allclose(mine(*(pf.tensor(x),) * 3, is_causal=True)[0].numpy(), wanted, rtol=1e-8)


def test_sequence_lengths() -> None:
    theirs = nn.LSTM(6, 4, bidirectional=True, batch_first=True).double()
    mine = pf.nn.LSTM(6, 4, bidirectional=True, batch_first=True).double()
    mine.load_state_dict(theirs.state_dict())
    x, lengths = normal(3, 5, 6), np.array([5, 3, 1])
    packed = nn.utils.rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(lengths), batch_first=True)
    y, (h, c) = theirs(packed)
    wanted = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0]
    given = flat(mine(pf.tensor(x), lengths=pf.tensor(lengths)))
    for a, b in zip(given, (wanted, h, c), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-10)


class Block:
    """A residual block, of either library."""

    @staticmethod
    def of(m: Any) -> Any:
        class Residual(m.Module):
            def __init__(self, channels: int) -> None:
                super().__init__()
                self.conv1 = m.Conv2d(channels, channels, 3, padding=1, bias=False)
                self.bn1 = m.BatchNorm2d(channels)
                self.conv2 = m.Conv2d(channels, channels, 3, padding=1, bias=False)
                self.bn2 = m.BatchNorm2d(channels)
                self.relu = m.ReLU()

            def forward(self, x: Any) -> Any:
                return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))

        return Residual


def tied(m: Any) -> Any:
    class Tied(m.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = m.Embedding(9, 6)
            self.rnn = m.GRU(6, 6, batch_first=True)
            self.out = m.Linear(6, 9, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, tokens: Any) -> Any:
            return self.out(self.rnn(self.embed(tokens))[0])

    return Tied()


class Last:
    @staticmethod
    def of(m: Any) -> Any:
        class Tagger(m.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embed = m.Embedding(9, 6)
                self.lstm = m.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
                self.head = m.ModuleDict({"tag": m.Linear(10, 3), "kind": m.Linear(10, 2)})

            def forward(self, tokens: Any) -> Any:
                y, (h, _) = self.lstm(self.embed(tokens))
                return self.head["tag"](y), self.head["kind"](y[:, -1]), h

        return Tagger()


MODELS: dict[str, tuple[Callable[[Any], Any], tuple[np.ndarray, ...]]] = {
    "mlp": (lambda m: m.Sequential(m.Linear(6, 8), m.GELU(), m.LayerNorm(8), m.Linear(8, 3)), (X2,)),
    "mlp with batch norm": (
        lambda m: m.Sequential(m.Linear(6, 8), m.BatchNorm1d(8), m.SiLU(), m.Dropout(0.0), m.Linear(8, 3)),
        (X2,),
    ),
    "cnn": (
        lambda m: m.Sequential(
            m.Conv2d(1, 4, 3, padding=1),
            m.BatchNorm2d(4),
            m.ReLU(),
            m.MaxPool2d(2),
            m.Conv2d(4, 6, 3),
            m.ReLU(),
            m.AdaptiveAvgPool2d(1),
            m.Flatten(),
            m.Linear(6, 3),
        ),
        (normal(2, 1, 9, 9),),
    ),
    "residual": (lambda m: m.Sequential(m.Conv2d(3, 4, 1), Block.of(m)(4), Block.of(m)(4)), (normal(2, 3, 5, 5),)),
    "separable": (
        lambda m: m.Sequential(
            m.Conv2d(3, 6, 1), m.Hardswish(), m.Conv2d(6, 6, 3, 2, 1, groups=6), m.GroupNorm(2, 6), m.Conv2d(6, 2, 1)
        ),
        (normal(2, 3, 6, 6),),
    ),
    "autoencoder": (
        lambda m: m.Sequential(
            m.Conv2d(1, 4, 3, 2, 1), m.LeakyReLU(0.2), m.ConvTranspose2d(4, 1, 4, 2, 1), m.InstanceNorm2d(1), m.Tanh()
        ),
        (normal(2, 1, 8, 8),),
    ),
    "temporal": (
        lambda m: m.Sequential(m.Conv1d(6, 8, 3, dilation=2), m.PReLU(8), m.AvgPool1d(2), m.Flatten(), m.Linear(8, 2)),
        (X3,),
    ),
    "language model": (tied, (integers(9, 2, 5),)),
    "tagger": (Last.of, (integers(9, 2, 5),)),
    "transformer": (
        lambda m: m.TransformerEncoder(
            m.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2, norm=m.LayerNorm(8)
        ),
        (normal(2, 5, 8),),
    ),
    "volume": (
        lambda m: m.Sequential(m.Conv3d(6, 4, 2), m.BatchNorm3d(4), m.ELU(), m.MaxPool3d((1, 1, 2)), m.Flatten()),
        (X5,),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    compare(*MODELS[name])


def test_initial_values_have_the_spread_of_torch() -> None:
    for make in (lambda m: m.Linear(64, 300), lambda m: m.Conv2d(16, 32, 3), lambda m: m.LSTM(32, 64)):
        for (name, a), b in zip(make(pf.nn).named_parameters(), make(nn).parameters(), strict=True):
            theirs = b.detach().numpy()
            assert 0.9 < np.abs(a.numpy()).max() / np.abs(theirs).max() < 1.1, name
            assert 0.85 < a.numpy().std() / theirs.std() < 1.15, name
    with torch.no_grad():
        for name in ("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_"):
            theirs = getattr(nn.init, name)(torch.empty(60, 40, 3))
            mine = getattr(pf.nn.init, name)(pf.tensor(np.zeros((60, 40, 3), np.float32)))
            assert 0.93 < mine.numpy().std() / float(theirs.std()) < 1.07, name
