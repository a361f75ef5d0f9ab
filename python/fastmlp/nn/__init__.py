"""Layers, activations, losses and containers under torch's names: ``from fastmlp import nn``."""

import sys
from typing import Any

from fastmlp.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    Identity,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from fastmlp.containers import ModuleDict, ModuleList, Sequential
from fastmlp.distribution_losses import (
    GaussianNLLLoss,
    KLDivLoss,
    PoissonNLLLoss,
    QuantileLoss,
)
from fastmlp.layers import Dropout, Flatten, Linear
from fastmlp.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from fastmlp.modules import Module
from fastmlp.nn import functional, init, utils
from fastmlp.normalization import BatchNorm1d, LayerNorm, Standardize
from fastmlp.parameter import Buffer, Parameter
from fastmlp.parameter_containers import ParameterDict, ParameterList
from fastmlp.residual import Residual

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "Buffer",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "GaussianNLLLoss",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "PoissonNLLLoss",
    "QuantileLoss",
    "ReLU",
    "ReLU6",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Softsign",
    "Standardize",
    "Tanh",
    "functional",
    "init",
    "utils",
]


def __getattr__(name: str) -> Any:
    """torch's own losses and distances, where torch is there: its functions take our tensors."""
    torchs = getattr(getattr(sys.modules.get("torch"), "nn", None), name, None)
    if getattr(torchs, "__module__", "") in ("torch.nn.modules.loss", "torch.nn.modules.distance"):
        return torchs
    hint = ", which is for multi-layer perceptrons" if isinstance(torchs, type) else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
