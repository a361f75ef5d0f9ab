"""Random expressions that mean the same to fastmlp and to torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import fastmlp as fm

Both = Callable[..., Any]

# Functions of one value, of any shape, that keep it within a few units.
UNARY: list[tuple[Both, Both]] = [
    (same, same)
    for same in (
        lambda a: -a,
        lambda a: abs(a),
        lambda a: 2 - a,
        lambda a: a * 0.5 + 1,
        lambda a: 1.5 / (a.abs() + 1),
        lambda a: a**2 / 4,
        lambda a: (a.abs() + 0.5) ** -1.5,
        lambda a: 2.0 ** a.tanh(),
        lambda a: torch.exp(torch.tanh(a)),
        lambda a: (a * a + 0.3).log(),
        lambda a: torch.log1p(a.abs()),
        lambda a: torch.sqrt(a.square() + 0.1),
        lambda a: (a.square() + 0.1).rsqrt(),
        lambda a: a.sigmoid(),
        lambda a: torch.relu(a - 0.1),
        lambda a: torch.sin(a) + a.cos(),
        lambda a: torch.atan(a),
        lambda a: a.clamp(-0.7, 0.9),
        lambda a: torch.clamp(a, min=0.2),
        lambda a: a.clone().expm1().clamp(max=3),
        lambda a: torch.nn.functional.logsigmoid(a),
        lambda a: a.reciprocal().tanh(),
        lambda a: a.masked_fill(a > 0.5, 0.25),
        lambda a: a.where(a < 0.4, a * 0.3),
        lambda a: a.reshape(-1).unsqueeze(0).squeeze(),
        lambda a: a.reshape(-1).cumsum(0) * 0.3,
        lambda a: a.sum() * 0.1,
        lambda a: torch.mean(a).reshape(1, 1),
        lambda a: a.max(),
        lambda a: torch.min(a),
        lambda a: a.norm(),
        lambda a: a.norm(p=1) * 0.1,
        lambda a: a.reshape(-1).softmax(0),
        lambda a: a.reshape(-1).log_softmax(-1) * 0.2,
        lambda a: torch.logsumexp(a.reshape(-1), 0),
        lambda a: torch.stack([a, a * 2], dim=-1).flatten(),
        lambda a: torch.cat([a.reshape(-1), a.view(-1)[:1]]),
        lambda a: a.tanh().prod(),
        lambda a: (a.reshape(1, -1).flip(-1) * 0.7).repeat(2, 1),
    )
] + [
    (lambda a: np.exp(np.tanh(a)), lambda a: a.tanh().exp()),
    (lambda a: np.abs(a), lambda a: a.abs()),
    (lambda a: np.square(a) * 0.3, lambda a: a.square() * 0.3),
    (lambda a: np.log(np.add(1.2, np.absolute(a))), lambda a: (1.2 + a.abs()).log()),
    (lambda a: np.clip(a, -0.5, 0.5), lambda a: a.clamp(-0.5, 0.5)),
    (lambda a: np.where(np.asarray(a) > 0, a, 0.1), lambda a: torch.where(a > 0, a, 0.1)),
    (lambda a: np.sum(a) * 0.1, lambda a: a.sum() * 0.1),
    (lambda a: np.linalg.norm(a.reshape(-1)), lambda a: a.reshape(-1).norm()),
    (lambda a: np.std(a), lambda a: a.std(correction=0)),
    (lambda a: np.reshape(a, (-1, 1)), lambda a: a.reshape(-1, 1)),
    (lambda a: fm.stack([a, a], -1), lambda a: torch.stack([a, a], -1)),
    (lambda a: fm.cat([a.ravel(), a.ravel()]), lambda a: torch.cat([a.ravel(), a.ravel()])),
]
# Of a matrix.
MATRIX: list[tuple[Both, Both]] = [
    (same, same)
    for same in (
        lambda a: a.T,
        lambda a: a.t() @ a / a.shape[0],
        lambda a: a.transpose(0, 1),
        lambda a: a.permute(1, 0),
        lambda a: torch.permute(a, dims=(1, 0)),
        lambda a: a.sum(dim=0) * 0.3,
        lambda a: torch.sum(a, 1, keepdim=True) * 0.3,
        lambda a: a.mean(-1),
        lambda a: a.mean(dim=(0, 1), keepdim=True),
        lambda a: a.max(dim=1)[0],
        lambda a: torch.max(a, 0, keepdim=True).values,
        lambda a: a.min(-1).values,
        lambda a: a.amax(dim=1),
        lambda a: torch.amin(a, 0),
        lambda a: a.softmax(dim=1),
        lambda a: torch.softmax(a, -1),
        lambda a: torch.log_softmax(a, 0) * 0.3,
        lambda a: a.logsumexp(dim=1, keepdim=True),
        lambda a: (torch.cat([a, a + 1, -a]).var(0) + 0.1).sqrt(),
        lambda a: torch.cat([a, 1 - a]).std(dim=0),
        lambda a: a.norm(dim=1, p=2),
        lambda a: torch.norm(a, p=3, dim=0),
        lambda a: a[0],
        lambda a: a[..., -1],
        lambda a: a[:, None] * 0.5,
        lambda a: a[1:],
        lambda a: a[::2, [0, -1, 0]],
        lambda a: a[[0, 0, -1]],
        lambda a: a[a > -0.3],
        lambda a: a[a > -9].reshape(a.shape),
        lambda a: a.flatten(0),
        lambda a: a.squeeze(-1),
        lambda a: a.unsqueeze(1),
        lambda a: a.unsqueeze(-1).expand(-1, -1, 2) * 0.5,
        lambda a: torch.flatten(a),
        lambda a: a.gather(1, a.argmax(1).reshape(-1, 1)) if isinstance(a, torch.Tensor)
        else a.gather(1, np.asarray(a).argmax(1).reshape(-1, 1)),
        lambda a: a.chunk(2, dim=1)[0],
        lambda a: torch.cat(list(a.split(1, 0))[::-1], dim=0),
        lambda a: a.unbind(0)[0] * 2,
        lambda a: torch.stack([row * 0.5 for row in a]),
        lambda a: a.cumsum(1) * 0.3,
        lambda a: a.index_select(0, torch.tensor([0, 0])),
        lambda a: torch.prod(a.tanh(), dim=1, keepdim=True),
        lambda a: (a * (a > 0)).prod(0),
        lambda a: a.flip(0, 1),
        lambda a: torch.flip(a, dims=(1,)),
        lambda a: a.repeat(2, 1, 2) * 0.5,
        lambda a: torch.nn.functional.normalize(a, dim=1),
        lambda a: torch.nn.functional.normalize(a, p=1, dim=0),
        lambda a: (a @ a.T).trace() * 0.2,
        lambda a: torch.outer(a[0], a[:, 0]) * 0.5,
    )
] + [
    (lambda a: np.mean(a, axis=0), lambda a: a.mean(0)),
    (lambda a: np.max(a, axis=1, keepdims=True), lambda a: a.amax(1, keepdim=True)),
    (lambda a: a.max(axis=0), lambda a: a.amax(0)),
    (lambda a: a.sum(axis=1, keepdims=True) * 0.3, lambda a: a.sum(1, keepdim=True) * 0.3),
    (lambda a: np.var(a, axis=0), lambda a: a.var(0, correction=0)),
    (lambda a: np.transpose(a), lambda a: a.T),
    (lambda a: np.expand_dims(a, 0), lambda a: a[None]),
    (lambda a: np.matmul(a, a.T) * 0.3, lambda a: a @ a.T * 0.3),
]  # fmt: skip
# Of two that can be broadcast.
BINARY: list[tuple[Both, Both]] = [
    (same, same)
    for same in (
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / (b.abs() + 1),
        lambda a, b: torch.add(a, b, alpha=0.5),
        lambda a, b: torch.sub(a, b),
        lambda a, b: (a.abs() + 0.5) ** (b.tanh()),
        lambda a, b: torch.pow(a.square() + 0.5, b.sigmoid()),
        lambda a, b: torch.maximum(a, b),
        lambda a, b: torch.minimum(a, b + 0.1),
        lambda a, b: torch.where(torch.as_tensor(np.array(values(a) > values(b))), a, b * 2),
        lambda a, b: (a * 3) % (b.abs() + 0.4),
        lambda a, b: torch.remainder(a, b.abs() + 0.6),
        lambda a, b: torch.atan2(a, b.abs() + 0.5),
        lambda a, b: torch.logaddexp(a, b),
        lambda a, b: torch.stack([a * b, a + b]).mean(0),
        lambda a, b: torch.dist(a, b + 0.1),
        lambda a, b: torch.nn.functional.pairwise_distance(a, b - 0.1, keepdim=True),
        lambda a, b: torch.nn.functional.cosine_similarity(a.tanh() + 1.5, b.tanh() - 1.5, dim=-1),
        lambda a, b: torch.masked_select(a * b, torch.as_tensor(np.array(values(b) > -9))),
    )
] + [
    (lambda a, b: np.multiply(a, b), lambda a, b: a * b),
    (lambda a, b: np.subtract(a, b), lambda a, b: a - b),
    (lambda a, b: np.maximum(a, b), torch.maximum),
    (lambda a, b: fm.where(values(a) > 0, a, b), lambda a, b: torch.where(a > 0, a, b)),
]
PRODUCTS: list[tuple[Both, Both]] = [
    (lambda a, b: a @ b, lambda a, b: a @ b),
    (torch.matmul, torch.matmul),
    (np.matmul, torch.matmul),
]


def values(tensor: Any) -> Any:
    """The numbers of a tensor of either library."""
    return np.asarray(tensor.detach() if hasattr(tensor, "detach") else tensor)


@dataclass
class Pair:
    """One value for both libraries."""

    ours: Any
    theirs: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.theirs.shape)


@dataclass
class Expression:
    """What was drawn: a value that depends on leaves, whose gradients are to agree."""

    value: Pair
    leaves: list[Pair]
    applied: list[str] = field(default_factory=list)


def draw_expression(seed: int, dtype: str = "float64", operations: int = 8) -> Expression:
    """The same expression for both libraries; its value is a single number."""
    rng = np.random.default_rng(seed)
    leaves = [_leaf(rng, dtype) for _ in range(rng.integers(1, 4))]
    layer, twin = fm.Linear(3, 2, dtype=dtype), torch.nn.Linear(3, 2, dtype=getattr(torch, dtype))
    with torch.no_grad():
        twin.weight.copy_(torch.from_numpy(values(layer.weight).copy()))
        twin.bias.copy_(torch.from_numpy(values(layer.bias).copy()))
    x = rng.normal(size=(4, 3)).astype(dtype)
    pool = [*leaves, Pair(layer(x), twin(torch.from_numpy(x))), _constant(rng, dtype)]
    expression = Expression(
        pool[0], [*leaves, Pair(layer.weight, twin.weight), Pair(layer.bias, twin.bias)]
    )
    for _ in range(operations):
        made, text = _apply(rng, pool)
        if made is not None and 0 < np.prod(made.shape) <= 400:
            pool.append(_bounded(made))
            expression.applied.append(text)
    ours, theirs = 0.0, 0.0
    for pair in pool:
        weight = float(rng.uniform(0.5, 1.5))
        ours = ours + weight * pair.ours.mean()
        theirs = theirs + weight * pair.theirs.mean()
    expression.value = Pair(ours, theirs)
    return expression


def _leaf(rng: np.random.Generator, dtype: str) -> Pair:
    shape = [(4, 3), (4, 1), (3,), (1, 3), (), (2, 4, 3)][rng.integers(6)]
    array = rng.normal(size=shape).astype(dtype)
    if shape in [(4, 3), (3,)] and rng.random() < 0.3:
        return Pair(fm.Parameter(array), torch.tensor(array, requires_grad=True))
    return Pair(fm.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True))


def _constant(rng: np.random.Generator, dtype: str) -> Pair:
    array = rng.normal(size=(4, 3)).astype(dtype)
    tensor = torch.from_numpy(array)
    return Pair(fm.tensor(array) if rng.random() < 0.5 else fm.tensor(array) * 1, tensor)


def _apply(rng: np.random.Generator, pool: list[Pair]) -> tuple[Pair | None, str]:
    """One more operation on values of the pool; None where it does not fit them."""
    table, count = [(UNARY, 1), (MATRIX, 1), (BINARY, 2), (PRODUCTS, 2)][rng.integers(4)]
    number = int(rng.integers(len(table)))
    ours, theirs = table[number]
    chosen = [pool[rng.integers(len(pool))] for _ in range(count)]
    if table is MATRIX and (len(chosen[0].shape) != 2 or min(chosen[0].shape) < 2):
        return None, ""
    try:
        theirs_now = theirs(*(pair.theirs for pair in chosen))
    except (RuntimeError, IndexError, ValueError):  # shapes that do not fit
        return None, ""
    operands = [pair.ours for pair in chosen]
    if count == 2 and rng.random() < 0.4 and not chosen[1].theirs.requires_grad:
        operands[1] = torch.from_numpy(values(operands[1]).copy())
        # NumPy's arrays are for operators and its own functions.
        if getattr(ours, "__name__", "") == "<lambda>" and ours.__code__.co_names[:1] in [
            (),
            ("np",),
        ]:
            operands[1] = operands[1].numpy()
    return Pair(ours(*operands), theirs_now), f"{table is MATRIX} {number}"


def _bounded(pair: Pair) -> Pair:
    if float(np.abs(values(pair.theirs)).max()) < 4:
        return pair
    return Pair(pair.ours.tanh(), pair.theirs.tanh())
