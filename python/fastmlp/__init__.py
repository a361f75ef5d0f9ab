"""Multilayer perceptrons, trained in native code.

import fastmlp as fm

model = fm.MLP([2, 10, 3], activation="sigmoid", seed=0)
optimizer = fm.SGD(model.parameters(), lr=1.0)
history = fm.Trainer(model, optimizer).fit(x, t, max_epoch=300, batch_size=30)
y = model.predict(x)
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastmlp import (
    callbacks,
    cuda,
    init,
    lr_scheduler,
    names,
    nn,
    ops,
    optim,
    traced_functions,
)
from fastmlp._core import Predictor, __version__
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
from fastmlp.arithmetic import cat, stack, where
from fastmlp.batching import batches
from fastmlp.clipping import clip_grad_norm_, clip_grad_value_
from fastmlp.containers import ModuleDict, ModuleList, Sequential
from fastmlp.distribution_losses import (
    GaussianNLLLoss,
    KLDivLoss,
    PoissonNLLLoss,
    QuantileLoss,
)
from fastmlp.early_stopping import EarlyStopping
from fastmlp.ensemble import Ensemble
from fastmlp.function_loss import FunctionLoss
from fastmlp.history import EpochInfo, History
from fastmlp.layers import MLP, Dropout, Flatten, Linear
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
from fastmlp.many import fit_many
from fastmlp.modules import Module
from fastmlp.names import *  # noqa: F403
from fastmlp.nn.functional import (
    celu,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)
from fastmlp.normalization import BatchNorm1d, LayerNorm, Standardize
from fastmlp.optim import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    LevenbergMarquardt,
    Lion,
    NAdam,
    RMSprop,
)
from fastmlp.parameter import Buffer, Parameter
from fastmlp.residual import Residual
from fastmlp.runtime import get_num_threads, set_num_threads, show_config, threads
from fastmlp.seeds import manual_seed
from fastmlp.summary import summary
from fastmlp.tensor import Tensor, no_grad, tensor
from fastmlp.trainer import Trainer

del traced_functions  # which has told values that are traced what can be done with them

if TYPE_CHECKING:
    from fastmlp import datasets, plot
    from fastmlp.c_export import export_c
    from fastmlp.files import load, save
    from fastmlp.onnx import from_onnx, to_onnx

__all__ = [
    *names.__all__,
    "CELU",
    "ELU",
    "GELU",
    "MLP",
    "SELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "Buffer",
    "CrossEntropyLoss",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "EpochInfo",
    "Flatten",
    "FunctionLoss",
    "GaussianNLLLoss",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "History",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LBFGS",
    "LayerNorm",
    "LeakyReLU",
    "LevenbergMarquardt",
    "Linear",
    "Lion",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NAdam",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "PoissonNLLLoss",
    "Predictor",
    "QuantileLoss",
    "RMSprop",
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
    "Tensor",
    "Trainer",
    "__version__",
    "batches",
    "callbacks",
    "cat",
    "celu",
    "clip_grad_norm_",
    "clip_grad_value_",
    "cuda",
    "datasets",
    "elu",
    "fit_many",
    "export_c",
    "from_onnx",
    "gelu",
    "get_num_threads",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "init",
    "leaky_relu",
    "load",
    "log_softmax",
    "logsigmoid",
    "lr_scheduler",
    "manual_seed",
    "mish",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "plot",
    "relu",
    "relu6",
    "save",
    "selu",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "stack",
    "summary",
    "tanh",
    "tensor",
    "threads",
    "to_onnx",
    "where",
]

# Modules and functions that few need, and where they are.
_LATER = {
    "datasets": "fastmlp.datasets",
    "plot": "fastmlp.plot",
    "export_c": "fastmlp.c_export",
    "from_onnx": "fastmlp.onnx",
    "load": "fastmlp.files",
    "save": "fastmlp.files",
    "to_onnx": "fastmlp.onnx",
    "sklearn": "fastmlp.sklearn",
    "torch": "fastmlp.torch",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module = importlib.import_module(_LATER[name])
        return module if module.__name__.endswith(f".{name}") else getattr(module, name)
    if name in names.DTYPES:
        return names.DTYPES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [name for name in globals() if name.startswith("__")] + __all__
