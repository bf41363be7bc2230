from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.pack import pack
from pyflow.target import RefTarget


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_lasting_weights_of_convolutions_are_packed(groups, data_format) -> None:
    def build(graph):
        first = data_format == "NCHW"
        x = pf.placeholder("float32", ["n", 4, 6, 6] if first else ["n", 6, 6, 4])
        shape = (6, 4 // groups, 3, 3) if first else (3, 3, 4 // groups, 6)
        w = pf.Variable(np.ones(shape, np.float32))
        return [pf.conv2d(x, w, stride=2, padding="same", groups=groups, data_format=data_format)]

    region = region_of(build)
    made = run_pass(pack, region, RefTarget(), "pack")
    assert ops_of(made) == {"conv2d_pack": 1, "conv2d_packed": 1}
    same_results(region, made, {"n": 2}, tolerance=1e-5)


def images(batch, channels=32, data_format="NCHW", **attrs):
    def build(graph):
        first = data_format == "NCHW"
        x = pf.placeholder("float32", [batch, channels, 13, 14] if first else [batch, 13, 14, channels])
        shape = (40, channels, 3, 3) if first else (3, 3, channels, 40)
        w = pf.Variable(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        return [pf.conv2d(x, w, padding="same", data_format=data_format, **attrs)]

    return region_of(build)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", [2, pf.Dim("n", hint=2)])
def test_convolutions_of_three_by_three_go_tile_by_tile(batch, data_format) -> None:
    region = images(batch, data_format=data_format)
    made = run_pass(pack, region, RefTarget(), "pack")
    assert ops_of(made) == {"winograd_pack": 1, "conv2d_winograd": 1}
    assert any("tiles of 4 x 4" in note for note in made.table.notes)
    same_results(region, made, {"n": 3}, tolerance=1e-3)


@pytest.mark.parametrize("why", ["strict", "size without a hint", "stride", "few channels"])
def test_others_do_not(why) -> None:
    region = images(
        "n" if why == "size without a hint" else 2,
        channels=3 if why == "few channels" else 32,
        stride=2 if why == "stride" else 1,
    )
    made = run_pass(pack, region, RefTarget(numerics="strict" if why == "strict" else "default"), "pack")
    assert ops_of(made) == {"conv2d_pack": 1, "conv2d_packed": 1}


def stack(sizes):
    """Convolutions of 32 to 32 channels, each on images of its own size."""

    def build(graph):
        rng = np.random.default_rng(1)
        results = []
        for height, width in sizes:
            x = pf.placeholder("float32", [1, 32, height, width])
            w = pf.Variable(rng.standard_normal((32, 32, 3, 3)).astype(np.float32))
            results.append(pf.conv2d(x, w, padding="same"))
        return results

    return region_of(build)


def tiles_of(region):
    return sorted(node.attrs["tile"] for node in region.nodes() if node.op.name == "conv2d_winograd")


@pytest.mark.parametrize(
    ("growth", "tiles"),
    [
        (4.0, [4, 4, 4, 4]),
        (3.25, [4, 4, 4]),
        (2.6, [4, 4]),
        (1.75, [4]),
        (1.2, [2]),
        (1.19, []),
        (1.0, []),
    ],
)
def test_the_growth_of_weights_is_bounded(growth, tiles) -> None:
    region = stack([(64, 64), (24, 24), (40, 40), (24, 24)])
    made = run_pass(pack, region, RefTarget(weight_growth=growth), "pack")
    chosen = tiles_of(made)
    assert len(chosen) >= len(tiles) and sum((tile + 2) ** 2 / 9 - 1 for tile in chosen) <= 4 * (growth - 1) + 1e-9
    assert any("weight_growth=" in note for note in made.table.notes) == (growth < 4)
    if 4 in chosen:
        largest = next(node for node in made.nodes() if node.op.name == "conv2d_winograd" and node.attrs["tile"] == 4)
        assert largest.types[0].dims[2] >= 24
    same_results(region, made, {}, tolerance=1e-3)


def test_the_layers_that_save_most_per_byte_are_chosen() -> None:
    region = stack([(16, 16), (64, 64), (16, 16)])
    made = run_pass(pack, region, RefTarget(weight_growth=2.0), "pack")
    assert [node.types[0].dims[2] for node in made.nodes() if node.op.name == "conv2d_winograd"][:1] == [64]
    assert any("computed directly" in note for note in made.table.notes)


def test_lasting_weights_of_products_are_packed() -> None:
    def build(graph):
        w = pf.Variable(np.ones((5, 70), np.float32))
        return [pf.placeholder("float32", ["n", 5]) @ w]

    region = region_of(build)
    made = run_pass(pack, region, RefTarget(), "pack")
    assert ops_of(made) == {"matmul_pack": 1, "matmul_packed": 1}
    same_results(region, made, {"n": 3})


def test_weights_that_the_run_writes_are_not_packed() -> None:
    def build(graph):
        w = pf.Variable(np.ones((5, 7), np.float32))
        y = pf.placeholder("float32", ["n", 5]) @ w
        return [y, w.assign_add(np.ones((5, 7), np.float32))]

    region = region_of(build)
    assert pack(region, RefTarget()) is region


def test_a_target_without_packed_kernels_changes_nothing() -> None:
    packed = frozenset({"conv2d_pack", "conv2d_packed", "matmul_pack", "matmul_packed"})
    region = images(2, channels=3)
    assert pack(region, RefTarget(without=packed)) is region
