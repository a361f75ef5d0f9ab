"""The optimizers and, in `lr_scheduler`, the schedules."""

from fastmlp.lbfgs import LBFGS
from fastmlp.levenberg_marquardt import LevenbergMarquardt
from fastmlp.optim import lr_scheduler
from fastmlp.optimizers import SGD, Adagrad, Adam, AdamW, Lion, NAdam, Optimizer, RMSprop

__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "LevenbergMarquardt",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "lr_scheduler",
]
