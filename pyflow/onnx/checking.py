"""``check``: every node of a model that cannot be imported, at once."""

from __future__ import annotations

import os
from typing import Any

from pyflow.onnx.importer import Problem
from pyflow.onnx.loader import Model, Shapes, import_model

__all__ = ["Problem", "check"]


def check(model: Model, *, shapes: Shapes | None = None, folder: str | os.PathLike[Any] | None = None) -> list[Problem]:
    """The nodes of a model that :func:`pyflow.onnx.load` cannot import: op, domain, version, node, reason.

    Takes what ``load`` takes; an empty list means that it will load. Nodes behind one that has a problem are looked
    up in the table, not tried. Raises what ``load`` raises for a file that is no model.
    """
    return import_model(model, shapes, folder).problems
