"""NAdam, Adagrad and Lion: hundreds of steps as torch makes them, and what is special to each."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import lr_scheduler as schedules
from specs import BUSY_OPTIMIZERS, OPTIMIZERS, Optimizer
from torch_optimizers import torch_class

ROWS = [row for row in OPTIMIZERS + BUSY_OPTIMIZERS if row.name in ("NAdam", "Adagrad", "Lion")]
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda o: o.id)
SIZES = pytest.mark.parametrize("widths", [[4, 5, 2], [4, 70, 2]], ids=["lanes", "dense"])
RNG = np.random.default_rng(5)
X, T = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 2))


@EACH
def test_300_steps_with_a_state_dict_between(row: Optimizer, torch: Any) -> None:
    """From ours to torch's after 100 steps, and back after 200."""
    rng = np.random.default_rng(1)
    ours = fm.Parameter(rng.normal(size=(3, 5)))
    theirs = torch.tensor(np.array(ours), requires_grad=True)
    optimizer, other = row.fastmlp([ours]), row.torch(torch, [theirs])
    for step in range(300):
        if step == 100:
            other = torch_class(torch, row.name)([theirs], lr=7.0)
            other.load_state_dict(fm.nn.utils.to_torch(optimizer.state_dict()))
        if step == 200:
            optimizer = getattr(fm, row.name)([ours], lr=7.0)
            optimizer.load_state_dict(other.state_dict())
        gradient = rng.normal(size=ours.shape) * 10 ** rng.uniform(-3, 1)
        ours.grad, theirs.grad = gradient, torch.from_numpy(gradient.copy())
        optimizer.step()
        other.step()
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
    got = optimizer.state_dict()["state"][0]
    for name, value in other.state_dict()["state"][0].items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-15, err_msg=name)


def mlp(widths: list[int], device: str = "cpu") -> Any:
    return fm.MLP(widths, "tanh", dtype="float64", seed=3, device=device)


def loop(model: Any, optimizer: Any, steps: int, scheduler: Any = None) -> None:
    loss_fn = fm.MSELoss()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_fn(model(X), T).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


def fit(model: Any, optimizer: Any, steps: int, scheduler: Any = None) -> None:
    interval = "step" if scheduler else None
    trainer = fm.Trainer(
        model, optimizer, fm.MSELoss(), scheduler=scheduler, scheduler_interval=interval
    )
    trainer.fit(X, T, max_epoch=steps, batch_size=None)


def assert_near(model: Any, other: Any, tolerance: float) -> None:
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=tolerance)


