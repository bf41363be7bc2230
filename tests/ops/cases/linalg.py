"""Linear algebra and Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import FLOATS, Case, normal

F64 = np.float64
NEAR = {"rtol": 1e-4, "atol": 1e-4}
CLOSE = {"rtol": 1e-9, "atol": 1e-10}
SHAPES = [(3, 3), (2, 4, 4), (2, 0, 3, 3), (1, 1)]


def dominant(*shape: int, dtype: Any = F64, seed: int = 0) -> np.ndarray:
    """Square matrices that are far from singular."""
    return (normal(*shape, dtype=dtype, seed=seed) + 3 * np.eye(shape[-1])).astype(dtype)


def positive(x: Any) -> Any:
    """Symmetric, positive definite: from any square ones."""
    side = x.shape[-1]
    turned = pf.swapaxes(x, -1, -2) if hasattr(x, "node") else np.swapaxes(x, -1, -2)
    return x @ turned + (pf.eye(side, dtype=x.dtype) if hasattr(x, "node") else np.eye(side))


def row(function: Callable[..., Any], inputs: Any, expected: Any, label: str = "", **settings: Any) -> Case:
    wide = all(array.dtype == F64 for array in inputs)
    return Case(
        function, inputs, {}, expected, label=label or function.__name__, **{**(CLOSE if wide else NEAR), **settings}
    )


def of_positive(name: str) -> Any:
    return lambda x: getattr(pf.linalg, name)(positive(x))


SOLVED = [
    *(
        row(getattr(pf.linalg, f), (dominant(*shape, dtype=d),), getattr(np.linalg, f), f, symbolic=False)
        for f in ("inv", "det", "slogdet")
        for shape in SHAPES
        for d in FLOATS
    ),
    *(
        row(pf.linalg.solve, (dominant(*a, dtype=d), normal(*b, dtype=d)), np.linalg.solve)
        for a, b in (((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 1)), ((3, 3), (3,)))
        for d in FLOATS
    ),
    *(
        row(
            lambda a, b, lower=lower, unit=unit: pf.linalg.triangular_solve(a, b, lower, unit),
            (dominant(3, 3), normal(*b, dtype=F64)),
            lambda a, b, lower=lower, unit=unit: np.linalg.solve(
                (np.tril if lower else np.triu)(a) * (1 - np.eye(3) * unit) + np.eye(3) * unit, b
            ),
            f"triangular_solve {lower} {unit}",
        )
        for lower in (True, False)
        for unit in (True, False)
        for b in ((3, 2), (2, 3, 2), (3,))
    ),
    row(
        pf.linalg.det,
        (np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 1.0]]),),
        np.linalg.det,
        "det of a singular matrix",
        atol=1e-9,
    ),
    row(pf.linalg.det, (np.array([[1.0, 2.0], [3.0, 4.0]])[::-1].copy(),), np.linalg.det, "det"),
]

FACTORS = [
    *(
        row(
            of_positive("cholesky"),
            (normal(*shape, dtype=F64),),
            lambda x: np.linalg.cholesky(positive(x)),
            "cholesky",
            symbolic=False,
        )
        for shape in SHAPES
    ),
    *(
        row(pf.linalg.qr, (normal(*shape, dtype=F64),), lambda x: tuple(np.linalg.qr(x)), "qr")
        for shape in ((3, 3), (2, 5, 3))
    ),
    row(
        lambda x: pf.linalg.qr(x, "complete"),
        (normal(5, 3, dtype=F64),),
        lambda x: tuple(np.linalg.qr(x, "complete")),
        "complete",
        gradient=False,
    ),
    row(pf.linalg.qr, (normal(3, 5, dtype=F64),), lambda x: tuple(np.linalg.qr(x)), "wide", gradient=False),
    *(
        row(
            lambda x: pf.linalg.svd(x, False),
            (normal(*shape, dtype=F64),),
            lambda x: tuple(np.linalg.svd(x, False)),
            "svd",
        )
        for shape in ((3, 3), (2, 5, 3), (2, 4))
    ),
    row(pf.linalg.svd, (normal(5, 3, dtype=F64),), lambda x: tuple(np.linalg.svd(x)), "svd full", gradient=False),
    *(
        row(pf.linalg.svdvals, (normal(*shape, dtype=F64),), lambda x: np.linalg.svd(x, compute_uv=False), "svdvals")
        for shape in ((4, 4), (2, 5, 3), (2, 4))
    ),
    row(lambda x: pf.linalg.svd(x)[1], (normal(5, 3, dtype=F64),), lambda x: np.linalg.svd(x)[1], "svd full values"),
    *(
        row(
            of_positive("eigh"),
            (normal(*shape, dtype=F64),),
            lambda x: tuple(np.linalg.eigh(positive(x))),
            "eigh",
            symbolic=False,
        )
        for shape in SHAPES
    ),
    row(
        of_positive("eigvalsh"),
        (normal(4, 4, dtype=F64),),
        lambda x: np.linalg.eigvalsh(positive(x)),
        "eigvalsh",
        symbolic=False,
    ),
    row(
        lambda x: [pf.real(part) for part in pf.linalg.eig(x)],
        (np.diag([1.0, 3.0, 2.0]),),
        lambda x: tuple(part.real for part in np.linalg.eig(x)),
        "eig",
        gradient=False,
    ),
    row(
        lambda x: pf.imag(pf.linalg.eigvals(x)),
        (np.array([[0.0, 1.0], [-1.0, 0.0]]),),
        lambda x: np.linalg.eigvals(x).imag,
        "eigvals",
        gradient=False,
    ),
    *(
        row(pf.linalg.pinv, (normal(*shape, dtype=F64),), np.linalg.pinv, "pinv")
        for shape in ((4, 3), (2, 3, 4), (3, 3))
    ),
    *(
        row(
            pf.linalg.lstsq,
            (normal(5, 3, dtype=F64), normal(*b, dtype=F64)),
            lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0],
            "lstsq",
        )
        for b in ((5, 2), (5,))
    ),
    row(
        lambda x: pf.linalg.matrix_rank(x), (np.array([[1.0, 2.0], [2.0, 4.0]]),), np.linalg.matrix_rank, "matrix_rank"
    ),
    *(
        row(
            lambda x, n=n: pf.linalg.matrix_power(x, n),
            (dominant(3, 3),),
            lambda x, n=n: np.linalg.matrix_power(x, n),
            f"matrix_power {n}",
        )
        for n in (-2, 0, 1, 5)
    ),
    row(
        lambda *x: pf.linalg.multi_dot(x),
        tuple(normal(*s, dtype=F64) for s in ((2, 5), (5, 3), (3, 4))),
        lambda *x: np.linalg.multi_dot(x),
        "multi_dot",
    ),
    row(
        lambda *x: pf.linalg.multi_dot(x),
        tuple(normal(*s, dtype=F64) for s in ((5,), (5, 3), (3,))),
        lambda *x: np.linalg.multi_dot(x),
        "multi_dot of vectors",
    ),
    *(
        row(lambda x, p=p: pf.linalg.cond(x, p), (dominant(3, 3),), lambda x, p=p: np.linalg.cond(x, p), f"cond {p}")
        for p in (None, -2, 1, math.inf, "fro")
    ),
    *(
        row(
            lambda x, o=o: pf.norm(x, o, (0, 1)),
            (normal(4, 3, dtype=F64),),
            lambda x, o=o: np.linalg.norm(x, o),
            f"norm {o}",
        )
        for o in ("nuc", 2, -2)
    ),
]


def paired(x: np.ndarray) -> np.ndarray:
    return np.stack([x.real, x.imag], -1) if np.iscomplexobj(x) else x


def transform(name: str, dtype: Any = F64, shape: tuple[int, ...] = (3, 8), **attrs: Any) -> Case:
    """A transform of real numbers, and of complex ones where it takes them; complex results are compared as pairs."""
    makes_pairs = name not in ("irfft", "irfft2", "irfftn", "hfft")
    real_only = name in ("rfft", "rfft2", "rfftn", "ihfft")

    def function(a: Any, b: Any) -> Any:
        y = getattr(pf.fft, name)(a if real_only else pf.complex(a, b), **attrs)
        return pf.view_as_real(y) if makes_pairs else y

    def expected(a: Any, b: Any) -> Any:
        return paired(getattr(np.fft, name)(a if real_only else a + 1j * b, **attrs))

    inputs = (normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1))
    return row(function, inputs, expected, f"{name} {attrs}")


NORMS = (None, "ortho", "forward")

TRANSFORMS = [
    *(transform(f, norm=n) for f in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for n in NORMS),
    *(transform(f, n=n) for f in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for n in (5, 8, 9, 11)),
    *(transform(f, axis=0) for f in ("fft", "ifft", "rfft", "irfft")),
    *(
        transform(f, norm=n)
        for f in ("fft2", "ifft2", "fftn", "ifftn", "rfft2", "rfftn", "irfft2", "irfftn")
        for n in NORMS
    ),
    *(transform(f, s=(4, 6)) for f in ("fft2", "ifft2", "rfft2", "irfft2")),
    *(transform(f, shape=(2, 3, 4), axes=(0, 2)) for f in ("fftn", "rfftn", "irfftn")),
    *(transform(f, np.float32) for f in ("fft", "rfft", "irfft")),
    row(
        lambda x: pf.view_as_real(pf.fft.fft(x)),
        (normal(5, dtype=F64),),
        lambda x: paired(np.fft.fft(x)),
        "fft of real",
    ),
    *(row(getattr(pf.fft, f), (normal(5, 4, dtype=F64),), getattr(np.fft, f), f) for f in ("fftshift", "ifftshift")),
    Case(lambda: pf.fft.fftfreq(5, 0.5), (), {}, lambda: np.fft.fftfreq(5, 0.5), label="fftfreq"),
    Case(lambda: pf.fft.rfftfreq(6), (), {}, lambda: np.fft.rfftfreq(6), label="rfftfreq"),
]

CASES = [*SOLVED, *FACTORS, *TRANSFORMS]
