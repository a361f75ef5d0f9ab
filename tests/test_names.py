"""Tensors made under torch's names, for those who have no torch."""

import threading
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from subprocesses import output_of
from test_tensor_methods import assert_same

# Written with the library's name, `L`.
MADE = [
    "L.zeros(2, 3)", "L.zeros((2, 3))", "L.zeros([2, 3])", "L.zeros(3)", "L.zeros(())",
    "L.zeros(2, dtype=L.float64)", "L.zeros(2, 0)", "L.ones(2, 3, dtype=L.int64)", "L.ones(4)",
    "L.ones((2, 1), dtype=L.bool)", "L.full((2, 3), 7)", "L.full((2,), 0.5)", "L.full([2], True)",
    "L.full((2,), 1, dtype=L.float32)", "L.zeros_like(x)", "L.ones_like(x)", "L.full_like(x, 2)",
    "L.zeros_like(x, dtype=L.long)", "L.full_like(x.long(), 3)", "L.eye(3)", "L.eye(2, 3)",
    "L.arange(5)", "L.arange(5.0)", "L.arange(1, 5)", "L.arange(0, 1, 0.25)", "L.arange(4, 0, -1)",
    "L.arange(0, 5, dtype=L.float32)", "L.arange(3).float() / 2", "L.linspace(0, 1, 5)",
    "L.linspace(-1, 1, steps=3)", "L.linspace(0, 1, 4, dtype=L.float64)", "L.linspace(0, 1, 1)",
    "L.tensor([[0, 0], [1, 1]]).float()", "L.tensor([0.5, 1])", "L.tensor(3.5)", "L.tensor(3)",
    "L.tensor([True, False])", "L.tensor([1, 2], dtype=L.float)", "L.tensor([1.5], dtype=L.long)",
    "L.tensor(n)", "L.tensor(n, dtype=L.float32)", "L.tensor(n.astype('int32'))", "L.Tensor(n)",
    "L.tensor([], dtype=L.float64)", "L.tensor([1.0], device='cpu')", "L.tensor([1.0, 2]).double()",
    "L.Tensor([[1.0, 2.0]])", "L.Tensor([1, 2])", "L.Tensor(2, 3).shape", "L.Tensor(3).size()",
    "L.Tensor()", "L.empty(2, 3).shape", "L.empty_like(x).shape", 
    "L.empty(2, 3).dtype == L.float32", "L.from_numpy(n)",
    "L.from_numpy(n).float()", "L.as_tensor(n)", "L.as_tensor([1.0])", "L.as_tensor([1, 2])",
    "L.as_tensor(n, dtype=L.float32)", "L.rand(2, 3).shape", "L.rand(2).dtype == L.float32",
    "L.randn(2, 3).size()", "L.randn((4,)).shape", "L.rand(2, dtype=L.float64) < 1",
    "L.randint(0, 3, (4, 2)).shape", "L.randint(5, (3,)) < 5", 
    "L.randint(low=2, high=3, size=(2,))",
    "L.randperm(5).sort()[0]", "L.randperm(4).dtype == L.int64", "L.rand_like(x).shape",
    "L.randn_like(x).size()", "L.randint(3, 4, [2], dtype=L.float32)",
    "L.zeros(2, requires_grad=True).requires_grad", "L.randn(2, requires_grad=True).requires_grad",
    "L.zeros(2, device='cpu').device.type", "str(L.device('cpu'))", "L.device('cuda:0').index",
    "L.device('cuda', 0).type", "L.device('cpu') == L.device('cpu')", "L.device('cuda').index",
    "L.ones(2, device=L.device('cpu'))", "L.zeros(2, dtype=L.double)", "L.zeros(2, dtype=L.int)",
    "L.zeros(2, dtype=L.uint8)", "L.zeros(3, dtype=L.int32)", "L.arange(end=3, start=0)",
    "L.tensor(data=[1.0])", "L.linspace(start=0, end=1, steps=2)", 
    "L.zeros(x.shape)", "L.zeros(x.size())", "L.zeros(x.size(0), x.size(1))", "L.as_tensor(x)",
]  # fmt: skip


@pytest.mark.parametrize("call", MADE)
def test_as_torch(torch: Any, call: str) -> None:
    numbers = np.array([[0.5, 1.5, -2.0], [3.0, 0.25, 1.0]])
    want = eval(call, {"L": torch, "n": numbers, "x": torch.ones(2, 3)})
    found = eval(call, {"L": fm, "n": numbers, "x": fm.ones(2, 3)})
    if isinstance(want, torch.Tensor):
        assert type(found) is fm.Tensor
        assert found.flags.writeable
    assert_same(found, tuple(want) if isinstance(want, torch.Size) else want)


