"""Well-known networks at small sizes, defined by torch, torchvision and transformers, with seeded weights.

Nothing is downloaded: each is built from a configuration. Batch norms get statistics of a few random batches, so that
activations neither vanish nor overflow.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

with contextlib.suppress(ModuleNotFoundError):
    importlib.import_module("vision")  # before transformers imports torchvision, which may not fit torch

torch.set_num_threads(1)

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """build: the module. feeds: its inputs at given sizes, one array per input name, in order.

    dynamic: the axes of each input that have a name. sizes: what to run at; each an argument list of ``feeds``.
    exporters: those of torch's two that write it for any size; ``dynamo`` takes long for deep ones.
    """

    build: Callable[[], nn.Module]
    feeds: Callable[..., dict[str, Tensor]]
    dynamic: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]
    sizes: Sequence[Sizes]
    example: Sizes
    exporters: Sequence[str] = ("torchscript", "dynamo")
    tolerance: float = 1e-4
    opset: int = 18


class First(nn.Module):
    """A transformers model by positional tensors; gives a tuple of tensors."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.names, tensors, strict=True))
        return tuple(self.model(**given, return_dict=False, use_cache=False))


class GPT2WithPast(nn.Module):
    """One step of decoding: tokens and each layer's keys and values in; logits and the longer keys and values out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        cache = transformers.DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        out = self.model(input_ids=tokens, past_key_values=cache, use_cache=True)
        kept = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return (out.logits, *kept)


class LSTM(nn.Module):
    """Two layers, both directions, and a classifier of the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True)
        self.head = nn.Linear(48, 5)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        out, (hidden, _) = self.lstm(self.embedding(tokens).transpose(0, 1))
        return self.head(out[-1]), hidden


