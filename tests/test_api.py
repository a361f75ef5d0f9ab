"""Models as objects: building, naming, printing, reading and writing parameters, copies."""

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error


class Net(fm.Module):
    """A model of one's own, with a module inside a module."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = fm.Sequential(fm.Linear(2, 4), fm.Tanh())
        self.output = fm.Linear(4, 3)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.output(self.hidden(x))


def named() -> fm.Sequential:
    return fm.Sequential(
        OrderedDict(
            hidden_linear=fm.Linear(1, 8),
            hidden_activation=fm.Tanh(),
            output_linear=fm.Linear(8, 1),
        )
    )


X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
T = np.array([0, 1, 2, 0, 1, 2])


def test_all_names_exist_and_are_those_of_torch(torch: Any) -> None:
    for name in fm.__all__:
        assert hasattr(fm, name)
    layers = [n for n in fm.__all__ if isinstance(getattr(fm, n), type) and n[0].isupper()]
    own = {
        "MLP",
        "Trainer",
        "History",
        "EpochInfo",
        "Tensor",
        "Parameter",
        "Residual",
        "Standardize",
    }
    own |= {"FunctionLoss", "QuantileLoss", "Lion", "EarlyStopping", "Ensemble"}
    own |= {"LevenbergMarquardt", "Predictor"}
    unknown = [
        name
        for name in layers
        if name not in own and not hasattr(torch.nn, name) and not hasattr(torch.optim, name)
    ]
    assert unknown == []
    for name in [n for n in dir(fm.init) if n.endswith("_") and n[0] != "_"]:
        assert hasattr(torch.nn.init, name)


# --- building and naming


def test_named_parameters_have_torch_names_and_shapes() -> None:
    found = [(name, p.shape) for name, p in named().named_parameters()]
    assert found == [
        ("hidden_linear.weight", (8, 1)),
        ("hidden_linear.bias", (8,)),
        ("output_linear.weight", (1, 8)),
        ("output_linear.bias", (1,)),
    ]
    model = fm.MLP([3072, 512, 2], "tanh", output_activation="log_softmax")
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]
    assert [p.numel() for p in model.parameters()] == [1_572_864, 512, 1024, 2]
    assert list(Net().state_dict()) == [
        "hidden.0.weight",
        "hidden.0.bias",
        "output.weight",
        "output.bias",
    ]
    assert list(fm.MLP([2, 3, 1], bias=False).state_dict()) == ["0.weight", "2.weight"]


def test_sequential_is_a_sequence() -> None:
    model = named()
    assert len(model) == 3
    assert model[0] is model.hidden_linear is next(iter(model))
    assert model[-1] is model.output_linear
    assert [type(m) for m in model] == [fm.Linear, fm.Tanh, fm.Linear]
    assert list(model[1:].state_dict()) == ["output_linear.weight", "output_linear.bias"]
    same = fm.Sequential([model[0], model[1], model[2]])
    np.testing.assert_array_equal(same.predict([[1.0]]), model.predict([[1.0]]))
    before = model.predict([[1.0]])
    model[1] = fm.ReLU()
    assert not np.array_equal(model.predict([[1.0]]), before)
    assert isinstance(model.hidden_activation, fm.ReLU)


def test_mlp_takes_activations_in_every_form() -> None:
    want = fm.MLP([2, 5, 5, 1], "leaky_relu", output_activation="sigmoid", seed=1).predict(X)
    for hidden, output in [(fm.LeakyReLU(), fm.Sigmoid()), (fm.LeakyReLU, fm.Sigmoid)]:
        model = fm.MLP([2, 5, 5, 1], hidden, output_activation=output, seed=1)
        np.testing.assert_array_equal(model.predict(X), want)
    assert [type(m).__name__ for m in fm.MLP((2, 4, 3))] == ["Linear", "ReLU", "Linear"]


def test_custom_module_is_compiled_not_run_for_each_batch() -> None:
    net = Net()
    flat = fm.Sequential(*net.hidden, net.output)
    for _ in range(3):
        np.testing.assert_array_equal(net.predict(X), flat.predict(X))
        fm.CrossEntropyLoss()(net(X), T).backward()
    assert net.calls == 1
    assert np.abs(net.hidden[0].weight.grad).max() > 0
    trainer = fm.Trainer(net, fm.SGD(net.parameters(), lr=0.1))
    history = trainer.fit(X, T, max_epoch=30)
    assert history.loss[-1] < history.loss[0]
    assert net.calls == 1
    net.output = fm.Linear(4, 2)
    assert net.predict(X).shape == (6, 2)


@pytest.mark.parametrize("rows", [4, 1300])
@pytest.mark.parametrize("width", [3, 70])
def test_shared_layers_share_their_gradient(width: int, rows: int, torch: Any) -> None:
    layer = fm.Linear(width, width, dtype="float64")
    model = fm.Sequential(layer, fm.Tanh(), layer)
    assert len(list(model.parameters())) == 2
    x = np.random.default_rng(0).normal(size=(rows, width))
    model(x).backward(np.ones((rows, width)))
    twin = torch.nn.Linear(width, width, dtype=torch.float64)
    with torch.no_grad():
        twin.weight.copy_(torch.from_numpy(np.array(layer.weight)))
        twin.bias.copy_(torch.from_numpy(np.array(layer.bias)))
    torch.nn.Sequential(twin, torch.nn.Tanh(), twin)(torch.from_numpy(x)).sum().backward()
    assert relative_error(layer.weight.grad, twin.weight.grad.numpy()) < 1e-12
    assert relative_error(layer.bias.grad, twin.bias.grad.numpy()) < 1e-12


@pytest.mark.parametrize("rows", [4, 1300])
@pytest.mark.parametrize("width", [3, 70])
def test_training_with_shared_layers(width: int, rows: int) -> None:
    """The loop and fit agree; a layer that occurs twice is updated once a step."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(rows, width)), rng.normal(size=(rows, width))
    ends = []
    for native in (False, True):
        fm.manual_seed(0)
        layer = fm.Linear(width, width, dtype="float64")
        model = fm.Sequential(layer, fm.Tanh(), layer)
        optimizer, loss_fn = fm.SGD(model.parameters(), lr=0.1, momentum=0.9), fm.MSELoss()
        if native:
            fm.Trainer(model, optimizer, loss_fn).fit(x, t, max_epoch=5, batch_size=None)
        for _ in range(0 if native else 5):
            loss = loss_fn(model(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append([np.array(p) for p in model.parameters()])
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        lambda f: f.Sequential(f.Linear(2, 10), f.Sigmoid(), f.Linear(10, 3, bias=False)),
        lambda f: f.Sequential(f.Sequential(f.Linear(2, 3), f.Hardtanh(-2.0, 2.0)), f.Softplus()),
        lambda f: f.Sequential(f.LeakyReLU(0.1), f.Softmax(dim=1), f.LogSoftmax(dim=1)),
        lambda f: f.Sequential(f.ReLU(), f.Tanh(), f.SiLU(), f.ELU(0.5), f.Identity()),
        lambda f: f.Sequential(OrderedDict(a=f.Linear(1, 2), b=f.Tanh())),
    ],
)
def test_repr_is_that_of_torch(build: Any, torch: Any) -> None:
    def plain(model: Any) -> str:
        return repr(model).replace(".0", "").replace("alpha=0.5", "alpha")

    assert plain(build(fm)) == plain(build(torch.nn))


