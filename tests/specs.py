"""One row per activation, loss and optimizer: fastmlp's constructor, torch's, the NumPy formula.

A new activation, loss or optimizer gets its row here (and its formula in reference.py or
reference_optimizers.py); every test that goes over `ACTIVATIONS`, `LOSSES` or `OPTIMIZERS` then
covers it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastmlp as fm
import reference
import reference_optimizers
from activation_specs import ACTIVATIONS as ACTIVATIONS
from activation_specs import Activation as Activation
from torch_optimizers import torch_class

# The largest relative error of a gradient, max |got - want| / max |want| over a tensor: by dtype,
# and by the precision of products on CUDA.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float32x3": 1e-4, "tf32": 2e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Loss:
    """`targets(rng, rows, columns)` draws targets; the loss takes the output of any of `heads`."""

    id: str
    module: Callable[[str], Any]
    torch: Callable[[Any, str], Any]
    numpy: Callable[[Any, Any], Any]
    targets: Callable[[np.random.Generator, int, int], np.ndarray]
    head: str = "identity"  # the activation it usually follows
    heads: tuple[str, ...] | None = None  # None: any
    kink: float | None = None  # of y - t
    count: int = 0  # of outputs, where only one will do

    def outputs(self, wanted: int) -> int:
        """A number of outputs that it takes: classes need two to choose from, means a variance."""
        if self.id.startswith("gaussian_nll"):
            return wanted + wanted % 2
        fewest = 2 if self.id.startswith(("nll", "cross_entropy")) else 1
        return self.count or max(wanted, fewest)


@dataclass(frozen=True)
class Optimizer:
    """The class has the same name, and the options the same names, in fastmlp and in torch.

    Lion, which torch has not, is in torch_optimizers.py.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])

    def fastmlp(self, parameters: Any) -> Any:
        return getattr(fm, self.name)(parameters, **self.options)

    def torch(self, torch: Any, parameters: Any) -> Any:
        return torch_class(torch, self.name)(parameters, **self.options)

    def numpy(self, w: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> None:
        getattr(reference_optimizers, self.name.lower())(w, g, state, **self.options)


def _real(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.normal(size=(rows, columns))


def _share(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.uniform(0, 1, size=(rows, columns)).round(2)  # a few of them exactly 0 or 1


def _classes(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.integers(0, columns, size=rows)


def _counts(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.poisson(3, size=(rows, columns)).astype(float)


def _logarithms(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return np.log(rng.uniform(0.1, 1, size=(rows, columns)))


def _half(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.normal(size=(rows, columns // 2))


def _column(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.normal(size=(rows, 1))


_QUANTILES = (0.1, 0.5, 0.75)


def _torch_gaussian(nn: Any, reduction: str) -> Any:
    loss = nn.GaussianNLLLoss(full=True, reduction=reduction)

    def function(y: Any, t: Any) -> Any:
        half = y.shape[1] // 2
        return loss(y[:, :half], t, y[:, half:])

    return function


def _torch_quantile(nn: Any, reduction: str) -> Any:
    def function(y: Any, t: Any) -> Any:
        q, e = y.new_tensor(_QUANTILES), t - y
        values = (q * e.clamp(min=0) + (1 - q) * (-e).clamp(min=0)).flatten()
        return values.mean() if reduction == "mean" else values.sum()

    return function


def _probabilities(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.dirichlet(np.ones(columns), size=rows)


LOSSES = {
    row.id: row
    for row in [
        Loss(
            "mse",
            lambda r: fm.MSELoss(reduction=r),
            lambda nn, r: nn.MSELoss(reduction=r),
            reference.mse,
            _real,
        ),
        Loss(
            "l1",
            lambda r: fm.L1Loss(reduction=r),
            lambda nn, r: nn.L1Loss(reduction=r),
            reference.l1,
            _real,
            kink=0,
        ),
        Loss(
            "huber",
            lambda r: fm.HuberLoss(reduction=r),
            lambda nn, r: nn.HuberLoss(reduction=r),
            reference.huber(),
            _real,
        ),
        Loss(
            "huber(0.4)",
            lambda r: fm.HuberLoss(delta=0.4, reduction=r),
            lambda nn, r: nn.HuberLoss(delta=0.4, reduction=r),
            reference.huber(0.4),
            _real,
        ),
        Loss(
            "smooth_l1",
            lambda r: fm.SmoothL1Loss(reduction=r),
            lambda nn, r: nn.SmoothL1Loss(reduction=r),
            reference.smooth_l1(),
            _real,
        ),
        Loss(
            "smooth_l1(0.4)",
            lambda r: fm.SmoothL1Loss(beta=0.4, reduction=r),
            lambda nn, r: nn.SmoothL1Loss(beta=0.4, reduction=r),
            reference.smooth_l1(0.4),
            _real,
        ),
        Loss(
            "poisson_nll",
            lambda r: fm.PoissonNLLLoss(reduction=r),
            lambda nn, r: nn.PoissonNLLLoss(reduction=r),
            reference.poisson_nll(True, False),
            _counts,
        ),
        Loss(
            "poisson_nll(rate)",
            lambda r: fm.PoissonNLLLoss(log_input=False, full=True, eps=1e-3, reduction=r),
            lambda nn, r: nn.PoissonNLLLoss(log_input=False, full=True, eps=1e-3, reduction=r),
            reference.poisson_nll(False, True, 1e-3),
            _counts,
            head="softplus",
            heads=("softplus", "sigmoid", "softmax"),
        ),
        Loss(
            "gaussian_nll",
            lambda r: fm.GaussianNLLLoss(full=True, reduction=r),
            _torch_gaussian,
            reference.gaussian_nll,
            _half,
            head="softplus",
            heads=("softplus", "sigmoid"),
        ),
        Loss(
            "kl_div",
            lambda r: fm.KLDivLoss(reduction=r),
            lambda nn, r: nn.KLDivLoss(reduction=r),
            reference.kl_div,
            _share,
            head="log_softmax",
        ),
        Loss(
            "kl_div(log_target)",
            lambda r: fm.KLDivLoss(reduction=r, log_target=True),
            lambda nn, r: nn.KLDivLoss(reduction=r, log_target=True),
            reference.kl_div_log,
            _logarithms,
            head="log_softmax",
        ),
        Loss(
            "quantile",
            lambda r: fm.QuantileLoss(_QUANTILES, reduction=r),
            _torch_quantile,
            reference.quantile(_QUANTILES),
            _column,
            kink=0,
            count=len(_QUANTILES),
        ),
        Loss(
            "bce",
            lambda r: fm.BCELoss(reduction=r),
            lambda nn, r: nn.BCELoss(reduction=r),
            reference.bce,
            _share,
            head="sigmoid",
            heads=("sigmoid", "softmax"),
        ),
        Loss(
            "bce_with_logits",
            lambda r: fm.BCEWithLogitsLoss(reduction=r),
            lambda nn, r: nn.BCEWithLogitsLoss(reduction=r),
            reference.bce_with_logits,
            _share,
        ),
        Loss(
            "nll",
            lambda r: fm.NLLLoss(reduction=r),
            lambda nn, r: nn.NLLLoss(reduction=r),
            reference.nll,
            _classes,
            head="log_softmax",
        ),
        Loss(
            "cross_entropy",
            lambda r: fm.CrossEntropyLoss(reduction=r),
            lambda nn, r: nn.CrossEntropyLoss(reduction=r),
            reference.cross_entropy,
            _classes,
        ),
        Loss(
            "cross_entropy(probabilities)",
            lambda r: fm.CrossEntropyLoss(reduction=r),
            lambda nn, r: nn.CrossEntropyLoss(reduction=r),
            reference.cross_entropy,
            _probabilities,
        ),
        Loss(
            "cross_entropy(label_smoothing)",
            lambda r: fm.CrossEntropyLoss(label_smoothing=0.2, reduction=r),
            lambda nn, r: nn.CrossEntropyLoss(label_smoothing=0.2, reduction=r),
            reference.smoothed_cross_entropy(0.2),
            _classes,
        ),
    ]
}

OPTIMIZERS = [
    Optimizer("SGD", {"lr": 0.1}),
    Optimizer("SGD", {"lr": 0.1, "weight_decay": 0.01}),
    Optimizer("SGD", {"lr": 0.02, "momentum": 0.9}),
    Optimizer("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3}),
    Optimizer("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    Optimizer("SGD", {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.02, "dampening": 0.1}),
    Optimizer("SGD", {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.02, "nesterov": True}),
    Optimizer("SGD", {"lr": 0.003, "maximize": True}),
    Optimizer("SGD", {"lr": 0.002, "momentum": 0.5, "weight_decay": 0.02, "maximize": True}),
    Optimizer("Adam"),
    Optimizer("Adam", {"lr": 0.01}),
    Optimizer("Adam", {"lr": 0.01, "betas": (0.8, 0.99)}),
    Optimizer("Adam", {"lr": 0.01, "eps": 1e-3}),
    Optimizer("Adam", {"lr": 0.01, "weight_decay": 0.05}),
    Optimizer("Adam", {"lr": 0.01, "betas": (0.8, 0.9), "amsgrad": True}),
    Optimizer("Adam", {"lr": 0.002, "weight_decay": 0.05, "maximize": True}),
    Optimizer("AdamW"),
    Optimizer("AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    Optimizer("AdamW", {"lr": 0.01, "weight_decay": 0}),
    Optimizer("AdamW", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "amsgrad": True}),
    Optimizer("AdamW", {"lr": 0.002, "weight_decay": 0.3, "maximize": True}),
    Optimizer("RMSprop"),
    Optimizer("RMSprop", {"lr": 0.003, "alpha": 0.9}),
    Optimizer("RMSprop", {"lr": 0.003, "eps": 1e-3}),
    Optimizer("RMSprop", {"lr": 0.003, "weight_decay": 0.05}),
    Optimizer("RMSprop", {"lr": 0.001, "momentum": 0.7}),
    Optimizer("RMSprop", {"lr": 0.003, "centered": True}),
    Optimizer(
        "RMSprop",
        {"lr": 1e-3, "eps": 1e-3, "centered": True, "momentum": 0.7, "weight_decay": 0.05},
    ),
    Optimizer("RMSprop", {"lr": 0.002, "maximize": True}),
    Optimizer("NAdam"),
    Optimizer("NAdam", {"lr": 0.003, "betas": (0.8, 0.99), "eps": 1e-3}),
    Optimizer("NAdam", {"lr": 0.003, "momentum_decay": 0.3}),
    Optimizer("NAdam", {"lr": 0.01, "weight_decay": 0.05}),
    Optimizer("NAdam", {"lr": 0.003, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    Optimizer("NAdam", {"lr": 0.002, "betas": (0.4, 0.9), "maximize": True}),
    Optimizer("Adagrad"),
    Optimizer("Adagrad", {"lr": 0.05, "lr_decay": 0.02}),
    Optimizer("Adagrad", {"lr": 0.02, "weight_decay": 0.05, "eps": 1e-3}),
    Optimizer("Adagrad", {"lr": 0.05, "initial_accumulator_value": 0.3}),
    Optimizer("Adagrad", {"lr": 0.002, "maximize": True}),
    Optimizer("Lion", {"lr": 0.001}),
    Optimizer("Lion", {"lr": 0.001, "betas": (0.5, 0.9)}),
    Optimizer("Lion", {"lr": 0.001, "weight_decay": 0.3}),
    Optimizer("Lion", {"lr": 0.0005, "weight_decay": 0.3, "maximize": True}),
]

# One of each class with most of its options on, for tests whose subject is not the optimizer.
BUSY_OPTIMIZERS = [
    *(OPTIMIZERS[number] for number in (0, 6, 14, 19, 27)),
    Optimizer(
        "NAdam",
        {
            "lr": 0.003,
            "betas": (0.8, 0.9),
            "eps": 0.01,
            "weight_decay": 0.3,
            "decoupled_weight_decay": True,
        },
    ),
    Optimizer(
        "Adagrad",
        {"lr": 0.05, "lr_decay": 0.02, "weight_decay": 0.05, "initial_accumulator_value": 0.1},
    ),
    Optimizer("Lion", {"lr": 2e-5, "betas": (0.8, 0.9), "weight_decay": 0.3}),
]