def test_torchs_own_data_and_dtypes(torch: Any) -> None:
    for values in (torch.arange(3), torch.rand(2, 2), torch.rand(2).double(), torch.tensor([True])):
        assert_same(fm.tensor(values), values)
        assert_same(fm.as_tensor(values), values)
        assert_same(fm.zeros_like(values), torch.zeros_like(values))
    assert fm.zeros(2, dtype=torch.float64).dtype == "float64"
    assert_same(fm.tensor([torch.tensor(1.0), torch.tensor(2.0)]), torch.tensor([1.0, 2.0]))
    assert fm.device(torch.device("cuda:0")) == "cuda:0"
    with pytest.raises(TypeError, match=r"data.*detach"):
        fm.tensor(torch.ones(2, requires_grad=True))


def test_memory() -> None:
    array = np.zeros(3)
    assert np.shares_memory(fm.from_numpy(array), array)
    assert np.shares_memory(fm.as_tensor(array), array)
    assert not np.shares_memory(fm.tensor(array), array)
    assert not np.shares_memory(fm.as_tensor(array, fm.float32), array)
    fm.from_numpy(array)[0] = 1
    assert array[0] == 1
    tracked = fm.tensor([1.0], requires_grad=True)
    assert not fm.tensor(tracked).requires_grad


def _drawn() -> list[Any]:
    return [
        fm.rand(3, 2),
        fm.randn(2, 2, dtype="float64"),
        fm.randint(0, 9, (20,)),
        fm.randperm(10),
        fm.rand_like(fm.ones(3)),
        fm.randn_like(fm.ones(3)),
        fm.Linear(2, 2).weight.numpy(),
    ]


def test_random_numbers_start_from_the_seed() -> None:
    fm.manual_seed(5)
    first = _drawn()
    others = _drawn()
    fm.manual_seed(5)
    for value, again, other in zip(first, _drawn(), others, strict=True):
        np.testing.assert_array_equal(value, again)
        assert not np.array_equal(value, other)


def test_distributions() -> None:
    fm.manual_seed(0)
    uniform, normal = fm.rand(100_000), fm.randn(100_000)
    assert 0 <= uniform.numpy().min() < 0.001
    assert 0.999 < uniform.numpy().max() < 1
    assert uniform.numpy().mean() == pytest.approx(0.5, abs=0.01)
    assert normal.numpy().mean() == pytest.approx(0, abs=0.02)
    assert normal.std() == pytest.approx(1, abs=0.02)
    assert np.unique(fm.randint(-2, 2, (1000,))).tolist() == [-2, -1, 0, 1]
    assert np.sort(fm.randperm(100)).tolist() == list(range(100))


def test_a_training_without_torch() -> None:
    printed = output_of(
        """
        import sys
        import fastmlp as fm
        from fastmlp import nn, optim
        fm.manual_seed(0)
        x = fm.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).float()
        t = fm.Tensor([[0], [1], [1], [0]])
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        for _ in range(300):
            order = fm.randperm(x.size(0))
            loss = nn.BCELoss()(model(x[order]), t[order])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with fm.no_grad():
            print((model(x) > 0.5).eq(t).float().mean().item(), "torch" in sys.modules)
        """
    )
    assert printed.split() == ["1.0", "False"]


def test_names_of_types_stay_pythons() -> None:
    scope: dict[str, Any] = {}
    exec("from fastmlp import *", scope)
    assert not {"float", "int", "bool", "long", "double"} & scope.keys()
    assert scope["zeros"] is fm.zeros
    assert fm.float is fm.float32


def test_threads_draw_different_numbers() -> None:
    drawn: list[Any] = []
    threads = [threading.Thread(target=lambda: drawn.append(fm.rand(4))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(values.tolist()) for values in drawn}) == 8


def test_what_nn_lacks_is_torchs(torch: Any) -> None:
    """Its losses and functions; what has parameters would be no part of a model of ours."""
    model, x = fm.Linear(2, 3, dtype="float64"), np.random.default_rng(0).normal(size=(4, 2))
    rows = [model(x), model(x[::-1]), model(x * 2)]
    found = fm.nn.TripletMarginLoss(margin=0.5)(*rows)
    want = torch.nn.TripletMarginLoss(margin=0.5)(*(torch.tensor(row) for row in rows))
    assert found.item() == pytest.approx(want.item(), rel=1e-12)
    found.backward()
    assert model.weight.grad.abs().sum() > 0
    similar = fm.nn.CosineSimilarity(dim=1)(rows[0] * 1, rows[1])
    assert similar.shape == (4,)
    assert torch.equal(
        fm.nn.functional.one_hot(torch.tensor([0, 2]), 3)[1], torch.tensor([0, 0, 1])
    )
    with pytest.raises(AttributeError, match="'Conv2d', which is for multi-layer"):
        _ = fm.nn.Conv2d
    for module in (fm.nn, fm.nn.functional):
        with pytest.raises(AttributeError, match=r"attribute 'lineer'$"):
            _ = module.lineer


def test_without_torch_nn_has_nothing_more() -> None:
    printed = output_of(
        """
        import fastmlp as fm
        print(hasattr(fm.nn, "TripletMarginLoss"), hasattr(fm.nn.functional, "one_hot"))
        """
    )
    assert printed.split() == ["False", "False"]
