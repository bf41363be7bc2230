"""A small convolutional network for 8x8 digits, as a pyflow graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import pyflow as pf

CLASSES = 10
SIDE = 8


@dataclass(frozen=True)
class Digits:
    """The graph and what a run of it may fetch and feed."""

    graph: pf.Graph
    images: pf.Value
    labels: pf.Value
    rate: pf.Value
    logits: pf.Value
    probabilities: pf.Value
    loss: pf.Value
    accuracy: pf.Value
    train_step: pf.Node
    initialise: pf.Node


def _weights(random: np.random.Generator, shape: tuple[int, ...], inputs: int) -> np.ndarray:
    """He initialisation."""
    return (random.standard_normal(shape) * np.sqrt(2.0 / inputs)).astype(np.float32)


def build_digits(seed: int = 0) -> Digits:
    """Two convolution blocks and two dense layers; every size but the batch is fixed."""
    random = np.random.default_rng(seed)
    graph = pf.Graph()
    graph.seed = seed
    with graph.as_default():
        images = pf.placeholder(pf.float32, ("batch", 1, SIDE, SIDE), name="images")
        labels = pf.placeholder(pf.int64, ("batch",), name="labels")
        rate = pf.placeholder(pf.float32, (), name="learning_rate")

        def conv(x: pf.Value, inputs: int, outputs: int, name: str) -> pf.Value:
            w = pf.Variable(_weights(random, (outputs, inputs, 3, 3), inputs * 9), name=f"{name}_w")
            b = pf.Variable(np.zeros(outputs, np.float32), name=f"{name}_b")
            return pf.relu(pf.conv2d(x, w, b, padding="same"))

        x = conv(images, 1, 32, "conv1")
        x = pf.max_pool2d(conv(x, 32, 32, "conv2"), 2)
        x = pf.max_pool2d(conv(x, 32, 64, "conv3"), 2)
        flat = 64 * (SIDE // 4) ** 2
        features = pf.reshape(x, (-1, flat))
        hidden_w = pf.Variable(_weights(random, (flat, 128), flat), name="hidden_w")
        hidden_b = pf.Variable(np.zeros(128, np.float32), name="hidden_b")
        hidden = pf.relu(features @ hidden_w + hidden_b)
        out_w = pf.Variable(_weights(random, (128, CLASSES), 128), name="out_w")
        out_b = pf.Variable(np.zeros(CLASSES, np.float32), name="out_b")
        logits = pf.identity(hidden @ out_w + out_b, name="logits")
        noisy = pf.dropout(hidden, 0.3) @ out_w + out_b
        loss = pf.cross_entropy(noisy, labels)
        correct = pf.equal(pf.argmax(logits, axis=1), labels)
        accuracy = pf.mean(pf.cast(correct, pf.float32))
        graph.outputs = [logits]
        return Digits(
            graph,
            images,
            labels,
            rate,
            logits,
            pf.softmax(logits, name="probabilities"),
            loss,
            accuracy,
            pf.optim.AdamW(lr=rate, weight_decay=1e-4).minimize(loss),
            pf.global_variables_initializer(),
        )
