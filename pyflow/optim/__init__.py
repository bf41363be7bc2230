"""Optimisers, of declared graphs and of eager parameters.

``step = pf.optim.Adam(lr=1e-3).minimize(loss)``; ``session.run(step, feeds)``; or
``optimizer = pf.optim.Adam(model.parameters(), lr=1e-3)``; ``loss.backward()``; ``optimizer.step()``.
"""

from pyflow.optim import lr_scheduler
from pyflow.optim.gradients import clip_by_global_norm, clip_grad_norm_, clip_grad_value_
from pyflow.optim.optimizer import Optimizer
from pyflow.optim.rules import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, NAdam, RMSprop

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "clip_by_global_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
]