@SIZES
@pytest.mark.parametrize("cycle", [True, False], ids=["one cycle", "with pauses"])
@pytest.mark.parametrize("name", ["NAdam", "Adagrad", "Lion"])
def test_scheduled(name: str, cycle: bool, widths: list[int], device: str) -> None:
    """One cycle changes NAdam's and Lion's betas, too; in a pause, weight decay pauses as well."""
    options: dict[str, Any] = {
        "NAdam": {"momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
        "Adagrad": {"lr_decay": 0.1 if cycle else 0.0},
        "Lion": {"weight_decay": 0.1},
    }[name]

    def make(model: Any) -> tuple[Any, Any]:
        optimizer = getattr(fm, name)(model.parameters(), lr=0.01, **options)
        if cycle:
            momentum = name != "Adagrad"
            return optimizer, schedules.OneCycleLR(optimizer, 0.01, 30, cycle_momentum=momentum)
        return optimizer, schedules.LambdaLR(optimizer, lambda step: step % 3)

    by_hand, native = mlp(widths), mlp(widths, device)
    for run, model in ((loop, by_hand), (fit, native)):
        optimizer, scheduler = make(model)
        run(model, optimizer, 25, scheduler)
    assert_near(native, by_hand, 0 if device == "cpu" else 1e-11)


# --- NAdam


def nadam_with_two_pasts(model: Any) -> Any:
    """All parameters have seen two steps, the biases another momentum."""
    optimizer = fm.NAdam(model.parameters(), lr=0.01, momentum_decay=0.1)
    loop(model, optimizer, 2)
    state = optimizer.state_dict()
    for number in (1, 3):
        state["state"][number]["mu_product"] = 0.9
    optimizer.load_state_dict(state)
    return optimizer


@SIZES
def test_each_parameter_has_a_product_of_momenta(widths: list[int], device: str) -> None:
    """Also where a kernel takes all parameters at once."""
    by_hand, native, plain = mlp(widths), mlp(widths, device), mlp(widths)
    loop(by_hand, own := nadam_with_two_pasts(by_hand), 20)
    fit(native, optimizer := nadam_with_two_pasts(native), 20)
    assert_near(native, by_hand, 0 if device == "cpu" else 1e-11)
    products = [entry["mu_product"] for entry in optimizer.state_dict()["state"].values()]
    assert products == [entry["mu_product"] for entry in own.state_dict()["state"].values()]
    assert products[0] == products[2] < products[1] == products[3]
    loop(plain, fm.NAdam(plain.parameters(), lr=0.01, momentum_decay=0.1), 22)
    with pytest.raises(AssertionError):
        assert_near(plain, by_hand, 1e-6)


def test_what_is_frozen_at_first_starts_later(torch: Any) -> None:
    """And betas change on the way: the product is not a function of the number of steps."""
    pairs = [(fm.Parameter(np.ones(3)), torch.ones(3, dtype=torch.float64)) for _ in range(2)]
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    optimizer = fm.NAdam(ours, lr=0.02, momentum_decay=0.2)
    other = torch_class(torch, "NAdam")(theirs, lr=0.02, momentum_decay=0.2)
    for step, gradients in enumerate(np.random.default_rng(0).normal(size=(60, 2, 3))):
        if step == 20:
            optimizer.param_groups[0]["betas"] = other.param_groups[0]["betas"] = (0.6, 0.95)
        if step == 40:
            optimizer.param_groups[0]["momentum_decay"] = 0.9
            other.param_groups[0]["momentum_decay"] = 0.9
        for number, gradient in enumerate(gradients):
            if number == 1 and step % 3 == 0:
                ours[number].grad = theirs[number].grad = None
                continue
            ours[number].grad = gradient
            theirs[number].grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-12)
    steps = [entry["step"] for entry in optimizer.state_dict()["state"].values()]
    assert steps == [60, 40]


@pytest.mark.parametrize("product", [1.5, -0.1, "0.5", None, np.zeros(2)], ids=str)
def test_a_product_that_is_none(product: Any) -> None:
    parameter = fm.Parameter(np.ones(3))
    optimizer = fm.NAdam([parameter])
    parameter.grad = np.ones(3)
    optimizer.step()
    before = optimizer.state_dict()
    state = copy.deepcopy(before)
    state["state"][0]["mu_product"] = product
    with pytest.raises((TypeError, ValueError), match=r"state_dict: state 0: .*mu_product"):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict()["state"][0]["mu_product"] == before["state"][0]["mu_product"]


def test_a_product_keeps_its_digits_in_torch(torch: Any) -> None:
    """torch itself makes it in float32, unless the default dtype is float64."""
    parameter = fm.Parameter(np.ones(3))
    optimizer = fm.NAdam([parameter])
    parameter.grad = np.ones(3)
    optimizer.step()
    product = optimizer.state_dict()["state"][0]["mu_product"]
    assert product == pytest.approx(0.9 * (1 - 0.5 * 0.96**0.004), rel=1e-15)
    other = torch.optim.NAdam([torch.ones(3, dtype=torch.float64, requires_grad=True)])
    other.load_state_dict(fm.nn.utils.to_torch(optimizer.state_dict()))
    assert other.state_dict()["state"][0]["mu_product"].item() == product


# --- Adagrad


