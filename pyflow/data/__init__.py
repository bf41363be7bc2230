"""Feeding: shuffled mini-batches over arrays, and an honest split."""

from pyflow.data.batches import Batches, train_test_split

__all__ = ["Batches", "train_test_split"]
