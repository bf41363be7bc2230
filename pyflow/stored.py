"""Constants that lie in a file: read when they are asked for, and let go of when nobody needs them for now."""

from __future__ import annotations

import hashlib
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.errors import DataLossError, FailedPreconditionError, message
from pyflow.opdef import Constant


class StoredFile:
    """A file that constants are read from, as it was when it was opened. It is never mapped, so that a file that is cut
    off or written over later gives an error; one that is replaced by another stays readable here."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._closer = weakref.finalize(self, os.close, self._handle)
        self._seen = self._stamp()
        self._digest = ""
        self._open: weakref.WeakSet[StoredConstant] = weakref.WeakSet()

    def _stamp(self) -> tuple[int, int]:
        about = os.fstat(self._handle)
        return about.st_size, about.st_mtime_ns

    @property
    def size(self) -> int:
        return self._seen[0]

    def read(self, offset: int, result: np.ndarray) -> None:
        """Fills ``result``, bytes, with those from ``offset`` on. Raises FailedPreconditionError if the file was
        written to since it was opened, DataLossError if it cannot be read."""
        count, done = len(result), 0
        try:
            while done < count:
                got = os.preadv(self._handle, [result[done:].data], offset + done)
                if not got:
                    break
                done += got
        except OSError as error:
            raise DataLossError(message("onnx", f"{self.path} cannot be read: {error.strerror}")) from None
        if self._stamp() != self._seen or done < count:
            what = f"{self.path} was written to since it was loaded"
            raise FailedPreconditionError(message("onnx", what, None, "load the model again"))

    def digest(self) -> str:
        """SHA-256 of the whole file. Raises as ``read`` does."""
        if not self._digest:
            sum = hashlib.sha256()
            memory = block(min(self.size, PIECE))
            for start in range(0, self.size, PIECE):
                piece = memory[: min(PIECE, self.size - start)]
                self.read(start, piece)
                sum.update(piece.data)
            self._digest = sum.hexdigest()
        return self._digest

    def release(self) -> None:
        """Lets go of what constants have read."""
        for constant in list(self._open):
            constant.release()

    def hold(self, constant: StoredConstant) -> None:
        self._open.add(constant)


class StoredConstant(Constant):
    """A constant whose array is read from a file at its first use after each ``release``."""

    __slots__ = ("__weakref__", "_array", "_dtype", "_place", "_shape")

    def __init__(self, file: StoredFile, offset: int, dtype: dtypes.DType, shape: tuple[int, ...]) -> None:
        self._place = (file, offset)
        self._dtype, self._shape = dtype.numpy, shape
        self._array: np.ndarray | None = None
        self.key = (self._dtype.str, shape, (id(file), offset))

    @property
    def array(self) -> np.ndarray:  # type: ignore[override]
        if self._array is None:
            self._array = self.read_to(block(self.nbytes))
            self._place[0].hold(self)
        return self._array

    def read_to(self, memory: np.ndarray) -> np.ndarray:
        """The array in ``memory``, bytes at a multiple of 64, unless it was read already."""
        if self._array is not None:
            return self._array
        file, offset = self._place
        file.read(offset, memory)
        array = memory.view(self._dtype).reshape(self._shape)
        array.setflags(write=False)
        return array

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def digest(self) -> str:
        """What tells its content from any other."""
        file, offset = self._place
        return f"{self._dtype} {self._shape} at {offset} of {file.digest()}"

    def release(self) -> None:
        """The array goes when whoever has it lets go of it too; it is read again when it is asked for."""
        self._array = None


class MappedData:
    """A part of a file that is mapped."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data

    def release(self) -> None:
        """Lets go of the memory that was read of it; it is read again when somebody looks at it."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._data.madvise(mmap.MADV_DONTNEED)

    @staticmethod
    def under(array: np.ndarray) -> MappedData | None:
        """What an array is a window on; None if that is not mapped."""
        base: Any = array
        while isinstance(base, np.ndarray):
            if isinstance(base, np.memmap):
                return MappedData(base._mmap)  # type: ignore[attr-defined]
            base = base.base
        return None


@dataclass(frozen=True)
class Source:
    """The model file that a graph was made from."""

    content: str
    """A digest of all that the graph depends on."""
    outputs: tuple[str, ...]
    """The names of the graph's outputs."""
    names: Mapping[str, Any] | None
    """The values by their names in the file; None as long as nobody has read it."""


ALIGNMENT = 64
LARGE = 1 << 16
PIECE = 1 << 20
HUGE = 1 << 21
"""Bytes of the pages that spare most of the faults: each small page costs more than what is done with it."""


def room(count: int, unit: int = ALIGNMENT) -> int:
    """``count`` bytes and what is left to the next multiple of ``unit``."""
    return -(-count // unit) * unit


def block(count: int) -> np.ndarray:
    """``count`` bytes at a multiple of 64 that go back to the system as soon as nobody has them."""
    if count < LARGE:
        raw = np.empty(count + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + count]
    rounded = room(count, HUGE)
    huge = rounded if rounded - count <= count // 8 else rounded - HUGE
    pages = mmap.mmap(-1, rounded + HUGE if huge else count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    raw = np.frombuffer(pages, np.uint8)
    start = -raw.ctypes.data % HUGE if huge else 0
    if hasattr(mmap, "MADV_HUGEPAGE") and huge:
        pages.madvise(mmap.MADV_HUGEPAGE, start, huge)
    return raw[start : start + count]
