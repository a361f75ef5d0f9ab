"""The optimizers and, in `lr_scheduler`, the schedules."""

from fastmlp.optim import lr_scheduler
from fastmlp.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