def test_repr_of_the_rest() -> None:
    model = named()
    assert "(hidden_linear): Linear(in_features=1, out_features=8, bias=True)" in repr(model)
    assert "lr=0.1" in repr(fm.SGD(model.parameters(), lr=0.1))
    assert repr(fm.HuberLoss(delta=2.0)) == "HuberLoss(reduction='mean', delta=2.0)"
    assert "shape=(8, 1)" in repr(model[0].weight)
    assert "float32" in repr(model[0].weight)


# --- reading and writing parameters


def test_parameter_is_a_writable_view() -> None:
    layer = fm.Linear(2, 3)
    view = np.asarray(layer.weight)
    view[0, 1] = 7
    assert layer.weight[0, 1] == 7
    assert layer.weight.data[0, 1] == 7
    assert np.shares_memory(np.asarray(layer.weight), view)
    layer.weight[...] = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(view, [[0, 1], [2, 3], [4, 5]])
    layer.bias[...] = 1
    np.testing.assert_array_equal(layer.predict([[1.0, 2.0]]), [[3.0, 9.0, 15.0]])
    layer.weight.data = np.ones((3, 2))
    np.testing.assert_array_equal(view, 1)
    parameter = layer.weight
    layer.weight = np.zeros((3, 2))
    assert layer.weight is parameter
    np.testing.assert_array_equal(view, 0)
    parameter += 2
    np.testing.assert_array_equal(layer.predict([[1.0, 2.0]]), [[7.0, 7.0, 7.0]])


