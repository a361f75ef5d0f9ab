"""`forward` as people write it, with torch's and NumPy's functions and the methods of tensors.

What is traced is the program that layers give, and computes what torch computes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import relative_error
from specs import TOLERANCE

Forward = Callable[[Any, Any], Any]
torch = pytest.importorskip("torch")
F = torch.nn.functional


def _net(nn: Any, forward: Forward) -> Any:
    """A model of layers a, b, c and d, whose `forward` is given."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)
            self.c, self.d = nn.Linear(5, 5), nn.Linear(3, 1)

        def forward(self, x: Any) -> Any:
            return forward(self, x)

    return Net()


def _operations(forward: Forward) -> tuple[Any, ...]:
    """The program, with parameters by their place in the model."""
    model = _net(fm.nn, forward)
    places = {id(p._native): i for i, p in enumerate(model.parameters())}
    plan = model._compiled(np.zeros((4, 6), "f4"))
    return tuple(tuple(places.get(id(part), part) for part in row) for row in plan.operations)


nn = fm.nn
SAME: list[tuple[str, Forward, Any]] = [
    ("torch.sigmoid", lambda s, x: torch.sigmoid(s.a(x)), nn.Sigmoid()),
    ("torch.special.expit", lambda s, x: torch.special.expit(s.a(x)), nn.Sigmoid()),
    ("F.sigmoid", lambda s, x: F.sigmoid(s.a(x)), nn.Sigmoid()),
    (".sigmoid", lambda s, x: s.a(x).sigmoid(), nn.Sigmoid()),
    (".sigmoid_", lambda s, x: s.a(x).sigmoid_(), nn.Sigmoid()),
    ("fm.sigmoid", lambda s, x: fm.sigmoid(s.a(x)), nn.Sigmoid()),
    ("torch.tanh", lambda s, x: torch.tanh(s.a(x)), nn.Tanh()),
    ("F.tanh", lambda s, x: F.tanh(s.a(x)), nn.Tanh()),
    (".tanh", lambda s, x: s.a(x).tanh(), nn.Tanh()),
    ("torch.tanh_", lambda s, x: torch.tanh_(s.a(x)), nn.Tanh()),
    ("np.tanh", lambda s, x: np.tanh(s.a(x)), nn.Tanh()),
    ("torch.relu", lambda s, x: torch.relu(s.a(x)), nn.ReLU()),
    ("torch.relu_", lambda s, x: torch.relu_(s.a(x)), nn.ReLU()),
    ("F.relu", lambda s, x: F.relu(s.a(x)), nn.ReLU()),
    ("F.relu in place", lambda s, x: F.relu(s.a(x), inplace=True), nn.ReLU()),
    ("F.relu_", lambda s, x: F.relu_(s.a(x)), nn.ReLU()),
    (".relu", lambda s, x: s.a(x).relu(), nn.ReLU()),
    (".relu_", lambda s, x: s.a(x).relu_(), nn.ReLU()),
    ("np.maximum", lambda s, x: np.maximum(s.a(x), 0), nn.ReLU()),
    ("np.maximum turned", lambda s, x: np.maximum(0.0, s.a(x)), nn.ReLU()),
    ("torch.clamp", lambda s, x: torch.clamp(s.a(x), min=0), nn.ReLU()),
    ("torch.clamp both", lambda s, x: torch.clamp(s.a(x), -1, 2), nn.Hardtanh(-1, 2)),
    (".clamp", lambda s, x: s.a(x).clamp(min=0.0), nn.ReLU()),
    (".clamp_", lambda s, x: s.a(x).clamp_(0, 6), nn.ReLU6()),
    (".clamp_min", lambda s, x: s.a(x).clamp_min(0), nn.ReLU()),
    (".clip", lambda s, x: s.a(x).clip(0, 1), nn.Hardtanh(0, 1)),
    ("np.clip", lambda s, x: np.clip(s.a(x), -1, 1), nn.Hardtanh()),
    ("torch.maximum", lambda s, x: torch.maximum(s.a(x), torch.tensor(0.0)), nn.ReLU()),
    ("torch.max", lambda s, x: torch.max(s.a(x), torch.tensor(0.0)), nn.ReLU()),
    ("F.relu6", lambda s, x: F.relu6(s.a(x)), nn.ReLU6()),
    ("F.gelu", lambda s, x: F.gelu(s.a(x)), nn.GELU()),
    ("F.gelu tanh", lambda s, x: F.gelu(s.a(x), approximate="tanh"), nn.GELU("tanh")),
    ("F.silu", lambda s, x: F.silu(s.a(x)), nn.SiLU()),
    ("F.silu in place", lambda s, x: F.silu(s.a(x), inplace=True), nn.SiLU()),
    ("F.elu", lambda s, x: F.elu(s.a(x)), nn.ELU()),
    ("F.elu alpha", lambda s, x: F.elu(s.a(x), alpha=0.5), nn.ELU(0.5)),
    ("F.elu in place", lambda s, x: F.elu(s.a(x), 0.5, True), nn.ELU(0.5)),
    ("F.leaky_relu", lambda s, x: F.leaky_relu(s.a(x)), nn.LeakyReLU()),
    ("F.leaky_relu 0.2", lambda s, x: F.leaky_relu(s.a(x), 0.2), nn.LeakyReLU(0.2)),
    ("F.leaky_relu named", lambda s, x: F.leaky_relu(s.a(x), negative_slope=0.2, inplace=True),
     nn.LeakyReLU(0.2)),
    ("F.leaky_relu_", lambda s, x: F.leaky_relu_(s.a(x), 0.2), nn.LeakyReLU(0.2)),
    ("F.softplus", lambda s, x: F.softplus(s.a(x)), nn.Softplus()),
    ("F.softplus beta", lambda s, x: F.softplus(s.a(x), beta=2, threshold=10), nn.Softplus(2, 10)),
    ("F.hardtanh", lambda s, x: F.hardtanh(s.a(x)), nn.Hardtanh()),
    ("F.hardtanh bounds", lambda s, x: F.hardtanh(s.a(x), min_val=-2, max_val=2),
     nn.Hardtanh(-2, 2)),
    ("F.selu", lambda s, x: F.selu(s.a(x)), nn.SELU()),
    ("torch.selu", lambda s, x: torch.selu(s.a(x)), nn.SELU()),
    ("torch.celu", lambda s, x: torch.celu(s.a(x), alpha=2.0), nn.CELU(2.0)),
    ("F.celu", lambda s, x: F.celu(s.a(x), 0.7), nn.CELU(0.7)),
    ("F.mish", lambda s, x: F.mish(s.a(x)), nn.Mish()),
    ("F.hardswish", lambda s, x: F.hardswish(s.a(x)), nn.Hardswish()),
    ("F.hardsigmoid", lambda s, x: F.hardsigmoid(s.a(x)), nn.Hardsigmoid()),
    ("F.logsigmoid", lambda s, x: F.logsigmoid(s.a(x)), nn.LogSigmoid()),
    ("F.softsign", lambda s, x: F.softsign(s.a(x)), nn.Softsign()),
    ("F.softmax", lambda s, x: F.softmax(s.a(x), dim=1), nn.Softmax(1)),
    ("F.softmax of the last", lambda s, x: F.softmax(s.a(x), dim=-1), nn.Softmax(-1)),
    ("torch.softmax", lambda s, x: torch.softmax(s.a(x), 1), nn.Softmax(1)),
    (".softmax", lambda s, x: s.a(x).softmax(dim=-1), nn.Softmax(-1)),
    ("F.log_softmax", lambda s, x: F.log_softmax(s.a(x), dim=1), nn.LogSoftmax(1)),
    ("torch.log_softmax", lambda s, x: torch.log_softmax(s.a(x), dim=-1), nn.LogSoftmax(-1)),
    (".log_softmax", lambda s, x: s.a(x).log_softmax(1), nn.LogSoftmax(1)),
    ("F.dropout", lambda s, x: F.dropout(s.a(x), 0.3, s.training), nn.Dropout(0.3)),
    ("F.dropout True", lambda s, x: F.dropout(s.a(x), p=0.3, training=True), nn.Dropout(0.3)),
    ("F.dropout False", lambda s, x: F.dropout(s.a(x), training=False), nn.Identity()),
    ("torch.dropout", lambda s, x: torch.dropout(s.a(x), 0.3, s.training), nn.Dropout(0.3)),
    ("float", lambda s, x: s.a(x.float()).float(), nn.Identity()),
    ("to", lambda s, x: s.a(x.to("cpu")).to(torch.float32), nn.Identity()),
    ("to a device", lambda s, x: s.a(x.to(torch.device("cpu"), torch.float32)), nn.Identity()),
    ("to one's own", lambda s, x: s.a(x.to(s.a.weight.device)), nn.Identity()),
    ("cpu", lambda s, x: s.a(x.cpu()).contiguous().clone(), nn.Identity()),
    ("type", lambda s, x: s.a(x.type(torch.FloatTensor)), nn.Identity()),
    ("view", lambda s, x: s.a(x.view(x.size(0), -1)), nn.Identity()),
    ("view of a shape", lambda s, x: s.a(x.view(x.shape[0], -1)), nn.Identity()),
    ("view of sizes", lambda s, x: s.a(x.view((x.size()[0], x.size()[1]))), nn.Identity()),
    ("view of the width", lambda s, x: s.a(x.view(-1, 6)), nn.Identity()),
    ("view as it is", lambda s, x: s.a(x).view(x.size(0), 5), nn.Identity()),
    ("view_as", lambda s, x: (y := s.a(x)).view_as(y), nn.Identity()),
    ("reshape", lambda s, x: s.a(x.reshape(len(x), -1)), nn.Identity()),
    ("torch.reshape", lambda s, x: s.a(torch.reshape(x, (x.size(0), -1))), nn.Identity()),
    ("np.reshape", lambda s, x: s.a(np.reshape(x, (x.shape[0], -1))), nn.Identity()),
    ("torch.flatten", lambda s, x: s.a(torch.flatten(x, 1)), nn.Identity()),
    ("torch.flatten named", lambda s, x: s.a(torch.flatten(x, start_dim=1)), nn.Identity()),
    (".flatten", lambda s, x: s.a(x.flatten(1)), nn.Identity()),
    ("squeeze and back", lambda s, x: s.a(x).view(-1, 5).squeeze(1), nn.Identity()),
    ("of no effect", lambda s, x: 1 * s.a(x + 0) / 1 - 0.0, nn.Identity()),
    ("F.linear, ours", lambda s, x: nn.functional.linear(x, s.a.weight, s.a.bias), nn.Identity()),
    ("F.linear", lambda s, x: F.linear(x, s.a.weight, s.a.bias), nn.Identity()),
    ("swish", lambda s, x: (h := s.a(x)) * torch.sigmoid(h), nn.SiLU()),
    ("swish turned", lambda s, x: torch.sigmoid(h := s.a(x)) * h, nn.SiLU()),
    ("mish", lambda s, x: (h := s.a(x)) * torch.tanh(F.softplus(h)), nn.Mish()),
    ("type_as", lambda s, x: s.a(x.type_as(s.a.weight)), nn.Identity()),
    ("twice", lambda s, x: torch.tanh(F.relu(s.a(x))), nn.Sequential(nn.ReLU(), nn.Tanh())),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "layer"), [row[1:] for row in SAME], ids=[r[0] for r in SAME])
