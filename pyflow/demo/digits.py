"""Train and test the digits network."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import pyflow as pf
from pyflow.demo.ahead import Ahead, run_ahead, why_not
from pyflow.demo.model import SIDE, Digits, build_digits
from pyflow.demo.pictures import History, draw_digits, draw_training

BATCH = 64


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: train images, test images (n, 1, 8, 8) in [0, 1], train and test labels.

    A fifth of each class, drawn before anything is learnt, is the test set; training never sees it.
    """
    from sklearn import datasets

    bundle = datasets.load_digits()
    images = (bundle.images / 16.0).astype(np.float32).reshape(-1, 1, SIDE, SIDE)
    labels = bundle.target.astype(np.int64)
    train_x, test_x, train_y, test_y = pf.data.train_test_split(
        images, labels, test_fraction=0.2, seed=0, labels=labels
    )
    return train_x, test_x, train_y, test_y


def moved(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image shifted by up to a pixel, turned by up to 12 degrees and scaled by up to a tenth, bilinearly."""
    count = len(images)
    angle = random.uniform(-0.21, 0.21, (count, 1, 1))
    scale = random.uniform(0.9, 1.1, (count, 1, 1))
    shift = random.uniform(-1.0, 1.0, (2, count, 1, 1))
    centre = (SIDE - 1) / 2
    row, column = np.mgrid[:SIDE, :SIDE] - centre
    y = np.clip((np.cos(angle) * row - np.sin(angle) * column) * scale + centre + shift[0], -1, SIDE)
    x = np.clip((np.sin(angle) * row + np.cos(angle) * column) * scale + centre + shift[1], -1, SIDE)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    padded = np.pad(images[:, 0], ((0, 0), (1, 2), (1, 2)))
    which = np.arange(count)[:, None, None]

    def at(i: int, j: int) -> np.ndarray:
        taken: np.ndarray = padded[which, top + 1 + i, left + 1 + j]
        return taken

    upper = at(0, 0) * (1 - right) + at(0, 1) * right
    lower = at(1, 0) * (1 - right) + at(1, 1) * right
    return (upper * (1 - down) + lower * down)[:, None].astype(np.float32)


def train(
    model: Digits,
    session: pf.Session,
    data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    epochs: int,
    seed: int,
) -> History:
    """Trains with a progress bar; the learning rate falls along a cosine."""
    train_x, test_x, train_y, test_y = data
    history = History()
    random = np.random.default_rng(seed)
    batches = pf.data.Batches(train_x, train_y, batch_size=BATCH, seed=seed)
    test_feed = {model.images: test_x, model.labels: test_y}
    steps = epochs * len(batches)
    test = ""
    with tqdm(total=steps, desc="training", unit="step", ncols=100) as bar:
        for epoch in range(1, epochs + 1):
            for images, labels in batches:
                rate = 0.5 * 2e-3 * (1 + np.cos(np.pi * bar.n / steps))
                feed = {
                    model.images: moved(images, random),
                    model.labels: labels,
                    model.rate: np.float32(rate),
                }
                _, loss, accuracy = session.run([model.train_step, model.loss, model.accuracy], feed)
                history.losses.append(float(loss))
                history.accuracies.append(float(accuracy))
                recent = statistics.fmean(history.losses[-20:]), 100 * statistics.fmean(history.accuracies[-20:])
                bar.set_postfix_str(f"loss {recent[0]:.3f}, train {recent[1]:.1f} %{test}", refresh=False)
                bar.update()
            history.test.append((epoch, float(session.run(model.accuracy, test_feed))))
            test = f", test {100 * history.test[-1][1]:.1f} %"
    return history


def _latency(model: Digits, session: pf.Session, image: np.ndarray) -> float:
    """Median seconds of one image through a bound call."""
    predict = session.make_callable(model.logits, [model.images])
    times = []
    for _ in range(300):
        begin = time.perf_counter()
        predict(image)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _ahead(console: Console, model: Digits, session: pf.Session, images: np.ndarray, folder: Path) -> Ahead | None:
    """The network as a C++ program; None, and says why, where that cannot be built."""
    why = why_not()
    if why is None:
        try:
            return run_ahead(model, session, images, folder)
        except pf.errors.PyflowError as error:
            why = str(error)
        except subprocess.CalledProcessError as error:
            why = f"{' '.join(error.cmd)}: {(error.stderr or error.stdout).strip()[-1000:]}"
    console.print(f"the C++ program is left out: {why}", style="yellow", markup=False)
    return None


def run_demo(out: str, epochs: int, seed: int, threads: int) -> float:
    """The whole demo; returns the test accuracy in [0, 1]. Files go to the folder ``out``."""
    console = Console()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    data = load_digits()
    train_x, test_x, _, test_y = data
    console.print(f"handwritten digits: {len(train_x)} to learn from, {len(test_x)} held back for the test")
    model = build_digits(seed)
    session = pf.Session(model.graph, pf.SessionConfig(threads=threads))
    session.run(model.initialise)
    weights = sum(v.eval(session).size for v in pf.trainable_variables(model.graph))
    console.print(f"a graph of {len(model.graph.nodes)} nodes, gradients and optimiser included; {weights:,} weights\n")
    trained = time.perf_counter()
    history = train(model, session, data, epochs, seed)
    trained = time.perf_counter() - trained
    session.graph.finalize()

    probabilities, accuracy = session.run(
        [model.probabilities, model.accuracy], {model.images: test_x, model.labels: test_y}
    )
    console.print(f"\ntest accuracy: {100 * float(accuracy):.1f} %", style="bold", highlight=False)
    draw_training(history, folder / "training.png")
    draw_digits(test_x, test_y, probabilities, folder / "digits.png")
    saver = pf.train.Saver()
    checkpoint = Path(saver.save(session, folder / "digits"))
    model.graph.save(str(folder / "digits.graph"), session)
    latency = _latency(model, session, test_x[:1])
    peak = session.memory_plan({"batch": BATCH}, [model.train_step, model.loss, model.accuracy]).peak
    images_per_second = len(history.losses) * BATCH / trained
    compiles = session.stats.compiles
    ahead = _ahead(console, model, session, test_x, folder)

    table = Table("what", "where", "size", title="made", title_justify="left")
    for what, path in (
        ("loss and accuracy", folder / "training.png"),
        ("digits and predictions", folder / "digits.png"),
        ("checkpoint", checkpoint),
        ("graph with weights", folder / "digits.graph"),
    ):
        table.add_row(what, str(path), f"{path.stat().st_size / 1024:,.0f} KiB")
    if ahead is not None:
        sizes = f"{ahead.code_bytes / 1024:,.0f} KiB code, {ahead.weight_bytes / 1024:,.0f} KiB weights"
        table.add_row("C++ library and its host", str(folder / "library"), sizes)
    console.print(table)
    table = Table("measured", "", title="how fast", title_justify="left")
    table.add_row("training", f"{trained:.1f} s, {images_per_second:,.0f} images/s")
    table.add_row("one image, bound call", f"{latency * 1e6:.0f} us")
    if ahead is not None:
        same = "all bits equal" if ahead.same_bits else "OTHER BITS"
        table.add_row("one image, C++ library", f"{ahead.latency_seconds * 1e6:.0f} us")
        table.add_row("first result of the C++ program", f"{ahead.start_seconds * 1e3:.1f} ms after its start")
        table.add_row("the test images in C++", f"{ahead.values:,} values, {same}")
        table.add_row("compiled and built in", f"{ahead.seconds:.1f} s")
    table.add_row(f"memory of a train step at batch {BATCH}", f"{peak / 1024:,.0f} KiB")
    table.add_row("compiles, at every batch size together", str(compiles))
    table.add_row("all in all", f"{time.perf_counter() - began:.1f} s")
    console.print(table)
    return float(accuracy)
