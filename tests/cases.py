"""Training problems drawn from a description, solved by fastmlp, by torch and by the NumPy oracle.

`Case` says what to build; `draw(case)` gives its weights and data, the same for all three.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastmlp as fm
import reference
from specs import ACTIVATIONS, LOSSES

# Around every vector and tile width.
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 257)


@dataclass(frozen=True)
class Case:
    widths: tuple[int, ...]  # in, hidden ..., out
    batch: int
    activation: str = "tanh"  # after every layer but the last
    head: str = "identity"  # after the last
    loss: str = "mse"
    reduction: str = "mean"
    bias: bool = True
    dtype: str = "float64"
    threads: int = 1

    def __post_init__(self) -> None:
        widths = (*self.widths[:-1], LOSSES[self.loss].outputs(self.widths[-1]))
        object.__setattr__(self, "widths", widths)  # as many outputs as the loss takes

    @property
    def id(self) -> str:
        sizes = "-".join(map(str, self.widths))
        names = [self.activation, self.head, self.loss, self.reduction, self.dtype]
        bias = "" if self.bias else "-nobias"
        return f"{sizes}x{self.batch}-{'-'.join(names)}{bias}-t{self.threads}"


@dataclass(frozen=True)
class Problem:
    case: Case
    weights: list[np.ndarray]  # in the order of `parameters()`, of the case's dtype
    x: np.ndarray
    t: np.ndarray

    def names(self) -> list[str]:
        kinds = ("weight", "bias") if self.case.bias else ("weight",)
        return [f"{2 * i}.{kind}" for i in range(len(self.case.widths) - 1) for kind in kinds]

    def fastmlp(self, device: str = "cpu", precision: str = "float32") -> fm.Sequential:
        case, modules = self.case, []
        for fan_in, fan_out, activation in _layers(case):
            modules.append(fm.Linear(fan_in, fan_out, bias=case.bias, dtype=case.dtype))
            modules.append(ACTIVATIONS[activation].module())
        model = fm.Sequential(*modules)
        for parameter, value in zip(model.parameters(), self.weights, strict=True):
            parameter[...] = value
        return model.to(device, precision=precision)

    def torch(self, torch: Any) -> Any:
        """The same network in torch, in float64 whatever the dtype: the exacter oracle."""
        modules = []
        for fan_in, fan_out, activation in _layers(self.case):
            modules.append(
                torch.nn.Linear(fan_in, fan_out, bias=self.case.bias, dtype=torch.float64)
            )
            modules.append(ACTIVATIONS[activation].torch(torch.nn))
        model = torch.nn.Sequential(*modules)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), self.weights, strict=True):
                parameter.copy_(torch.from_numpy(value))
        return model

    def numpy(self) -> list[reference.Function]:
        values = iter([w.astype("float64") for w in self.weights])
        layers: list[reference.Function] = []
        for _, _, activation in _layers(self.case):
            layers.append(reference.Affine(next(values), next(values) if self.case.bias else None))
            layers.append(ACTIVATIONS[activation].numpy)
        return layers

    @property
    def exact_data(self) -> tuple[np.ndarray, np.ndarray]:
        """x and t for the oracles: floats in float64."""
        t = self.t.astype("float64") if self.t.dtype.kind == "f" else self.t
        return self.x.astype("float64"), t


def _layers(case: Case) -> Iterator[tuple[int, int, str]]:
    last = len(case.widths) - 2
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(case.widths)):
        yield fan_in, fan_out, case.head if i == last else case.activation


# --- gradients: a dict from "y", "loss", "x" and the parameters' names to arrays


def fastmlp_gradients(
    problem: Problem, device: str = "cpu", precision: str = "float32"
) -> dict[str, np.ndarray]:
    case, model = problem.case, problem.fastmlp(device, precision)
    x = fm.tensor(problem.x, requires_grad=True)
    with fm.threads(case.threads):
        y = model(x)
        loss = LOSSES[case.loss].module(case.reduction)(y, problem.t)
        loss.backward()
    found = {"y": np.asarray(y), "loss": np.asarray(loss), "x": x.grad}
    return found | {name: p.grad for name, p in model.named_parameters()}


def torch_gradients(torch: Any, problem: Problem) -> dict[str, np.ndarray]:
    case, model = problem.case, problem.torch(torch)
    x, t = map(torch.from_numpy, problem.exact_data)
    x.requires_grad_()
    y = model(x)
    loss = LOSSES[case.loss].torch(torch.nn, case.reduction)(y, t)
    loss.backward()
    found = {"y": y.detach().numpy(), "loss": loss.detach().numpy(), "x": x.grad.numpy()}
    return found | {name: p.grad.numpy() for name, p in model.named_parameters()}


def numpy_gradients(problem: Problem) -> dict[str, np.ndarray]:
    found = _solve(problem)
    named = dict(zip(problem.names(), found.grads, strict=True))
    return {"y": found.y, "loss": np.asarray(found.loss), "x": found.grad_x} | named


def _solve(problem: Problem) -> reference.Gradients:
    loss = LOSSES[problem.case.loss].numpy
    x, t = problem.exact_data
    return reference.gradients(problem.numpy(), loss, problem.case.reduction, x, t)


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """max |got - want| / max |want|; where all of `want` is 0, the largest |got|."""
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    assert np.isfinite(want).all()
    scale = np.abs(want).max()
    return float(np.abs(got.astype("float64") - want).max() / (scale if scale else 1))


def assert_close(got: dict[str, np.ndarray], want: dict[str, np.ndarray], tolerance: float) -> None:
    assert got.keys() == want.keys()
    errors = {name: relative_error(got[name], want[name]) for name in want}
    wrong = {name: e for name, e in errors.items() if not e < tolerance}
    assert not wrong, f"relative errors above {tolerance:g}: {wrong}"


# --- drawing


@functools.cache
def draw(case: Case) -> Problem:
    """Weights and data of `case`, away from kinks and with gradients that are not all zero.

    Near a kink (ReLU's 0, say) rounding alone decides the derivative, so that two right answers
    differ. A network whose units are all dead would compare zeros. Such draws are thrown away.
    """
    for attempt in range(500):
        problem = _draw(case, attempt)
        if _fit_for_comparison(problem):
            return problem
    raise AssertionError(f"no usable draw for {case.id}")


def _draw(case: Case, attempt: int) -> Problem:
    rng = np.random.default_rng([attempt, *case.id.encode()])
    weights = []
    for fan_in, fan_out, _ in _layers(case):
        weights.append(rng.normal(scale=1.1 / np.sqrt(fan_in), size=(fan_out, fan_in)))
        if case.bias:
            weights.append(rng.normal(scale=0.4, size=fan_out))
    x = rng.normal(size=(case.batch, case.widths[0]))
    t = LOSSES[case.loss].targets(rng, case.batch, case.widths[-1])
    if t.dtype.kind == "f":
        t = t.astype(case.dtype)
    return Problem(case, [w.astype(case.dtype) for w in weights], x.astype(case.dtype), t)


def _fit_for_comparison(problem: Problem) -> bool:
    case, found = problem.case, _solve(problem)
    margin = 1e-12 if case.dtype == "float64" else 2e-6
    activations = [ACTIVATIONS[name] for _, _, name in _layers(case)]
    for z, activation in zip(found.inputs[1::2], activations, strict=True):
        if any(_near(z, kink, margin) for kink in activation.kinks):
            return False
    kink = LOSSES[case.loss].kink
    if kink is not None and _near(problem.t - found.y, kink, margin):
        return False
    if case.loss == "bce" and (found.y * (1 - found.y)).min() < 1e-4:
        return False  # torch divides and multiplies by y (1 - y), which costs it digits there
    tensors = [found.grad_x, *found.grads]
    return all(np.abs(g).max() > 0 for g in tensors) or _is_constant(case)


def _near(z: np.ndarray, kink: float, margin: float) -> bool:
    """Exactly at a kink is fine: dead units give 0 without rounding, and all agree on it."""
    distance = np.abs(z - kink)
    return bool(((distance > 0) & (distance < margin)).any())


def _is_constant(case: Case) -> bool:
    """Whether some gradient is 0 by nature: the only one of a softmax is always 1."""
    one_class = ACTIVATIONS[case.head].rowwise
    one_hidden = ACTIVATIONS[case.activation].rowwise and 1 in case.widths[1:-1]
    return (case.widths[-1] == 1 and one_class) or one_hidden


# --- covering


def covering(factors: dict[str, Sequence[Any]], seed: int) -> list[dict[str, Any]]:
    """Combinations of the factors' values in which every pair of values of two factors occurs.

    Greedy: of some random candidates, each of which holds a pair not seen yet, take the one with
    most new pairs.
    """
    rng = np.random.default_rng(seed)
    names = list(factors)
    sizes = [len(factors[name]) for name in names]
    columns = list(itertools.combinations(range(len(names)), 2))
    missing = {(a, i, b, j) for a, b in columns for i in range(sizes[a]) for j in range(sizes[b])}
    rows = []
    while missing:
        a, i, b, j = min(missing)
        candidates = rng.integers(0, sizes, size=(40, len(names)))
        candidates[:, [a, b]] = i, j
        pairs = [{(a, c[a], b, c[b]) for a, b in columns} & missing for c in candidates.tolist()]
        best = max(range(len(pairs)), key=lambda k: len(pairs[k]))
        missing -= pairs[best]
        rows.append(
            {name: factors[name][k] for name, k in zip(names, candidates[best], strict=True)}
        )
    return rows