def test_the_program_is_that_of_layers(forward: Forward, layer: Any) -> None:
    want = _operations(_inside(layer))
    if isinstance(layer, nn.Identity):
        want = _operations(lambda s, x: s.a(x))
    assert _operations(forward) == want


def _inside(layer: Any) -> Forward:
    def forward(self: Any, x: Any) -> Any:
        return layer(self.a(x))

    return forward


def _loop(s: Any, x: Any) -> Any:
    for layer in (s.a, s.c, s.c):
        x = torch.relu(layer(x))
    return s.b(x)


def _in_place(s: Any, x: Any) -> Any:
    """What is changed in place is changed for those who read it later."""
    h = s.a(x)
    kept = h
    h += 1
    y = F.relu(s.c(h), inplace=True)
    return s.b(kept.sub(0.5) + y)


def _inplace_residual(s: Any, x: Any) -> Any:
    h = s.a(x)
    y = F.leaky_relu(h, 0.1, inplace=True)
    return s.b(h + y)


FORWARDS: list[tuple[str, Forward]] = [
    ("functions", lambda s, x: torch.sigmoid(s.b(F.relu(s.a(x))))),
    ("residual", lambda s, x: s.b((h := s.a(x)) + torch.tanh(s.c(h)))),
    ("torch.add", lambda s, x: s.b(torch.add(h := s.a(x), s.c(h), alpha=0.5))),
    ("add method", lambda s, x: s.a(x).add(s.c(s.a(x))).tanh()),
    ("sum", lambda s, x: sum(F.silu(layer(s.a(x))) for layer in (s.c, s.c))),
    ("difference", lambda s, x: s.c(h := s.a(x)) - h),
    ("torch.sub", lambda s, x: torch.sub(s.c(h := s.a(x)), h, alpha=2)),
    ("scaled", lambda s, x: 2 * torch.tanh(s.a(x))),
    ("scaled input", lambda s, x: s.a(x / 255.0)),
    ("centred input", lambda s, x: s.a((x - 0.5) / 0.25)),
    ("scaled residual", lambda s, x: s.b((h := s.a(x)) + 0.1 * s.c(h))),
    ("negative", lambda s, x: -s.a(x)),
    ("one minus", lambda s, x: 1 - torch.sigmoid(s.a(x))),
    ("torch.mul", lambda s, x: torch.mul(s.a(x), 3).add(1)),
    ("in place", _in_place),
    ("in place, both read", _inplace_residual),
    ("loop", _loop),
    ("tanhshrink", lambda s, x: F.tanhshrink(s.a(x))),
    ("plus a parameter", lambda s, x: s.a(x) + s.c.bias),
    ("parameter plus", lambda s, x: s.c.bias + s.a(x)),
    ("minus a parameter", lambda s, x: s.a(x) - s.c.bias),
    ("parameter minus", lambda s, x: s.c.bias - s.a(x)),
    ("times a parameter", lambda s, x: s.c.bias * s.a(x)),
    ("torch.add of a parameter", lambda s, x: torch.add(s.c.bias, s.a(x))),
    ("both", lambda s, x: torch.tanh(s.a(x) * s.a.bias + s.c.bias)),
    ("squeezed", lambda s, x: torch.sigmoid(s.d(s.b(s.a(x))).squeeze(-1)).unsqueeze(1)),
    ("a vector", lambda s, x: (2 * s.d(s.b(s.a(x))).view(-1)).view(-1, 1)),
    ("only clamp below", lambda s, x: s.a(x).clamp(min=-0.3)),
    ("only clamp above", lambda s, x: torch.clamp(s.a(x), max=0.3)),
    ("clip an input", lambda s, x: s.a(torch.clip(x, -0.5, 0.5))),
    ("log softmax", lambda s, x: F.log_softmax(s.b(torch.tanh(s.a(x))), dim=1)),
]
BATCHES = pytest.mark.parametrize("batch", [1, 19])


