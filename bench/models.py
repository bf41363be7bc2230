"""The networks that benchmarks run: definitions of torch and transformers, seeded, nothing downloaded.

    python bench/models.py DIR    # writes each as an ONNX file, where bench/peers.py looks for them

Batch norms get the statistics of random batches, so that activations neither vanish nor blow up.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn


@dataclass(frozen=True)
class Model:
    """build: the module. example: its inputs by name. accept, goal: what its time may be of the best peer's."""

    build: Callable[[], nn.Module]
    example: Callable[[], dict[str, Tensor]]
    accept: float
    goal: float


class Outputs(nn.Module):
    """A transformers model that takes one tensor and gives one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, given: Tensor) -> Tensor:
        return self.model(given, return_dict=False)[0]


class Chain(nn.Module):
    """Twelve element-wise ops."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x * 0.5 + 0.1)
        z = torch.sigmoid(x - y) * y
        return torch.exp(z * -1.5) + torch.abs(x) * 0.25 - y


class Rows(nn.Module):
    """Layer norm, gelu, softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(nn.functional.gelu(self.norm(x)), dim=-1)


class Product(nn.Module):
    """One matrix product by a constant."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, size) / size**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def mlp(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small_cnn() -> nn.Module:
    convolutions = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    convolutions += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))


def resnet(depths: list[int], layer: str, widths: list[int]) -> nn.Module:
    config = transformers.ResNetConfig(depths=depths, layer_type=layer, hidden_sizes=widths, num_labels=1000)
    return Outputs(transformers.ResNetForImageClassification(config))


def mobilenet() -> nn.Module:
    config = transformers.MobileNetV2Config(num_labels=1000, tf_padding=False)
    return Outputs(transformers.MobileNetV2ForImageClassification(config))


def bert() -> nn.Module:
    return Outputs(transformers.BertModel(transformers.BertConfig(attn_implementation="eager")))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(384, 12, 1536, batch_first=True, activation="gelu")
    module = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    for weight in module.parameters():
        if weight.ndim > 1:
            nn.init.xavier_uniform_(weight)  # else six layers have the same weights
    return module


def vit() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, num_labels=1000
    )
    return Outputs(transformers.ViTForImageClassification(config))


def normal(*shape: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"x": torch.randn(shape)}


IMAGE = normal(1, 3, 224, 224)

MODELS: dict[str, Model] = {
    "resnet18": Model(lambda: resnet([2, 2, 2, 2], "basic", [64, 128, 256, 512]), IMAGE, 0.70, 0.55),
    "resnet50": Model(lambda: resnet([3, 4, 6, 3], "bottleneck", [256, 512, 1024, 2048]), IMAGE, 0.85, 0.72),
    "mobilenetv2": Model(mobilenet, IMAGE, 0.85, 0.70),
    "bert-base": Model(bert, lambda: {"x": torch.randint(0, 30000, (1, 128))}, 1.00, 0.92),
    "encoder": Model(encoder, normal(8, 64, 384), 0.95, 0.85),
    "vit-tiny": Model(vit, IMAGE, 0.95, 0.82),
    "mlp-16": Model(lambda: mlp(16, 32, 32, 4), normal(1, 16), 0.35, 0.20),
    "mlp-784": Model(lambda: mlp(784, 512, 512, 10), normal(64, 784), 0.92, 0.85),
    "cnn": Model(small_cnn, normal(1, 1, 28, 28), 0.70, 0.50),
    "chain-1m": Model(Chain, normal(1024, 1024), 0.70, 0.45),
    "chain-4k": Model(Chain, normal(4096), 0.60, 0.40),
    "rows": Model(lambda: Rows(768), normal(512, 768), 0.60, 0.40),
    "matmul": Model(lambda: Product(1024), normal(1024, 1024), 1.00, 0.96),
}
"""By name, with what is asked of each: the time through pyflow as a share of the best peer's."""


def settle(module: nn.Module, example: Callable[[], dict[str, Tensor]]) -> None:
    """Batch norms take the mean of the statistics of a few random batches; the rest is put into eval mode."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            for _ in range(3):
                module(*example().values())
    module.eval()


def made(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """The settled module and its inputs, the same in every process."""
    torch.manual_seed(0)
    model = MODELS[name]
    module = model.build()
    settle(module, model.example)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module, model.example()


def onnx_file(name: str, folder: Path) -> Path:
    """The module as an ONNX file in ``folder``, written if it is not there."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        module, inputs = made(name)
        torch.backends.mha.set_fastpath_enabled(False)  # else one node that ONNX has no word for
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            arguments: tuple[Any, ...] = tuple(inputs.values())
            partial = path.with_suffix(".partial")
            torch.onnx.export(
                module,
                arguments,
                str(partial),
                input_names=list(inputs),
                output_names=["y"],
                dynamo=False,
                opset_version=18,
            )
            partial.rename(path)
    return path


def reference(name: str) -> np.ndarray:
    """What the module gives in float64."""
    module, inputs = made(name)
    given = [value.double() if value.is_floating_point() else value for value in inputs.values()]
    with torch.no_grad():
        return module.double()(*given).numpy()


if __name__ == "__main__":
    for each in MODELS:
        print(onnx_file(each, Path(sys.argv[1])))
