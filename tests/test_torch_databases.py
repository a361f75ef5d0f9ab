"""PyTorch's own test inputs of the modules and optimizers that both have, run through both."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from torch_optimizers import torch_class

ELEMENTWISE = [
    "ReLU",
    "LeakyReLU",
    "Sigmoid",
    "Tanh",
    "Hardtanh",
    "GELU",
    "SiLU",
    "ELU",
    "Softplus",
    "ReLU6",
    "SELU",
    "CELU",
    "Mish",
    "Hardswish",
    "LogSigmoid",
    "Softsign",
]
ROWWISE = ["Softmax", "LogSoftmax"]
LOSSES = ["MSELoss", "L1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss"]
LOSSES += ["SmoothL1Loss", "PoissonNLLLoss", "KLDivLoss"]
CLASS_LOSSES = ["NLLLoss", "CrossEntropyLoss"]
MODULES = ["Linear", *ELEMENTWISE, *ROWWISE, *LOSSES, *CLASS_LOSSES]
# What this package has not got, or says that it refuses.
MISSING = {"threshold"}


@pytest.fixture(scope="module")
def databases() -> Any:
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    pytest.importorskip("expecttest", reason="torch's test inputs need it")
    modules = pytest.importorskip("torch.testing._internal.common_modules", exc_type=ImportError)
    optims = pytest.importorskip("torch.testing._internal.common_optimizers", exc_type=ImportError)
    torch.manual_seed(0)
    return torch, modules.module_db, optims.optim_db


def inputs_of(databases: Any, name: str) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], Any]]:
    """Arguments of the constructor and of the call, as far as both have them."""
    torch, modules, _ = databases
    (info,) = (m for m in modules if m.module_cls is getattr(torch.nn, name))
    drawn = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": True}
    for item in info.module_inputs_func(info, **drawn):
        made = item.constructor_input
        unknown = MISSING & set(made.kwargs) or _is_wide(made.kwargs.get("weight"))
        rows = name in ROWWISE and item.forward_input.args[0].ndim != 2
        if unknown or rows or (name == "Softplus" and len(made.args) > 1):
            continue
        # Its weights are drawn from all numbers.
        options = {k: v.abs() if isinstance(v, torch.Tensor) else v for k, v in made.kwargs.items()}
        yield made.args, options, item.forward_input.args


def _is_wide(weight: Any) -> bool:
    """A weight for each element."""
    return weight is not None and weight.ndim > 1


def as_rows(name: str, values: Any) -> Any:
    """Inputs of more or fewer dimensions as rows, with classes last; KLDivLoss's have NaN."""
    values = values.nan_to_num()
    if name in CLASS_LOSSES and values.ndim > 1:
        values = values.movedim(1, -1)
    return values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str, databases: Any) -> None:
    torch = databases[0]
    count = 0
    for args, options, call in inputs_of(databases, name):
        theirs = getattr(torch.nn, name)(*args, **options)
        if name == "Linear":
            ours = fm.Linear(*args, **options, dtype="float64")
            theirs.double().load_state_dict(fm.nn.utils.to_torch(ours.state_dict()))
        else:
            ours = getattr(fm, name)(*args, **options)
        x = as_rows(name, call[0]) if call else torch.rand(4, args[0], dtype=torch.float64)
        x = x.detach().requires_grad_()
        tensor = fm.tensor(x.detach().numpy(), requires_grad=True)
        if name in LOSSES + CLASS_LOSSES:
            dense = name in LOSSES or call[1].is_floating_point()
            t = as_rows(name, call[1]) if dense else call[1].reshape(-1)
            if name == "CrossEntropyLoss" and dense:  # ours takes what sums to 1
                t = torch.softmax(t, dim=1)
            if name == "KLDivLoss" and not ours.log_target:
                t = t.abs()
            want, got = theirs(x, t), ours(fm.Identity()(tensor), t.detach().numpy())
        else:
            want, got = theirs(x), ours(tensor)
        gradient = np.random.default_rng(0).normal(size=got.shape) if got.ndim else None
        want.backward(None if gradient is None else torch.from_numpy(gradient))
        got.backward(gradient)
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(tensor.grad, x.grad.numpy(), rtol=1e-10, atol=1e-14)
        count += 1
    assert count >= 2, "hardly anything in common"


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "Adagrad"])
def test_optimizers(name: str, databases: Any) -> None:
    torch, _, optimizers = databases
    (info,) = (o for o in optimizers if o.optim_cls is getattr(torch.optim, name))
    random = np.random.default_rng(0)
    inputs = info.optim_inputs_func("cpu")
    assert len(inputs) >= 5
    for item in inputs:
        start = random.normal(size=(3, 4))
        ours, theirs = fm.Parameter(start), torch.tensor(start, requires_grad=True)
        optimizer = getattr(fm, name)([ours], **item.kwargs)
        other = torch_class(torch, name)([theirs], **item.kwargs)
        for gradient in random.normal(size=(20, 3, 4)):
            ours.grad = gradient
            theirs.grad = torch.tensor(gradient)
            optimizer.step()
            other.step()
        np.testing.assert_allclose(
            np.asarray(ours), theirs.detach().numpy(), rtol=1e-11, err_msg=item.desc
        )
        assert not np.array_equal(np.asarray(ours), start)