def _convs(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Two levels down and up: one by a transposed convolution, one by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _convs(3, 8), _convs(8, 16), _convs(16, 32)
        self.up_second = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.join_second, self.join_first = _convs(32, 16), _convs(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        second = self.second(nn.functional.max_pool2d(first, 2))
        third = self.third(nn.functional.max_pool2d(second, 2))
        second = self.join_second(torch.cat([self.up_second(third), second], 1))
        up = nn.functional.interpolate(second, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(self.join_first(torch.cat([up, first], 1)))


class Detector(nn.Module):
    """A backbone, a head of boxes and scores per cell, and non-maximum suppression over the best of the first image."""

    def __init__(self) -> None:
        super().__init__()
        _torchvision_models()
        self.backbone = nn.Sequential(_convs(3, 8), nn.MaxPool2d(4), _convs(8, 16), nn.MaxPool2d(2))
        self.boxes = nn.Conv2d(16, 4, 1)
        self.scores = nn.Conv2d(16, 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.backbone(image)
        height, width = features.shape[2], features.shape[3]
        boxes = self.boxes(features).permute(0, 2, 3, 1).reshape(-1, height * width, 4)
        scores = self.scores(features).sigmoid().reshape(-1, height * width)
        rows = torch.arange(height, dtype=torch.float32).unsqueeze(1).expand(height, width).reshape(-1)
        columns = torch.arange(width, dtype=torch.float32).unsqueeze(0).expand(height, width).reshape(-1)
        centres = torch.stack([columns, rows], 1) * 8.0 + 4.0
        low = centres - 8.0 * boxes[..., :2].exp()
        high = centres + 8.0 * boxes[..., 2:].exp()
        corners = torch.cat([low, high], -1)
        kept = torch.ops.torchvision.nms(corners[0], scores[0], 0.3)
        return scores, corners[0][kept], scores[0][kept]


class Autoencoder(nn.Module):
    """Strided convolutions to a code of 10 numbers, and transposed ones back to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Linear(16 * 7 * 7, 10),
        )
        self.decode = nn.Sequential(
            nn.Linear(10, 16 * 7 * 7),
            nn.ELU(),
            nn.Unflatten(1, (16, 7, 7)),
            nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encode(image)
        return self.decode(code), code


def _image(batch: int, channels: int, height: int, width: int) -> dict[str, Tensor]:
    return {"image": torch.randn(batch, channels, height, width)}


def _square(batch: int, side: int) -> dict[str, Tensor]:
    return _image(batch, 3, side, side)


def _oblong(batch: int, height: int, width: int) -> dict[str, Tensor]:
    return _image(batch, 3, height, width)


def _digit(batch: int) -> dict[str, Tensor]:
    return _image(batch, 1, 28, 28)


def _tokens(batch: int, length: int) -> dict[str, Tensor]:
    return {"tokens": torch.randint(1, 50, (batch, length))}


def _masked(batch: int, length: int) -> dict[str, Tensor]:
    """The last row is shorter than the others by a third."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[-1, length - length // 3 :] = 0
    return {**_tokens(batch, length), "mask": mask}


def _with_past(batch: int, length: int, past: int) -> dict[str, Tensor]:
    names = [f"past_{kind}_{layer}" for layer in range(2) for kind in ("key", "value")]
    return {**_tokens(batch, length), **{name: torch.randn(batch, 4, past, 16) for name in names}}


def _bert() -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=64,
    )
    return First(transformers.BertModel(config), "input_ids", "attention_mask")


def _gpt2_model() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=64, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def _gpt2() -> nn.Module:
    return First(_gpt2_model(), "input_ids", "attention_mask")


def _gpt2_with_past() -> nn.Module:
    return GPT2WithPast(_gpt2_model())


def _llama() -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=64,
    )
    return First(transformers.LlamaForCausalLM(config), "input_ids", "attention_mask")


def _t5_encoder() -> nn.Module:
    config = transformers.T5Config(vocab_size=50, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4)
    return First(transformers.T5EncoderModel(config), "input_ids", "attention_mask")


def _torchvision_models() -> Any:
    """Raises ModuleNotFoundError where there is no torchvision."""
    return importlib.import_module("vision").torchvision.models


def _vit() -> nn.Module:
    model = _torchvision_models().VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=96, num_classes=10
    )
    nn.init.normal_(model.heads.head.weight, std=0.1)
    return model


def _small(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(_torchvision_models(), name)(weights=None, num_classes=10, **options)


SQUARES = ((1, 32), (3, 47), (2, 64))
BATCH = {0: "batch"}
PIXELS = {0: "batch", 2: "height", 3: "width"}
TEXT = {0: "batch", 1: "length"}
PAST = {f"past_{kind}_{layer}": {0: "batch", 2: "past"} for layer in range(2) for kind in ("key", "value")}
PRESENT = tuple(name.replace("past", "present") for name in PAST)

ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(_small("resnet18"), _square, {"image": PIXELS}, ["logits"], SQUARES, (2, 64)),
    "resnet50": Architecture(
        _small("resnet50", width_per_group=16),
        _square,
        {"image": PIXELS},
        ["logits"],
        SQUARES,
        (2, 64),
        exporters=("torchscript",),
    ),
    "mobilenet_v2": Architecture(
        _small("mobilenet_v2", width_mult=0.35),
        _square,
        {"image": PIXELS},
        ["logits"],
        SQUARES,
        (2, 64),
        exporters=("torchscript",),
    ),
    "vit": Architecture(_vit, _square, {"image": BATCH}, ["logits"], ((1, 32), (3, 32), (8, 32)), (2, 32)),
    "bert": Architecture(
        _bert,
        _masked,
        {"tokens": TEXT, "mask": TEXT},
        ["hidden", "pooled"],
        ((1, 1), (3, 7), (2, 32)),
        (2, 8),
    ),
    "gpt2": Architecture(_gpt2, _masked, {"tokens": TEXT, "mask": TEXT}, ["logits"], ((1, 1), (3, 7), (2, 32)), (2, 8)),
    "gpt2_with_past": Architecture(
        _gpt2_with_past,
        _with_past,
        {"tokens": TEXT, **PAST},
        ["logits", *PRESENT],
        ((1, 1, 5), (3, 2, 7), (2, 5, 24)),
        (2, 3, 8),
    ),
    "llama": Architecture(
        _llama, _masked, {"tokens": TEXT, "mask": TEXT}, ["logits"], ((1, 1), (3, 7), (2, 32)), (2, 8)
    ),
    "t5_encoder": Architecture(
        _t5_encoder,
        _masked,
        {"tokens": TEXT, "mask": TEXT},
        ["hidden"],
        ((1, 1), (3, 7), (2, 32)),
        (2, 8),
        exporters=("torchscript",),
    ),
    "lstm": Architecture(
        LSTM,
        _tokens,
        {"tokens": TEXT},
        ["logits", "hidden"],
        ((1, 1), (3, 7), (2, 20)),
        (2, 8),
        exporters=("torchscript",),
    ),
    "unet": Architecture(
        UNet, _oblong, {"image": PIXELS}, ["mask"], ((1, 16, 16), (3, 20, 36), (2, 32, 64)), (2, 32, 24)
    ),
    "detector": Architecture(
        Detector,
        _oblong,
        {"image": PIXELS},
        ["scores", "boxes", "best"],
        ((1, 32, 32), (3, 40, 56), (2, 64, 64)),
        (2, 48, 64),
    ),
    "autoencoder": Architecture(Autoencoder, _digit, {"image": BATCH}, ["picture", "code"], ((1,), (3,), (8,)), (2,)),
}


def build(name: str) -> nn.Module:
    """The module of that name in evaluation mode, its weights and statistics seeded."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    module = architecture.build().train()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.0)
            norm.bias.uniform_(-0.2, 0.2)
            norm.momentum = None
        for _ in range(2 if norms else 0):
            module(*architecture.feeds(*architecture.example).values())
    return module.eval()


def feeds(name: str, sizes: Sizes) -> dict[str, Tensor]:
    """The inputs at ``sizes``, seeded."""
    torch.manual_seed(1)
    return ARCHITECTURES[name].feeds(*sizes)


def reference(module: nn.Module, given: Mapping[str, Tensor]) -> list[np.ndarray]:
    """torch's own outputs."""
    with torch.no_grad():
        out = module(*given.values())
    return [tensor.numpy() for tensor in (out if isinstance(out, tuple) else (out,))]


def export(name: str, module: nn.Module, exporter: str) -> bytes:
    """The ONNX model as one of torch's two exporters writes it."""
    architecture = ARCHITECTURES[name]
    example = feeds(name, architecture.example)
    dynamic: dict[str, Any]
    if exporter == "dynamo":
        shapes = [dict(architecture.dynamic[key]) for key in example]
        dynamic = {"dynamic_shapes": _by_parameter(module, shapes)}
    else:
        dynamic = {"dynamic_axes": {key: dict(axes) for key, axes in architecture.dynamic.items()}}
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(example.values()),
            file,
            input_names=list(example),
            output_names=list(architecture.outputs),
            opset_version=architecture.opset,
            dynamo=exporter == "dynamo",
            verbose=False,
            **dynamic,
        )
    return file.getvalue()


def _by_parameter(module: nn.Module, shapes: list[Any]) -> Any:
    """Shapes as forward's parameters take them: those of a ``*parameter`` in one tuple."""
    parameters = list(module.forward.__code__.co_varnames[1 : 1 + module.forward.__code__.co_argcount - 1])
    fixed = len(parameters)
    variadic = bool(module.forward.__code__.co_flags & 0x04)
    return (*shapes[:fixed], tuple(shapes[fixed:])) if variadic else tuple(shapes)
