"""Optimisers: a train step is a fetch. ``step = pf.optim.Adam(1e-3).minimize(loss)``; ``session.run(step, feeds)``."""

from pyflow.optim.optimizers import SGD, Adam, Optimizer, clip_by_global_norm

__all__ = ["SGD", "Adam", "Optimizer", "clip_by_global_norm"]
