"""One row per activation: fastmlp's constructor, torch's, the NumPy formula (see specs.py)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastmlp as fm
import reference


@dataclass(frozen=True)
class Activation:
    """`torch` receives `torch.nn`. `name`, for `MLP` and `ops`, stands for default constants."""

    id: str
    module: Callable[[], Any]
    torch: Callable[[Any], Any]
    numpy: reference.Function
    name: str | None = None
    kinks: tuple[float, ...] = ()  # where the derivative jumps
    range: tuple[float, float] = (-np.inf, np.inf)  # of the output
    slack: float = 8  # what 1 - tanh^2 and the like may be off, from a rounded tanh, in ulps of 1
    rowwise: bool = False


def _torch_function(function: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A torch module of a function of torch.nn.functional and the input.

    torch's own Hardsigmoid has a derivative of 1/6 rounded to float32, in float64, too, and its
    Hardswish overflows where the result does not.
    """

    def make(nn: Any) -> Any:
        class Module(nn.Module):  # type: ignore[misc, name-defined]
            def forward(self, x: Any) -> Any:
                return function(nn.functional, x)

        return Module()

    return make


ACTIVATIONS = {
    row.id: row
    for row in [
        Activation(
            "identity", fm.Identity, lambda nn: nn.Identity(), reference.identity, "identity"
        ),
        Activation("relu", fm.ReLU, lambda nn: nn.ReLU(), reference.relu, "relu", kinks=(0,)),
        Activation(
            "leaky_relu",
            fm.LeakyReLU,
            lambda nn: nn.LeakyReLU(),
            reference.leaky_relu(),
            "leaky_relu",
            kinks=(0,),
        ),
        Activation(
            "leaky_relu(0.1)",
            lambda: fm.LeakyReLU(0.1),
            lambda nn: nn.LeakyReLU(0.1),
            reference.leaky_relu(0.1),
            kinks=(0,),
        ),
        Activation(
            "sigmoid",
            fm.Sigmoid,
            lambda nn: nn.Sigmoid(),
            reference.sigmoid,
            "sigmoid",
            range=(0, 1),
        ),
        Activation("tanh", fm.Tanh, lambda nn: nn.Tanh(), reference.tanh, "tanh", range=(-1, 1)),
        Activation(
            "hardtanh",
            fm.Hardtanh,
            lambda nn: nn.Hardtanh(),
            reference.hardtanh(),
            "hardtanh",
            kinks=(-1, 1),
            range=(-1, 1),
        ),
        Activation(
            "hardtanh(-0.5,2)",
            lambda: fm.Hardtanh(-0.5, 2.0),
            lambda nn: nn.Hardtanh(-0.5, 2.0),
            reference.hardtanh(-0.5, 2),
            kinks=(-0.5, 2),
            range=(-0.5, 2),
        ),
        Activation("gelu", fm.GELU, lambda nn: nn.GELU(), reference.gelu, "gelu"),
        Activation(
            "gelu_tanh",
            lambda: fm.GELU(approximate="tanh"),
            lambda nn: nn.GELU(approximate="tanh"),
            reference.gelu_tanh,
            "gelu_tanh",
            slack=64,
        ),
        Activation("silu", fm.SiLU, lambda nn: nn.SiLU(), reference.silu, "silu"),
        Activation("elu", fm.ELU, lambda nn: nn.ELU(), reference.elu(), "elu"),
        Activation(
            "elu(0.5)",
            lambda: fm.ELU(0.5),
            lambda nn: nn.ELU(0.5),
            reference.elu(0.5),
            kinks=(0,),
        ),
        Activation(
            "softplus", fm.Softplus, lambda nn: nn.Softplus(), reference.softplus(), "softplus"
        ),
        Activation(
            "softplus(2)",
            lambda: fm.Softplus(2.0),
            lambda nn: nn.Softplus(2.0),
            reference.softplus(2),
        ),
        Activation(
            "relu6",
            fm.ReLU6,
            lambda nn: nn.ReLU6(),
            reference.hardtanh(0, 6),
            "relu6",
            kinks=(0, 6),
            range=(0, 6),
        ),
        Activation("selu", fm.SELU, lambda nn: nn.SELU(), reference.selu, "selu", kinks=(0,)),
        Activation("celu", fm.CELU, lambda nn: nn.CELU(), reference.celu(), "celu"),
        Activation("celu(0.5)", lambda: fm.CELU(0.5), lambda nn: nn.CELU(0.5), reference.celu(0.5)),
        Activation("mish", fm.Mish, lambda nn: nn.Mish(), reference.mish, "mish"),
        Activation(
            "hardswish",
            fm.Hardswish,
            _torch_function(lambda f, x: x * (f.relu6(x + 3) / 6)),
            reference.hardswish,
            "hardswish",
            kinks=(-3, 3),
        ),
        Activation(
            "hardsigmoid",
            fm.Hardsigmoid,
            _torch_function(lambda f, x: f.relu6(x + 3) / 6),
            reference.hardsigmoid,
            "hardsigmoid",
            kinks=(-3, 3),
            range=(0, 1),
        ),
        Activation(
            "logsigmoid",
            fm.LogSigmoid,
            lambda nn: nn.LogSigmoid(),
            reference.log_sigmoid,
            "logsigmoid",
            range=(-np.inf, 0),
        ),
        Activation(
            "softsign",
            fm.Softsign,
            lambda nn: nn.Softsign(),
            reference.softsign,
            "softsign",
            range=(-1, 1),
        ),
        Activation(
            "softmax",
            lambda: fm.Softmax(dim=1),
            lambda nn: nn.Softmax(dim=1),
            reference.softmax,
            "softmax",
            range=(0, 1),
            rowwise=True,
        ),
        Activation(
            "log_softmax",
            lambda: fm.LogSoftmax(dim=1),
            lambda nn: nn.LogSoftmax(dim=1),
            reference.log_softmax,
            "log_softmax",
            range=(-np.inf, 0),
            rowwise=True,
        ),
    ]
}
