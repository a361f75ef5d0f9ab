"""Editing networks, buffers, names, conversions, and the namespaces that tutorials import."""

import copy
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim


def _names(model: fm.Module) -> list[str]:
    return [name for name, _ in model.named_children()]


def test_sequential_is_edited_as_a_list() -> None:
    model = fm.Sequential(fm.Linear(2, 3))
    assert model.append(fm.Tanh()) is model
    model.extend([fm.Linear(3, 4), fm.ReLU()])
    model.insert(1, fm.Identity())
    assert [type(m).__name__ for m in model] == ["Linear", "Identity", "Tanh", "Linear", "ReLU"]
    assert _names(model) == ["0", "1", "2", "3", "4"]
    del model[1]
    assert type(model.pop()).__name__ == "ReLU"
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    both = model + fm.Sequential(fm.Linear(4, 1))
    assert len(both) == 4
    assert both[-1].out_features == 1
    assert both[0] is model[0]
    model += fm.Sequential(fm.Linear(4, 1))
    assert len(model) == 4
    model[1] = fm.ReLU()
    assert isinstance(model[1:], fm.Sequential)
    with pytest.raises(ValueError, match="expected 3 input features"):
        del model[1:3]  # 2 to 3, then 4 to 1
    assert model.predict(np.zeros((1, 2))).shape == (1, 1)


def test_an_edit_that_does_not_fit_changes_nothing() -> None:
    model = fm.Sequential(fm.Linear(2, 3), fm.Linear(3, 1))
    before = repr(model)
    for edit in (
        lambda: model.append(fm.Linear(2, 2)),
        lambda: model.insert(1, fm.Linear(2, 2)),
        lambda: model.extend([fm.Tanh(), fm.Linear(5, 5)]),
        lambda: model.__setitem__(0, fm.Linear(2, 7)),
        lambda: model.append("tanh"),  # type: ignore[arg-type]
        lambda: model.append(model),
    ):
        with pytest.raises((TypeError, ValueError)):
            edit()
        assert repr(model) == before
    assert model.predict(np.zeros((1, 2))).shape == (1, 1)


def test_names_stay() -> None:
    model = fm.Sequential({"a": fm.Linear(2, 3), "b": fm.Tanh()})
    model.append(fm.Linear(3, 1))
    assert _names(model) == ["a", "b", "2"]
    model.add_module("last", fm.Sigmoid())
    assert model.last is model[3]
    with pytest.raises(TypeError, match="module"):
        model.add_module("x", 3)  # type: ignore[arg-type]


def test_lists_and_dicts_of_modules() -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
            self.named = nn.ModuleDict({"out": nn.Linear(2, 1)})

        def forward(self, x: Any) -> Any:
            for layer in self.hidden:
                x = nn.functional.relu(layer(x))
            return self.named["out"](x)

    net = Net()
    assert net.predict(np.ones((3, 2))).shape == (3, 1)
    assert list(net.state_dict())[::2] == ["hidden.0.weight", "hidden.1.weight", "named.out.weight"]
    net.hidden.append(nn.Linear(2, 2))
    net.hidden.insert(0, nn.Linear(2, 2))
    del net.hidden[0]
    assert len(net.hidden) == 3
    assert net.predict(np.ones((3, 2))).shape == (3, 1)
    assert "out" in net.named
    assert list(net.named) == ["out"]
    with pytest.raises(TypeError, match="modules"):
        net.hidden.append(3)  # type: ignore[arg-type]


def test_a_module_cannot_contain_itself() -> None:
    model = fm.Sequential(fm.Linear(1, 1))
    inner = fm.Sequential(model)
    for attempt in (
        lambda: setattr(model, "me", model),
        lambda: setattr(model, "me", inner),
        lambda: model.append(inner),
    ):
        with pytest.raises(ValueError, match="contain"):
            attempt()
    assert len(list(model.parameters())) == 2


