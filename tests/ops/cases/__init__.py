"""The rows of the op tests: every module here has a list ``CASES``; ``CASES`` is all of them."""

from __future__ import annotations

import importlib
import pkgutil

from cases.case import Case

CASES: list[Case] = [
    case
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name)
    if found.name != "case"
    for case in importlib.import_module(f"{__name__}.{found.name}").CASES
]
