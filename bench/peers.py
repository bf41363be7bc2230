"""pyflow beside ONNX Runtime, OpenVINO, torch.compile and torch: float32 networks on a CPU.

    python bench/peers.py [model ...] [--threads 1 2] [--rounds N] [--plot FILE] [--json FILE]

Each contender runs in a process of its own and they take turns. The table gives medians in ms, the ratio to the best
peer beside what is asked of it, the share of the roofline (operations over peak or bytes over bandwidth, whichever is
more), the error against float64 beside ONNX Runtime's, load (file to session) and first run, and resident memory beyond
a process that has imported the contender.
Inputs and weights stay float32. Needs the extra [bench].
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from turns import Contender, commit, interleaved, machine, seconds_per_call, serve

PEERS = ("onnxruntime", "openvino", "torch.compile", "torch")
CONTENDERS = ("pyflow", *PEERS)
FOLDER = Path(os.environ.get("PYFLOW_BENCH_MODELS", "bench-models"))


# A contender: loads the model of a file and gives the call to time; what is not loading is done by `prepare` before.


def pyflow_call(name: str, threads: int, inputs: list[np.ndarray]) -> Callable[[], Any]:
    import pyflow as pf

    graph = pf.onnx.load(FOLDER / f"{name}.onnx")
    session = pf.Session(graph, pf.SessionConfig(threads=threads))
    call = session.make_callable(graph.outputs[0], graph.inputs)
    return lambda: call(*inputs)


def onnxruntime_call(name: str, threads: int, inputs: list[np.ndarray]) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    path = str(FOLDER / f"{name}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {each.name: array for each, array in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feeds)[0]


def openvino_call(name: str, threads: int, inputs: list[np.ndarray]) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(str(FOLDER / f"{name}.onnx"), "CPU", config).create_infer_request()
    return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)[0]


def torch_call(name: str, threads: int, inputs: list[np.ndarray], compiled: bool = False) -> Callable[[], Any]:
    import models
    import torch

    torch.set_num_threads(threads)
    module, _ = models.made(name)
    given = [torch.from_numpy(array) for array in inputs]
    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        module = torch.compile(module)

    def call() -> Any:
        with torch.inference_mode(not compiled), torch.no_grad():
            return module(*given)

    return call


CALLS: dict[str, Callable[..., Callable[[], Any]]] = {
    "pyflow": pyflow_call,
    "onnxruntime": onnxruntime_call,
    "openvino": openvino_call,
    "torch.compile": lambda *given: torch_call(*given, compiled=True),
    "torch": torch_call,
}


def resident() -> tuple[float, float]:
    """(now, at most) MiB of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def contend(contender: str, name: str, threads: int) -> None:
    """A contender's process."""
    with np.load(FOLDER / f"{name}.npz") as file:
        expected = file["expected"]
        inputs = [file[key] for key in file.files if key != "expected"]
    import_of = {"torch.compile": "torch", "pyflow": "pyflow.onnx.loader"}.get(contender, contender)
    __import__(import_of)
    before = resident()[0]
    begin = time.perf_counter()
    call = CALLS[contender](name, threads, inputs)
    loaded = time.perf_counter()
    result = np.asarray(call())
    first = time.perf_counter()
    assert result.dtype == np.float32
    scale = np.abs(expected).max()
    about = {
        "load": loaded - begin,
        "first": first - loaded,
        "error": float(np.abs(result - expected).max() / scale),
        "resident": resident()[0] - before,
        "peak": resident()[1] - before,
    }
    for _ in range(3):
        call()
    serve(about, lambda _: seconds_per_call(call))


def prepare(name: str) -> dict[str, float]:
    """Writes the model, its inputs and what is expected; gives its operations and bytes. It has a process of
    its own, so that torch is not in the parent."""
    import models
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.backends.mha.set_fastpath_enabled(False)  # its fused encoder layer is not counted

    models.onnx_file(name, FOLDER)
    module, inputs = models.made(name)
    with FlopCounterMode(display=False) as counter:
        result = module(*inputs.values())
    tensors = [*inputs.values(), result, *module.parameters(), *module.buffers()]
    np.savez(
        FOLDER / f"{name}.npz", expected=models.reference(name), **{key: value.numpy() for key, value in inputs.items()}
    )
    return {
        "flops": float(counter.get_total_flops()),
        "bytes": float(sum(tensor.nbytes for tensor in tensors)),
        "weights": float(sum(parameter.nbytes for parameter in module.parameters())) / 2**20,
        "accept": models.MODELS[name].accept,
        "goal": models.MODELS[name].goal,
    }