def test_buffers() -> None:
    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", np.zeros(2, "f4"))
            self.register_buffer("count", np.zeros((), "i8"), persistent=False)
            self.linear = fm.Linear(2, 1)

        def forward(self, x: Any) -> Any:
            return self.linear(x)

    net = Net()
    assert list(net.state_dict()) == ["mean", "linear.weight", "linear.bias"]
    assert [name for name, _ in net.named_buffers()] == ["mean", "count"]
    net.mean = [1.0, 2.0]
    np.testing.assert_array_equal(copy.deepcopy(net).mean, [1, 2])
    other = Net()
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.mean, [1, 2])
    with pytest.raises(ValueError, match="mean"):
        other.load_state_dict({**net.state_dict(), "mean": np.zeros(3)})
    assert net.double().mean.dtype == np.float64
    with pytest.raises(KeyError, match="linear"):
        net.register_buffer("linear", np.zeros(1))


def test_a_state_that_fails_late_changes_nothing() -> None:
    model = fm.MLP([2, 3, 1], seed=0)
    before = model.state_dict()
    for wrong in (np.array([["a", "b", "c"]]), np.zeros((2, 3)), None, np.full((1, 3), None)):
        state = {name: value + 1 for name, value in before.items()}
        state["2.weight"] = wrong  # type: ignore[assignment]
        with pytest.raises((TypeError, ValueError), match=r"2\.weight"):
            model.load_state_dict(state)
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value, before[name])


def test_states_go_to_torch_and_back(torch: Any) -> None:
    model = fm.MLP([2, 3, 1], "tanh", seed=0)
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    theirs.load_state_dict(nn.utils.to_torch(model.state_dict()))
    x = np.ones((2, 2), "f4")
    np.testing.assert_allclose(theirs(torch.from_numpy(x)).detach(), model.predict(x), rtol=1e-6)
    twin = fm.MLP([2, 3, 1], "tanh", seed=1)
    twin.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))


def test_conversions(torch: Any) -> None:
    model = fm.MLP([2, 3, 1], seed=0)
    for convert, dtype in (
        (model.double, "float64"),
        (model.float, "float32"),
        (lambda: model.to(torch.float64), "float64"),
        (lambda: model.to("float32"), "float32"),
        (lambda: model.to(dtype=np.float64), "float64"),
        (lambda: model.to(torch.device("cpu")), "float64"),
        (lambda: model.to("cpu", dtype="float32"), "float32"),
        (model.cpu, "float32"),
    ):
        assert convert() is model
        assert {str(p.dtype) for p in model.parameters()} == {dtype}
    for make in (
        lambda: fm.MLP([1, 1], dtype=torch.float64)[0],
        lambda: fm.Linear(1, 1, dtype=torch.float64),
        lambda: fm.Sequential(fm.Linear(1, 1), dtype=torch.float64)[0],
    ):
        assert make().weight.dtype == np.float64
    with pytest.raises(TypeError, match="float16"):
        model.half()


def test_namespaces() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    nn.init.xavier_uniform_(model[0].weight)
    nn.init.constant_(model[0].bias, 0.5)
    assert set(np.asarray(model[0].bias)) == {0.5}
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (13,)
    nn.utils.vector_to_parameters(vector * 2, model.parameters())
    np.testing.assert_array_equal(nn.utils.parameters_to_vector(model.parameters()), 2 * vector)
    x, t = np.ones((4, 2)), np.zeros((4, 1))

    def closure() -> fm.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.mse_loss(model(x), t)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure).item() != first.item()


_CLASSES = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardtanh": "Hardtanh",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "softplus": "Softplus",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "relu6": "ReLU6",
    "selu": "SELU",
    "celu": "CELU",
    "mish": "Mish",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "logsigmoid": "LogSigmoid",
    "softsign": "Softsign",
}


