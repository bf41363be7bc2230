"""Plans of a model file that nobody has read yet: what is fetched and fed by name is looked up in the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyflow.graph import Graph
from pyflow.ops.sources import placeholder
from pyflow.runtime import fetches as fetching
from pyflow.runtime import plan_key
from pyflow.runtime.executable import Binding, Executable, content_by_name, restored


def restore_by_name(graph: Graph, fetches: Any, feed_keys: Sequence[Any], binding: Binding) -> Executable | None:
    """The plan of ``fetches``; None if the graph was read, something is given by value, or it is not in the folder."""
    source = graph.source
    if source is None or source.names is not None or binding.folder is None or not plan_key.may_keep(binding.target):
        return None
    if fetches is None:
        fetches = fetching.outputs_of(graph)
    wanted: dict[str, None] = {}
    if not _names(fetches, wanted) or not all(isinstance(key, str) for key in feed_keys):
        return None
    content = content_by_name(source.content, list(wanted), feed_keys)
    entry = binding.folder.get(plan_key.key(binding.target, binding.stop_after, content))
    if entry is None or entry.about["variables"]:
        return None
    stand_in = Graph()
    with stand_in.as_default():
        for name, dtype in zip(wanted, entry.about["fetches"], strict=True):
            stand_in.alias(name, placeholder(dtype, ()))
        for name, (dtype, shape) in zip(feed_keys, entry.about["feeds"], strict=True):
            stand_in.alias(name, placeholder(dtype, [size if isinstance(size, int) else None for size in shape]))
    feeds = [stand_in.get_tensor_by_name(name) for name in feed_keys]

    def compiled() -> Any:
        raise AssertionError("a plan by name is resolved before it is looked into")

    made = restored(entry, fetching.resolve(stand_in, fetches), feeds, binding, compiled)
    if made is not None:
        made.is_by_name = True
    return made


def _names(fetches: Any, found: dict[str, None]) -> bool:
    """Are all leaves names? They are put into ``found``."""
    if isinstance(fetches, str):
        found[fetches] = None
        return True
    if isinstance(fetches, Mapping):
        return all(_names(each, found) for each in fetches.values())
    return isinstance(fetches, (list, tuple)) and all(_names(each, found) for each in fetches)