def test_parameter_looks_like_an_array() -> None:
    weight = fm.Linear(2, 3).weight
    assert (weight.shape, weight.ndim, weight.numel()) == ((3, 2), 2, 6)
    assert weight.dtype == np.float32
    assert len(weight) == 3
    np.testing.assert_array_equal(weight * 2, np.asarray(weight) * 2)
    np.testing.assert_array_equal(np.abs(weight).sum(), np.abs(np.asarray(weight)).sum())
    assert np.asarray(weight, dtype="float64").dtype == np.float64
    assert np.linalg.norm(weight) > 0


def test_state_dict_holds_copies_and_goes_back() -> None:
    model, other = fm.MLP([2, 5, 3], seed=0), fm.MLP([2, 5, 3], seed=1)
    state = model.state_dict()
    assert isinstance(state, OrderedDict)
    assert {type(v) for v in state.values()} == {fm.Tensor}
    assert state["0.weight"].shape == (5, 2)
    assert state["0.weight"].flags.c_contiguous
    want = model.predict(X)
    assert not np.array_equal(other.predict(X), want)
    answer = other.load_state_dict(state)
    assert (answer.missing_keys, answer.unexpected_keys) == ([], [])
    np.testing.assert_array_equal(other.predict(X), want)
    state["0.weight"][...] = 0
    np.testing.assert_array_equal(model.predict(X), want)
    np.testing.assert_array_equal(other.predict(X), want)


def test_state_dict_not_strict() -> None:
    model = fm.MLP([2, 5, 3], seed=0)
    old_bias = np.array(model[2].bias)
    answer = model.load_state_dict({"0.weight": np.ones((5, 2)), "x": 1}, strict=False)
    assert answer == (["0.bias", "2.weight", "2.bias"], ["x"])
    np.testing.assert_array_equal(np.asarray(model[0].weight), 1)
    np.testing.assert_array_equal(np.asarray(model[2].bias), old_bias)


def test_state_dict_of_torch_loads(torch: Any) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        theirs = torch.nn.Sequential(
            torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
        ).to(dtype)
        model = fm.MLP([2, 5, 3], "tanh", dtype=str(dtype).removeprefix("torch."))
        model.load_state_dict(theirs.state_dict())
        x = torch.from_numpy(X).to(dtype)
        expected = theirs(x).detach().numpy()
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=atol)
        theirs.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})


def test_npz_round_trip(tmp_path: Any) -> None:
    model, other = fm.MLP([2, 5, 3], seed=0), fm.MLP([2, 5, 3], seed=1)
    np.savez(tmp_path / "model.npz", **model.state_dict())
    with np.load(tmp_path / "model.npz") as arrays:
        other.load_state_dict(arrays)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("build", [lambda: fm.MLP([2, 5, 3], "gelu"), Net], ids=["mlp", "net"])
def test_copies_are_equal_and_apart(build: Any, how: Any) -> None:
    model = build()
    want = model.predict(X)
    fm.CrossEntropyLoss()(model(X), T).backward()
    model.eval()
    twin = how(model)
    assert repr(twin) == repr(model)
    assert not twin.training
    np.testing.assert_array_equal(twin.predict(X), want)
    for parameter in twin.parameters():
        parameter[...] = 0
    np.testing.assert_array_equal(model.predict(X), want)
    trainer = fm.Trainer(twin, fm.SGD(twin.parameters(), lr=0.1))
    assert len(trainer.fit(X, T, max_epoch=2).loss) == 2
    np.testing.assert_array_equal(model.predict(X), want)


def test_losses_are_copied_and_pickled() -> None:
    for loss in (fm.HuberLoss(delta=0.3, reduction="sum"), fm.MSELoss()):
        for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert repr(twin) == repr(loss)
            assert twin([1.0, 5.0], [0.0, 0.0]) == loss([1.0, 5.0], [0.0, 0.0]) > 0