@pytest.mark.parametrize("name", _CLASSES)
def test_functions_are_the_layers(name: str) -> None:
    function = getattr(nn.functional, name)
    assert getattr(fm, name) is function
    x = np.array([[-1.5, 0.5, 2.0]], "f4")
    want = fm.nn.Sequential(getattr(fm, _CLASSES[name])()).predict(x)
    np.testing.assert_array_equal(function(x), want)
    tracked = fm.tensor(x, requires_grad=True)
    function(tracked).backward(np.ones_like(x))
    other = fm.tensor(x, requires_grad=True)
    fm.Sequential(getattr(fm, _CLASSES[name])())(other).backward(np.ones_like(x))
    np.testing.assert_array_equal(tracked.grad, other.grad)

    class Net(fm.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = fm.Linear(3, 3)

        def forward(self, value: Any) -> Any:
            return function(self.linear(value))

    net = Net()
    twin = fm.Sequential(net.linear, getattr(fm, _CLASSES[name])())
    np.testing.assert_array_equal(net.predict(x), twin.predict(x))
    assert net._compiled().operations == twin._compiled().operations  # as fast as a layer


def test_what_dir_shows() -> None:
    shown = [name for name in dir(fm) if not name.startswith("_")]
    assert set(shown) == set(fm.__all__) - {"__version__"}
    assert not {"tracing", "progress", "runtime", "seeds", "modules", "layers"} & set(shown)
    assert fm.plot.loss
    for name in shown:
        assert getattr(fm, name).__doc__, name


def test_lists_of_modules_are_added_and_popped() -> None:
    layers = fm.nn.ModuleList([fm.Linear(2, 3)])
    layers += [fm.ReLU(), fm.Linear(3, 2)]
    longer = layers + fm.nn.ModuleList([fm.Tanh()])
    assert [type(layer).__name__ for layer in longer] == ["Linear", "ReLU", "Linear", "Tanh"]
    assert longer[0] is layers[0]
    assert type(layers.pop(1)).__name__ == "ReLU"
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    named = fm.nn.ModuleDict({"a": fm.Tanh(), "b": fm.ReLU()})
    assert type(named.pop("a")).__name__ == "Tanh"
    assert named.keys() == ["b"]
    named.clear()
    assert len(named) == 0
    with pytest.raises(KeyError):
        named.pop("a")


def test_containers_of_parameters() -> None:
    """Names, order and shapes are torch's."""
    torch = pytest.importorskip("torch")
    states = []
    for kinds in (torch.nn, fm.nn):
        model = kinds.Module()
        model.list = kinds.ParameterList([kinds.Parameter(torch.ones(2, 3)), torch.zeros(3)])
        model.list.append(kinds.Parameter(torch.ones(1)))
        model.list.extend([torch.ones(2)])
        model.list[1] = kinds.Parameter(torch.full((3,), 2.0))
        model.dict = kinds.ParameterDict({"b": kinds.Parameter(torch.ones(2)), "a": torch.zeros(3)})
        model.dict["c"] = kinds.Parameter(torch.ones(1))
        model.dict.update([("d", torch.ones(4))])
        del model.dict["a"]
        assert "a" not in model.dict
        assert list(model.dict) == list(model.dict.keys()) == ["b", "c", "d"]
        assert [tuple(p.shape) for p in model.dict.values()] == [(2,), (1,), (4,)]
        assert model.dict["d"] is dict(model.dict.items())["d"]
        assert model.list[-1] is list(model.list)[3]
        assert len(model.list[1:3]) == 2
        states.append({name: np.asarray(v).tolist() for name, v in model.state_dict().items()})
        assert sum(p.requires_grad for p in model.parameters()) == 7
    assert list(states[0]) == list(states[1])
    assert states[0] == states[1]


def test_containers_of_parameters_check_what_they_get() -> None:
    with pytest.raises(TypeError, match="values: expected several"):
        fm.nn.ParameterList(fm.nn.Parameter(np.ones(2)))
    with pytest.raises(TypeError, match="data: expected an array"):
        fm.nn.ParameterList(["a"])
    with pytest.raises(ValueError, match=r"name: .*'a.b'"):
        fm.nn.ParameterDict({"a.b": np.ones(2)})
    with pytest.raises(ValueError, match=r"name: .*'items'"):
        fm.nn.ParameterDict()["items"] = np.ones(2)
    with pytest.raises(IndexError):
        fm.nn.ParameterList()[0]


def test_modules_and_parameters_under_torchs_names() -> None:
    model = fm.MLP([2, 3, 1])
    assert list(model._modules) == ["0", "1", "2"]
    assert list(model[0]._parameters) == ["weight", "bias"]
    assert model.get_parameter("2.bias") is model[2].bias
    for name in ("2.other", "5.bias", "2"):
        with pytest.raises(AttributeError, match="target"):
            model.get_parameter(name)
    with pytest.raises(TypeError):
        model._modules["3"] = fm.ReLU()
