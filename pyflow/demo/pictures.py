"""The demo's pictures: the loss curve, and digits with their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class History:
    """What training reports, one entry per step, and the test accuracy after each epoch."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    test: list[tuple[int, float]] = field(default_factory=list)


def _smooth(values: Sequence[float], width: int) -> np.ndarray:
    window = np.ones(width) / width
    padded = np.concatenate([np.full(width - 1, values[0]), values])
    return np.convolve(padded, window, mode="valid")


def draw_training(history: History, path: Path) -> None:
    """Loss per step on a log axis, test error per epoch beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    steps = np.arange(1, len(history.losses) + 1)
    left.plot(steps, history.losses, color="#9ecae1", linewidth=0.8, label="each step")
    left.plot(steps, _smooth(history.losses, 20), color="#08519c", linewidth=1.8, label="mean of 20")
    left.set(yscale="log", xlabel="step", ylabel="cross entropy", title="training loss")
    left.legend(frameon=False)
    epochs, scores = zip(*history.test, strict=True)
    right.plot(epochs, [100 * score for score in scores], color="#a63603", marker="o", markersize=3)
    right.axhline(98, color="#888888", linewidth=0.8, linestyle=":")
    right.set(xlabel="epoch", ylabel="%", title=f"test accuracy, {100 * scores[-1]:.1f} % at the end")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_digits(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, path: Path) -> None:
    """All mistakes first, then the least certain digits: image, prediction and its probability; mistakes in red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    predicted = probabilities.argmax(axis=1)
    order = np.lexsort((probabilities.max(axis=1), predicted == labels))[:24]
    figure, grid = pyplot.subplots(3, 8, figsize=(10, 4.6), layout="constrained")
    for axes, index in zip(grid.flat, order, strict=False):
        right = predicted[index] == labels[index]
        axes.imshow(images[index, 0], cmap="gray_r", interpolation="nearest")
        text = f"{predicted[index]}  ({100 * probabilities[index].max():.0f} %)"
        axes.set_title(
            text if right else f"{text}, is {labels[index]}", fontsize=9, color="black" if right else "#cb181d"
        )
        axes.axis("off")
    figure.suptitle("test digits: mistakes first, then the least certain")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
