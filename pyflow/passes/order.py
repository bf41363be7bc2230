"""Which step comes before which, and an order of low peak memory among the legal ones."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from pyflow.passes.lowering import Draft
from pyflow.plan import Step, View, overwritable


def may_overwrite(step: Step, variable: int, written: View) -> bool:
    """May the step write ``written`` over the buffer of ``variable``, as far as its own reads of it go?"""
    reads = [view for view in step.inputs if view.buffer == variable]
    if not reads:
        return True
    same = (written.dims, written.strides, written.offset)
    allowed = any(view.buffer == variable for view in overwritable(step))
    return allowed and all((view.dims, view.strides, view.offset) == same for view in reads)


class Dependencies:
    """Which draft comes before which, by index."""

    def __init__(self, drafts: list[Draft], late_names: Callable[[Draft], Iterable[str]]) -> None:
        self.drafts = drafts
        self.index = {draft: index for index, draft in enumerate(drafts)}
        self.before: list[set[int]] = [set() for _ in drafts]
        self.after: list[set[int]] = [set() for _ in drafts]
        self._readers: dict[int, list[int]] = {}
        writers: dict[int, list[int]] = {}
        definers: dict[str, int] = {}
        effect = -1
        for index, draft in enumerate(drafts):
            for buffer in draft.writes:
                writers.setdefault(buffer, []).append(index)
            for name in draft.defines:
                definers[name] = index
        for index, draft in enumerate(drafts):
            for buffer in draft.reads:
                self._readers.setdefault(buffer, []).append(index)
                for writer in writers.get(buffer, ()):
                    if writer != index:
                        self.add(writer, index)
            if definers:
                for name in late_names(draft):
                    if name in definers and definers[name] != index:
                        self.add(definers[name], index)
            for each in draft.needs:
                self.add(self.index[each], index)
            if draft.effect:
                if effect >= 0:
                    self.add(effect, index)
                effect = index

    def add(self, first: int, then: int) -> None:
        self.before[then].add(first)
        self.after[first].add(then)

    def write_in_place(
        self, writer: Draft, buffer: int, written: View, held_up: Callable[[Draft], bool]
    ) -> set[int] | None:
        """Has ``writer`` write ``written`` over ``buffer``, after all that reads what it holds.

        Gives the drafts that then come last; None, with nothing changed, if it cannot be or one of them is ``held_up``.
        """
        if writer.step.bodies or not may_overwrite(writer.step, buffer, written):
            return None
        index = self.index[writer]
        readers = [reader for reader in self.readers(buffer) if reader != index]
        later = self.reachable(index)
        if any(each in later for each in readers) or any(held_up(self.drafts[each]) for each in later):
            return None
        for reader in readers:
            self.add(reader, index)
        return {index, *later}

    def readers(self, buffer: int) -> list[int]:
        return self._readers.get(buffer, [])

    def reachable(self, start: int) -> set[int]:
        """Every draft that must come after ``start``."""
        found: set[int] = set()
        stack = [start]
        while stack:
            for each in self.after[stack.pop()]:
                if each not in found:
                    found.add(each)
                    stack.append(each)
        return found

    def order(self, last: set[int], bytes_of: Callable[[int], int], temporary: set[int]) -> list[int]:
        """A legal order with ``last`` after all others: of two, the one of lower peak: the order in which the drafts
        stand, or the ready step that frees most first. Steps that may fail, or are seen outside, go before both."""
        sizes = {b: bytes_of(b) for draft in self.drafts for b in (*draft.reads, *draft.writes) if b in temporary}
        standing = self._list(last, lambda index, left: index)
        greedy = self._list(last, lambda index, left: self._growth(index, left, sizes))
        return min((standing, greedy), key=lambda order: self._peak(order, sizes))

    def _growth(self, index: int, left: dict[int, int], sizes: dict[int, int]) -> int:
        """Bytes that the step takes less those that it frees."""
        draft = self.drafts[index]
        freed = sum(sizes[buffer] for buffer in draft.reads if buffer in sizes and left[buffer] == 1)
        return sum(sizes[buffer] for buffer in draft.writes if buffer in sizes) - freed

    def _list(self, last: set[int], rank: Callable[[int, dict[int, int]], int]) -> list[int]:
        left = {buffer: len(readers) for buffer, readers in self._readers.items()}
        waiting = [len(before) for before in self.before]
        heap: list[tuple[int, int, int]] = []

        def push(index: int) -> None:
            group = 2 if index in last else 0 if self.drafts[index].barrier else 1
            heapq.heappush(heap, (group, rank(index, left), index))

        for index, count in enumerate(waiting):
            if not count:
                push(index)
        order: list[int] = []
        done = [False] * len(waiting)
        while heap:
            index = heapq.heappop(heap)[-1]
            if done[index]:
                continue
            done[index] = True
            order.append(index)
            for buffer in self.drafts[index].reads:
                left[buffer] -= 1
                if left[buffer] == 1:
                    for reader in self._readers[buffer]:
                        if not done[reader] and not waiting[reader]:
                            push(reader)
            for user in self.after[index]:
                waiting[user] -= 1
                if not waiting[user]:
                    push(user)
        assert len(order) == len(waiting), "dependencies have no cycle"
        return order

    def _peak(self, order: list[int], sizes: dict[int, int]) -> int:
        left = {buffer: len(readers) for buffer, readers in self._readers.items()}
        live = peak = 0
        born: set[int] = set()
        for index in order:
            draft = self.drafts[index]
            for buffer in draft.writes:
                if buffer in sizes and buffer not in born:
                    born.add(buffer)
                    live += sizes[buffer]
            peak = max(peak, live)
            for buffer in draft.reads:
                left[buffer] -= 1
                if not left[buffer] and buffer in sizes:
                    live -= sizes[buffer]
        return peak
