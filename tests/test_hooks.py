"""Hooks of modules: they see, and change, what they do in torch."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")
Install = Callable[[Any, list[Any]], list[Any]]


def _net(nn: Any) -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
            self.out = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            h = nn.functional.silu(self.first(x))
            return self.out(h + self.block(h))

    return Net()


def _array(value: Any) -> Any:
    return None if value is None else np.array(value.detach(), copy=True)


def _see_forward(net: Any, seen: list[Any]) -> list[Any]:
    def hook(module: Any, args: Any, output: Any) -> None:
        assert isinstance(args, tuple)
        seen.extend([type(module).__name__, _array(args[0]), _array(output)])

    modules = (net.first, net.block[1], net.block, net)
    return [module.register_forward_hook(hook) for module in modules]


def _change_output(net: Any, seen: list[Any]) -> list[Any]:
    return [
        net.block[0].register_forward_hook(lambda module, args, output: output * 2),
        net.register_forward_hook(lambda module, args, output: output + 1),
    ]


def _change_input(net: Any, seen: list[Any]) -> list[Any]:
    def hook(module: Any, args: Any) -> Any:
        seen.append(_array(args[0]))
        return (args[0] * 0.5,)

    return [
        net.block.register_forward_pre_hook(hook),
        net.out.register_forward_pre_hook(lambda module, args: args[0] + 1),
    ]


def _see_gradients(net: Any, seen: list[Any]) -> list[Any]:
    def hook(module: Any, grad_input: Any, grad_output: Any) -> None:
        seen.extend([type(module).__name__, *map(_array, (*grad_input, *grad_output))])

    modules = (net.block, net.out, net.block[2], net)
    return [module.register_full_backward_hook(hook) for module in modules]


def _change_gradients(net: Any, seen: list[Any]) -> list[Any]:
    return [
        net.block.register_full_backward_hook(lambda module, i, o: (i[0] * 3,)),
        net.out.register_full_backward_pre_hook(lambda module, o: (o[0] * 2,)),
        net.block[0].register_full_backward_hook(lambda module, i, o: None),
    ]


def _order(net: Any, seen: list[Any]) -> list[Any]:
    return [
        net.first.register_forward_hook(lambda m, i, o: seen.append("first")),
        net.first.register_forward_hook(lambda m, i, o: seen.append("before"), prepend=True),
        net.first.register_forward_hook(
            lambda m, i, k, o: seen.append(str(k)), with_kwargs=True, always_call=True
        ),
        net.first.register_forward_pre_hook(lambda m, i, k: seen.append(str(k)), with_kwargs=True),
    ]


INSTALL = [_see_forward, _change_output, _change_input, _see_gradients, _change_gradients, _order]


@pytest.mark.parametrize("install", INSTALL, ids=lambda install: install.__name__[1:])
@pytest.mark.parametrize("tracked", [True, False])
def test_as_in_torch(install: Install, tracked: bool, device: str) -> None:
    theirs, ours = _net(torch.nn).double(), _net(fm.nn).double()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        own[...] = other.detach().numpy()
    ours.to(device)
    x, t = np.random.default_rng(0).normal(size=(2, 7, 3))
    t = t[:, :2]
    ends = []
    for net, make, loss_fn in (
        (theirs, torch.tensor, torch.nn.MSELoss()),
        (ours, fm.tensor, fm.MSELoss()),
    ):
        for installed in (True, False):  # without hooks, all is as it was
            seen: list[Any] = []
            handles = install(net, seen) if installed else []
            given = make(x, requires_grad=tracked)
            net.zero_grad()
            y = net(given)
            loss_fn(y, make(t)).backward()
            grads = [np.array(p.grad) for p in net.parameters()]
            own = [np.array(given.grad)] if tracked else []
            ends.append([_array(y), *grads, *own, *seen])
            for handle in handles:
                handle.remove()
    for want, got in zip(ends[:2], ends[2:], strict=True):
        assert len(want) == len(got) > 5
        for one, other in zip(want, got, strict=True):
            if one is None or isinstance(one, str):
                assert one == other
            else:
                np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-13)


def test_who_refuses_hooks() -> None:
    model = fm.MLP([3, 4, 2])
    x, t = np.ones((5, 3), "f4"), np.zeros((5, 2), "f4")
    want = model.predict(x)
    trainer = fm.Trainer(model, fm.SGD(model.parameters()), fm.MSELoss())
    with model[0].register_forward_hook(lambda module, args, output: None):
        for call in (
            lambda: model.predict(x),
            lambda: model.jacobian(x),
            lambda: trainer.fit(x, t),
            lambda: trainer.evaluate(x, t),
        ):
            with pytest.raises(ValueError, match="expected one without hooks"):
                call()
        np.testing.assert_allclose(model(x), want, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(x), want)
    assert len(trainer.fit(x, t, max_epoch=1, progress=False).loss) == 1


def test_copies_have_no_hooks() -> None:
    model, seen = fm.MLP([3, 2]), []
    handle = model.register_forward_hook(lambda *args: seen.append(1))
    copy.deepcopy(model)(np.ones((1, 3)))
    assert not seen
    model(np.ones((1, 3)))
    handle.remove()
    handle.remove()
    model(np.ones((1, 3)))
    assert seen == [1]


def test_dropout_and_statistics_work_between_hooks() -> None:
    model = fm.Sequential(fm.Linear(3, 4), fm.BatchNorm1d(4), fm.Dropout(0.5), fm.Linear(4, 50))
    zeros: list[Any] = []
    handle = model[2].register_forward_hook(
        lambda m, i, o: zeros.append((np.asarray(o) == 0).mean())
    )
    x = np.random.default_rng(0).normal(size=(400, 3))
    model(x)
    assert 0.4 < zeros[0] < 0.6
    assert int(model[1].num_batches_tracked) == 1
    model.eval()(x)
    assert zeros[1] == 0
    handle.remove()


def test_a_hook_changes_more_dimensions() -> None:
    model, shapes = fm.MLP([2, 5, 3]), []
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("f4")
    want = model(x)
    with model[1].register_forward_hook(lambda m, i, o: shapes.append(o.shape)):
        np.testing.assert_allclose(model(x), want, rtol=1e-5, atol=1e-6)
    assert shapes == [(4, 6, 5)]


@pytest.mark.parametrize(
    ("call", "error", "pattern"),
    [
        (lambda m: m.register_forward_hook(3), TypeError, "hook: expected a function"),
        (lambda m: m.register_forward_hook(len, prepend=1), TypeError, "prepend"),
        (lambda m: m.register_forward_pre_hook(len, with_kwargs=0), TypeError, "with_kwargs"),
        (lambda m: m.register_full_backward_hook(None), TypeError, "hook"),
    ],
)
def test_wrong_calls(call: Any, error: type[Exception], pattern: str) -> None:
    model = fm.MLP([2, 1])
    with pytest.raises(error, match=pattern):
        call(model)
    assert not model._is_hooked()


def test_gradients_of_a_wrong_shape() -> None:
    model = fm.MLP([2, 3, 1])
    model[2].register_full_backward_hook(lambda m, i, o: (np.ones(2),))
    with pytest.raises(ValueError, match="from a hook"):
        model(np.ones((4, 2))).backward(np.ones((4, 1)))
