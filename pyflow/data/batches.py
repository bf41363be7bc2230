"""Mini-batches over arrays that share their first axis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyflow.errors import InvalidArgumentError, message, user_origin


def _rows(op: str, arrays: tuple[np.ndarray, ...]) -> int:
    lengths = [len(array) if np.ndim(array) else -1 for array in arrays]
    if not arrays or lengths[0] < 0 or len(set(lengths)) != 1:
        raise InvalidArgumentError(
            message(
                op, f"expected arrays with equally many rows, got shapes {[np.shape(a) for a in arrays]}", user_origin()
            )
        )
    return lengths[0]


class Batches:
    """One iteration is one epoch: every row once, in tuples of batches, one array per array given.

    shuffle: a new order each epoch, from ``seed`` (so that a run can be repeated). drop_last: leave out a last batch
    that is not full.
    """

    def __init__(
        self,
        *arrays: np.ndarray,
        batch_size: int,
        shuffle: bool = True,
        seed: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self.arrays = tuple(np.asarray(array) for array in arrays)
        self.rows = _rows("data", self.arrays)
        if batch_size < 1:
            raise InvalidArgumentError(message("data", f"expected batch_size >= 1, got {batch_size}", user_origin()))
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self._random = np.random.default_rng(seed)

    def __repr__(self) -> str:
        return f"<pf.data.Batches: {len(self)} of {self.batch_size} from {self.rows} rows>"

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.rows // self.batch_size if self.drop_last else -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        order = self._random.permutation(self.rows) if self.shuffle else None
        for batch in range(len(self)):
            rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield tuple(array[rows if order is None else order[rows]] for array in self.arrays)


def train_test_split(
    *arrays: np.ndarray, test_fraction: float = 0.2, seed: int | None = None, labels: np.ndarray | None = None
) -> list[np.ndarray]:
    """[train, test] of each array in turn, rows drawn without replacement.

    labels: one class per row; each class then gives the same fraction to the test set.
    """
    rows = _rows("data", tuple(np.asarray(array) for array in arrays))
    if not 0 < test_fraction < 1:
        raise InvalidArgumentError(
            message("data", f"expected 0 < test_fraction < 1, got {test_fraction}", user_origin())
        )
    random = np.random.default_rng(seed)
    classes = np.zeros(rows, int) if labels is None else np.asarray(labels)
    test = np.zeros(rows, bool)
    for label in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == label))
        test[members[: round(len(members) * test_fraction)]] = True
    return [part for array in arrays for part in (np.asarray(array)[~test], np.asarray(array)[test])]