def measure(name: str, threads: int, names: list[str], rounds: int, about: dict[str, float]) -> dict[str, Any]:
    """All contenders on one model at one number of threads."""
    environment = {"OMP_NUM_THREADS": str(threads)}
    (FOLDER / f"{name}.onnx").read_bytes()  # or the first contender alone would wait for the disk
    contenders = {}
    for each in names:
        contenders[each] = Contender([__file__, "--contend", each, name, str(threads)], environment)
    times = interleaved(contenders, rounds)
    for contender in contenders.values():
        contender.close()
    medians = {each: statistics.median(values) for each, values in times.items()}
    peers = [medians[each] for each in names if each != "pyflow"]
    ratio = medians["pyflow"] / min(peers) if peers and "pyflow" in medians else math.nan
    # The median over the rounds of the ratio within a round: what drifts, drifts for all of a round.
    if peers and "pyflow" in times:
        best = min((each for each in names if each != "pyflow"), key=medians.__getitem__)
        ratio = statistics.median(a / b for a, b in zip(times["pyflow"], times[best], strict=True))
    return {
        "model": name,
        "threads": threads,
        "seconds": medians,
        "ratio": ratio,
        **about,
        "contenders": {each: contender.about for each, contender in contenders.items()},
    }


def show(results: list[dict[str, Any]], names: list[str], peaks: dict[int, tuple[float, float]]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 120
    for threads, (flops, bandwidth) in peaks.items():
        title = f"{threads} threads; peak {flops / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s"
        table = Table(title=title, title_justify="left")
        table.add_column("ms", no_wrap=True)
        for column in (*names, "÷ best", "accept", "goal", "roof", "error"):
            table.add_column(column, justify="right")
        for result in results:
            if result["threads"] != threads:
                continue
            floor = max(result["flops"] / flops, result["bytes"] / bandwidth)
            errors = {each: about["error"] for each, about in result["contenders"].items()}
            error = errors.get("pyflow", math.nan) / max(errors.get("onnxruntime", math.nan), 1e-12)
            shown = f"{result['ratio']:.2f}"
            colour = "green" if result["ratio"] <= result["accept"] else "red"
            table.add_row(
                result["model"],
                *[f"{result['seconds'][each] * 1e3:.3f}" for each in names],
                f"[{colour}]{shown}[/]",
                f"{result['accept']:.2f}",
                f"{result['goal']:.2f}",
                f"{floor / result['seconds']['pyflow']:.0%}" if "pyflow" in names else "",
                f"{error:.2f}",
            )
        console.print(table)
    table = Table(title="load ms + first run ms; MiB resident (weights)", title_justify="left")
    table.add_column("", no_wrap=True)
    for column in names:
        table.add_column(column, justify="right")
    for result in results:
        cells = []
        for each in names:
            about = result["contenders"][each]
            cells.append(f"{about['load'] * 1e3:.0f} + {about['first'] * 1e3:.0f}; {about['resident']:.0f}")
        table.add_row(f"{result['model']} x{result['threads']} ({result['weights']:.0f})", *cells)
    console.print(table)


def plot(results: list[dict[str, Any]], path: str) -> None:
    """The ratio to the best peer of each model, with what is accepted and what is aimed at."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.45 * len(results) + 1.5), layout="constrained")
    labels = [f"{result['model']}, {result['threads']} thread{'s' * (result['threads'] > 1)}" for result in results]
    places = range(len(results))
    colours = ["#2a7f62" if result["ratio"] <= result["accept"] else "#b5442e" for result in results]
    axes.barh(places, [result["ratio"] for result in results], color=colours, height=0.6)
    for place, result in zip(places, results, strict=True):
        axes.plot([result["accept"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.plot([result["goal"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1, linestyle=":")
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlabel("time of pyflow ÷ time of the best peer (bar: accepted, dots: goal)")
    axes.set_title(f"{machine()}, commit {commit()}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="default: all of bench/models.py")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--contend", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contend:
        contend(given.contend[0], given.contend[1], int(given.contend[2]))
        return
    if given.prepare:
        import models

        if given.prepare == "names":
            serve(list(models.MODELS), lambda _: None)
        else:
            serve(prepare(given.prepare), lambda _: None)
        return
    import peak

    names = given.models or prepared("names")
    peaks = {threads: (peak.flops(threads), peak.bandwidth(threads)) for threads in given.threads}
    results = []
    with Progress(transient=True) as progress:
        task = progress.add_task("models", total=len(names) * len(given.threads))
        for name in names:
            about = prepared(name)
            for threads in given.threads:
                progress.update(task, description=f"{name}, {threads} threads")
                results.append(measure(name, threads, given.contenders, given.rounds, about))
                progress.advance(task)
    print(f"{machine()}, commit {commit()}")
    show(results, given.contenders, peaks)
    if given.json:
        Path(given.json).write_text(
            json.dumps({"machine": machine(), "commit": commit(), "results": results}, indent=2)
        )
    if given.plot:
        plot(results, given.plot)


def prepared(name: str) -> Any:
    process = Contender([__file__, "--prepare", name])
    process.close()
    return process.about


if __name__ == "__main__":
    main()
