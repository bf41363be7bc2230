"""One file of named arrays and text: safetensors, written atomically, with a digest over everything in it.

Checkpoints and saved graphs are both such files. Data only: nothing in them is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pyflow.errors import DataLossError, FailedPreconditionError, NotFoundError, message

VERSION = 1


def _digest(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps(dict(sorted(texts.items()))).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{arrays[name].shape}|".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Writes to a temporary file beside ``path`` and renames it, so that ``path`` is whole or as it was."""
    path = Path(path)
    full = {**texts, "pyflow.kind": kind, "pyflow.version": str(VERSION)}
    data = save(
        {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()},
        {**full, "pyflow.digest": _digest(arrays, full)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, texts). NotFoundError if there is no file, DataLossError if it is not whole, or of another kind;
    FailedPreconditionError if a newer pyflow wrote it."""
    if not Path(path).is_file():
        raise NotFoundError(message(kind, f"there is no file {os.fspath(path)!r}"))
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            texts = dict(file.metadata() or {})
            if texts.get("pyflow.kind") != kind:
                found = texts.get("pyflow.kind", "no pyflow file")
                raise DataLossError(message(kind, f"{os.fspath(path)!r} is {found}, not a {kind}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError, OverflowError, UnicodeDecodeError) as error:
        if isinstance(error, DataLossError):
            raise
        raise DataLossError(
            message(
                kind, f"{os.fspath(path)!r} is truncated or altered: {error}", None, "take another copy of the file"
            )
        ) from None
    version = texts.get("pyflow.version", "")
    if version.isdigit() and int(version) > VERSION:
        raise FailedPreconditionError(
            message(
                kind,
                f"{os.fspath(path)!r} has format version {version}; this pyflow reads up to {VERSION}",
                None,
                "update pyflow",
            )
        )
    digest = texts.pop("pyflow.digest", "")
    if digest != _digest(arrays, texts):
        raise DataLossError(
            message(
                kind,
                f"{os.fspath(path)!r} was altered: its digest does not match",
                None,
                "take another copy of the file",
            )
        )
    return arrays, texts