@pytest.mark.parametrize("forward", [row[1] for row in FORWARDS], ids=[row[0] for row in FORWARDS])
@BATCHES
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients(forward: Forward, batch: int, dtype: str, device: str) -> None:
    torch.manual_seed(3)
    theirs = _net(torch.nn, forward).double()
    ours = _net(fm.nn, forward).to(dtype)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        own[...] = other.detach().numpy()
    ours.to(device)
    x = np.random.default_rng(batch).normal(size=(batch, 6)).astype(dtype)
    tracked = fm.tensor(x, requires_grad=True)
    x_torch = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y, y_torch = ours(tracked), theirs(x_torch * 1)
    t = np.random.default_rng(5).normal(size=y_torch.shape).astype(dtype)
    fm.MSELoss()(y, t).backward()
    torch.nn.MSELoss()(y_torch, torch.tensor(t, dtype=torch.float64)).backward()
    pairs = [(y, y_torch), (ours.predict(x), y_torch), (tracked.grad, x_torch.grad)]
    pairs += [
        (own.grad, other.grad)
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True)
        if other.grad is not None
    ]
    for got, want in pairs:
        assert relative_error(np.asarray(got), want.detach().numpy()) < TOLERANCE[dtype]


def test_numbers_are_part_of_the_program_in_fit() -> None:
    ends = []
    for forward in (lambda s, x: s.b(s.a(2 * x)), lambda s, x: s.b(s.a(x))):
        fm.manual_seed(1)
        model = _net(fm.nn, forward)
        x = np.random.default_rng(0).normal(size=(40, 6)).astype("f4")
        data = x if not ends else 2 * x
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
        trainer.fit(data, x[:, :3], max_epoch=5, seed=2, progress=False)
        ends.append(np.concatenate([np.ravel(p) for p in model.parameters()]))
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_numbers_change_with_attributes_and_dtypes() -> None:
    model = _net(fm.nn, lambda s, x: s.factor * s.a(x))
    model.factor = 2.0
    x = np.ones((1, 6))
    want = np.asarray(model.a.predict(x))
    np.testing.assert_allclose(model.predict(x), 2 * want, rtol=1e-5, atol=1e-6)
    model.factor = 3
    np.testing.assert_allclose(model.predict(x), 3 * want, rtol=1e-5, atol=1e-6)
    model.double()
    np.testing.assert_allclose(model.predict(x), 3 * model.a.predict(x), rtol=1e-14)