def test_sums_are_there_before_the_first_step(torch: Any, device: str) -> None:
    model = mlp([4, 5, 2], device)
    parameters = list(model.parameters())
    twins = [torch.tensor(np.array(p), requires_grad=True) for p in parameters]
    groups = [
        [{"params": p[:2]}, {"params": p[2:], "initial_accumulator_value": 3.0}]
        for p in (parameters, twins)
    ]
    optimizer = fm.Adagrad(groups[0], initial_accumulator_value=0.5)
    other = torch.optim.Adagrad(groups[1], initial_accumulator_value=0.5)
    for ours in (pickle.loads(pickle.dumps(optimizer)), optimizer):
        ours.initial_accumulator_value = 7.0  # too late
        got, want = ours.state_dict()["state"], other.state_dict()["state"]
        assert got.keys() == want.keys()
        for number, entry in want.items():
            assert got[number]["step"] == entry["step"] == 0
            np.testing.assert_array_equal(got[number]["sum"], entry["sum"])
    other.load_state_dict(fm.nn.utils.to_torch(optimizer.state_dict()))
    assert other.param_groups[0]["initial_accumulator_value"] == 7.0


def test_a_group_added_later(torch: Any) -> None:
    """Its sums begin as those of the others, whatever the group says."""
    ours = [fm.Parameter(np.ones(3)) for _ in range(2)]
    theirs = [torch.ones(3, dtype=torch.float64) for _ in range(2)]
    optimizer = fm.Adagrad(ours[:1], initial_accumulator_value=0.25)
    other = torch.optim.Adagrad(theirs[:1], initial_accumulator_value=0.25)
    for rule, parameters in ((optimizer, ours), (other, theirs)):
        rule.add_param_group({"params": parameters[1:], "initial_accumulator_value": 9.0})
    for gradient in np.random.default_rng(0).normal(size=(10, 3)):
        for a, b in zip(ours, theirs, strict=True):
            a.grad, b.grad = gradient, torch.from_numpy(gradient.copy())
        optimizer.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-13)


def test_sums_are_made_again_where_a_state_has_none() -> None:
    parameter = fm.Parameter(np.ones(3))
    optimizer = fm.Adagrad([parameter], lr=1.0, initial_accumulator_value=4.0, eps=0.0)
    state = optimizer.state_dict()
    optimizer.load_state_dict({**state, "state": {}})
    parameter.grad = np.zeros(3)
    optimizer.step()
    np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["sum"], np.full(3, 4.0))


# --- Lion


def test_no_step_where_nothing_pulls(device: str) -> None:
    """sign(0) is 0; weight decay goes on."""
    for weight_decay in (0.0, 0.5):
        model = mlp([2, 3], device)
        start = [np.array(p) for p in model.parameters()]
        optimizer = fm.Lion(model.parameters(), lr=0.25, weight_decay=weight_decay)
        for p in model.parameters():
            p.grad = np.zeros(p.shape)
        optimizer.step()
        for p, before in zip(model.parameters(), start, strict=True):
            np.testing.assert_array_equal(np.array(p), before * (1 - 0.25 * weight_decay))


def test_a_gradient_that_is_no_number_shows() -> None:
    parameter = fm.Parameter(np.zeros(3))
    optimizer = fm.Lion([parameter], lr=0.5)
    parameter.grad = np.array([np.nan, np.inf, -2.0])
    optimizer.step()
    np.testing.assert_array_equal(np.asarray(parameter), [np.nan, -0.5, 0.5])


def test_a_state_of_the_authors_layout_loads() -> None:
    parameter = fm.Parameter(np.zeros(2))
    optimizer = fm.Lion([parameter], lr=0.5)
    group = {"params": [0], "lr": 0.5, "betas": (0.5, 0.75), "weight_decay": 0.0}
    mean = np.array([3.0, -3.0])
    optimizer.load_state_dict({"state": {0: {"exp_avg": mean}}, "param_groups": [group]})
    parameter.grad = np.array([-1.0, -1.0])
    optimizer.step()
    np.testing.assert_array_equal(np.asarray(parameter), [-0.5, 0.5])
    np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["exp_avg"], [2.0, -2.5])
    with pytest.raises(ValueError, match="state_dict: state 0: expected that of Lion"):
        optimizer.load_state_dict({"state": {0: {"step": 1}}, "param_groups": [group]})