def test_numbers_without_parameters() -> None:
    class Net(fm.Module):
        def forward(self, x: Any) -> Any:
            return 2 * x + 1

    for width in (1, 3):
        x = fm.tensor(np.arange(2.0 * width).reshape(2, width), requires_grad=True)
        y = Net()(x)
        np.testing.assert_array_equal(y, 2 * np.asarray(x) + 1)
        y.backward(np.ones((2, width)))
        np.testing.assert_array_equal(x.grad, np.full((2, width), 2.0))


def test_modes() -> None:
    model = _net(fm.nn, lambda s, x: F.dropout(s.a(x), 0.5, s.training))
    x = np.ones((50, 6), "f4")
    zeros = np.asarray(model(x)) == 0
    assert 0.3 < zeros.mean() < 0.7
    np.testing.assert_array_equal(model.eval()(x), model.a(x))

    def by_mode(s: Any, x: Any) -> Any:
        return s.a(x).relu() if s.training else s.a(x)

    model = _net(fm.nn, by_mode)
    assert np.asarray(model(x)).min() >= 0
    np.testing.assert_array_equal(model.eval()(x), model.a(x))
    np.testing.assert_array_equal(model.train()(x), np.maximum(model.a(x), 0))


@pytest.mark.parametrize(
    "forward",
    [
        lambda s, x: s.a(x.view(x.size(0), -1)),
        lambda s, x: s.a(x.view(-1, 6)),
        lambda s, x: s.a(torch.flatten(x, 1)),
        lambda s, x: s.a(x.reshape(x.shape[0], x.shape[1] * x.shape[2])),
        lambda s, x: s.a(x.reshape(len(x), -1)),
    ],
)
@pytest.mark.parametrize("rows", [4, 7])
def test_inputs_of_more_dimensions(forward: Forward, rows: int) -> None:
    model = _net(fm.nn, forward)
    for count in (rows, rows + 1):
        x = np.random.default_rng(0).normal(size=(count, 3, 2)).astype("f4")
        np.testing.assert_array_equal(model(x), model.a(x.reshape(count, 6)))
        np.testing.assert_array_equal(model.predict(x), model(x))
