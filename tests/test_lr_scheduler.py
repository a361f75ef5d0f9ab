"""Schedules: rates as torch's, by hand and in fit, and their states."""

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import lr_scheduler

BASES = (0.1, 0.003)
STEPS = 1000


def pair(torch: Any, name: str = "SGD", **options: Any) -> tuple[Any, Any]:
    """An optimizer of two groups, and torch's."""
    ours = [{"params": fm.Parameter(np.zeros(2)), "lr": lr} for lr in BASES]
    theirs = [{"params": torch.nn.Parameter(torch.zeros(2)), "lr": lr} for lr in BASES]
    return getattr(fm, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)


def values_of(optimizer: Any) -> list[float]:
    """The rates and momenta."""
    groups = optimizer.param_groups
    momenta = [g["betas"][0] if "betas" in g else g.get("momentum", 0) for g in groups]
    return [g["lr"] for g in groups] + momenta


def step(scheduler: Any, number: int) -> None:
    with warnings.catch_warnings():  # of both: no optimizer steps here
        warnings.simplefilter("ignore")
        if "Plateau" in type(scheduler).__name__:
            scheduler.step(np.cos(0.1 * number * number) + 1.5)
        else:
            scheduler.step()


def assert_equal(got: Any, want: Any) -> None:
    """To 1e-15, but where a rate becomes 0: torch's may then be a rounding error, even below 0."""
    np.testing.assert_allclose(got, want, rtol=1e-15, atol=1e-16)


def follow(ours: Any, theirs: Any, first: int, steps: int) -> None:
    for number in range(first, first + steps):
        step(ours, number)
        step(theirs, number)
        assert ours.last_epoch == theirs.last_epoch
        assert_equal(values_of(ours.optimizer), values_of(theirs.optimizer))
    assert_equal(ours.get_last_lr(), theirs.get_last_lr())


shares = st.floats(0.01, 1)
counts = st.integers(1, 300)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": counts, "gamma": st.floats(0.3, 1.1)},
    "MultiStepLR": {
        "milestones": st.lists(st.integers(0, 1100), max_size=8),
        "gamma": st.floats(0.3, 1.5),
    },
    "ExponentialLR": {"gamma": st.floats(0.98, 1.005)},
    "LinearLR": {"start_factor": shares, "end_factor": st.floats(0, 1), "total_iters": counts},
    "CosineAnnealingLR": {"T_max": st.integers(2, 1200), "eta_min": st.floats(0, 0.002)},
    "CosineAnnealingWarmRestarts": {
        "T_0": counts,
        "T_mult": st.integers(1, 3),
        "eta_min": st.floats(0, 0.002),
    },
    "OneCycleLR": {
        "max_lr": st.floats(1e-4, 1) | st.tuples(shares, shares).map(list),
        "total_steps": st.integers(STEPS + 200, 3000),
        "pct_start": st.floats(0.02, 0.45),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "cycle_momentum": st.booleans(),
        "base_momentum": st.floats(0.1, 0.9),
        "max_momentum": st.floats(0.1, 0.99) | st.just([0.5, 0.8]),
        "div_factor": st.floats(1, 100),
        "final_div_factor": st.floats(1, 1e5),
        "three_phase": st.booleans(),
    },
    "ReduceLROnPlateau": {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.floats(0, 0.95),
        "patience": st.integers(0, 20),
        "threshold": st.floats(0, 0.5),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 10),
        "min_lr": st.floats(0, 0.01) | st.just([1e-4, 1e-3]),
        "eps": st.sampled_from([1e-8, 1e-3]),
    },
}


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", ARGUMENTS)
@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_rates_are_torchs(name: str, kind: str, torch: Any, data: st.DataObject) -> None:
    """Over 1000 steps, half of them after a resumed state dict, once from torch's."""
    arguments = {key: data.draw(values, key) for key, values in ARGUMENTS[name].items()}
    options = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer, their_optimizer = pair(torch, kind, **options)
    ours = getattr(lr_scheduler, name)(optimizer, **arguments)
    theirs = getattr(torch.optim.lr_scheduler, name)(their_optimizer, **arguments)
    assert_equal(values_of(optimizer), values_of(their_optimizer))
    follow(ours, theirs, 0, STEPS // 2)
    for source in (ours, theirs):
        state, rates = source.state_dict(), source.optimizer.state_dict()
        fresh_optimizer, _ = pair(torch, kind, **options)
        fresh = getattr(lr_scheduler, name)(fresh_optimizer, **arguments)
        fresh_optimizer.load_state_dict(fm.nn.utils.to_torch(rates) if source is ours else rates)
        fresh.load_state_dict(state)
        assert_equal(fresh.get_last_lr(), ours.get_last_lr())
    follow(fresh, theirs, STEPS // 2, STEPS - STEPS // 2)


def test_torchs_rate_below_zero_is_zero(torch: Any) -> None:
    """torch's way to a factor of 0 may end at a rounding error below it, which its state keeps."""
    ours, theirs = pair(torch, "Adam")
    falling = torch.optim.lr_scheduler.LinearLR(theirs, 0.5804219051142506, 0.0, 122)
    for number in range(122):
        step(falling, number)
    state = theirs.state_dict()
    assert min(group["lr"] for group in state["param_groups"]) < 0
    ours.load_state_dict(state)
    assert all(0 <= group["lr"] < 1e-17 for group in ours.param_groups)
    state["param_groups"][0]["lr"] = -1e-3
    with pytest.raises(ValueError, match="lr: expected a finite number >= 0"):
        ours.load_state_dict(state)


@pytest.mark.parametrize("functions", [lambda t: 0.99**t, [lambda t: 1 / (1 + t), lambda t: 0.5]])
def test_functions(functions: Any, torch: Any) -> None:
    optimizer, their_optimizer = pair(torch)
    ours = lr_scheduler.LambdaLR(optimizer, functions)
    theirs = torch.optim.lr_scheduler.LambdaLR(their_optimizer, functions)
    assert_equal(values_of(optimizer), values_of(their_optimizer))
    follow(ours, theirs, 0, STEPS)


def sequence(module: Any, optimizer: Any) -> Any:
    parts = [
        module.LinearLR(optimizer, 0.2, total_iters=20),
        module.CosineAnnealingLR(optimizer, 300, 1e-4),
        module.StepLR(optimizer, 30, 0.7),
        module.CosineAnnealingWarmRestarts(optimizer, 40, 2),
        module.ExponentialLR(optimizer, 0.99),
    ]
    return module.SequentialLR(optimizer, parts, [20, 260, 500, 740])


def test_a_sequence(torch: Any) -> None:
    optimizer, their_optimizer = pair(torch)
    ours = sequence(lr_scheduler, optimizer)
    theirs = sequence(torch.optim.lr_scheduler, their_optimizer)
    assert_equal(values_of(optimizer), values_of(their_optimizer))
    follow(ours, theirs, 0, 300)
    for source in (ours, theirs):
        fresh_optimizer, _ = pair(torch)
        fresh = sequence(lr_scheduler, fresh_optimizer)
        fresh_optimizer.load_state_dict(source.optimizer.state_dict())
        fresh.load_state_dict(source.state_dict())
    follow(fresh, theirs, 300, STEPS - 300)


@pytest.mark.parametrize(
    "name", ["StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "OneCycleLR"]
)
def test_last_epoch(name: str, torch: Any) -> None:
    """A new schedule that goes on where another one was, as torch's do."""
    arguments = {
        "StepLR": {"step_size": 3},
        "MultiStepLR": {"milestones": [4, 6]},
        "ExponentialLR": {"gamma": 0.9},
        "CosineAnnealingLR": {"T_max": 9},
        "OneCycleLR": {"max_lr": 1.0, "total_steps": 40},
    }[name]
    optimizer, their_optimizer = pair(torch, momentum=0.9)
    follow(
        getattr(lr_scheduler, name)(optimizer, **arguments),
        getattr(torch.optim.lr_scheduler, name)(their_optimizer, **arguments),
        0,
        5,
    )
    ours = getattr(lr_scheduler, name)(optimizer, **arguments, last_epoch=5)
    theirs = getattr(torch.optim.lr_scheduler, name)(their_optimizer, **arguments, last_epoch=5)
    follow(ours, theirs, 6, 20)


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_along_lines_to_its_end(three_phase: bool, torch: Any) -> None:
    """torch's step after the last goes on below 0, where no rate may be."""
    optimizer, their_optimizer = pair(torch, momentum=0.9)
    options = {"anneal_strategy": "linear", "three_phase": three_phase}
    ours = lr_scheduler.OneCycleLR(optimizer, 1.0, 50, **options)
    theirs = torch.optim.lr_scheduler.OneCycleLR(their_optimizer, 1.0, 50, **options)
    follow(ours, theirs, 0, 49)
    step(ours, 49)
    step(theirs, 49)
    assert min(theirs.get_last_lr()) < 0
    assert ours.get_last_lr() == [0.0, 0.0]


AHEAD = {
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, 1, 1e-3),
    "restarts each step": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1),
    "longer restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    "a very long restart": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2**62),
    "restarts of old": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 3, last_epoch=30),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 40, 1e-3),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 200, three_phase=True),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, 0.2, total_iters=20),
            lr_scheduler.OneCycleLR(o, 0.3, 90),
            lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2),
        ],
        [30, 90],
    ),
}


@pytest.mark.parametrize("name", AHEAD)
def test_steps_ahead_are_the_steps(name: str) -> None:
    """Bit for bit, however many are looked at together, and wherever they end."""
    for counts in ([1] * 120, [120], [50, 1, 69], [3, 110, 7]):
        optimizers = []
        for _ in range(2):
            groups = [{"params": fm.Parameter(np.zeros(2)), "lr": lr} for lr in BASES]
            optimizers.append(fm.SGD(groups, momentum=0.9))
            for group in optimizers[-1].param_groups:
                group["initial_lr"] = group["lr"]
        ahead, alone = (AHEAD[name](optimizer) for optimizer in optimizers)
        for count in counts:
            ahead._settle(ahead._ahead(count + 5), count)
            for number in range(count):
                step(alone, number)
            assert values_of(optimizers[0]) == values_of(optimizers[1])
            assert ahead.state_dict() == alone.state_dict()


def test_states() -> None:
    optimizer = fm.SGD([fm.Parameter(np.zeros(2))], lr=1.0, momentum=0.5)
    scheduler = lr_scheduler.MultiStepLR(optimizer, [2, 3])
    optimizer.param_groups[0]["params"][0].grad = np.ones(2)
    optimizer.step()
    scheduler.step()
    state = scheduler.state_dict()
    for change in (
        {"last_epoch": 1.5},
        {"last_epoch": -2},
        {"base_lrs": [1.0, 2.0]},
        {"base_lrs": ["1"]},
        {"gamma": None},
        {"milestones": 3},
        {"T_max": 3},
    ):
        with pytest.raises((TypeError, ValueError), match="state_dict"):
            scheduler.load_state_dict({**state, **change})
    for name in state:
        with pytest.raises(ValueError, match=f"without '{name}'"):
            scheduler.load_state_dict({k: v for k, v in state.items() if k != name})
    with pytest.raises(TypeError, match="state_dict: expected a mapping"):
        scheduler.load_state_dict([])
    assert scheduler.state_dict() == state
    for other in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        assert other.state_dict() == state
        assert other.optimizer is not optimizer
        assert other.optimizer.lr == optimizer.lr == 1.0
        other.step()
        assert (other.optimizer.lr, optimizer.lr) == (0.1, 1.0)


def test_a_step_before_the_optimizers_warns() -> None:
    optimizer = fm.SGD([fm.Parameter(np.zeros(2))], lr=1.0)
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match="before"):
        scheduler.step()


def test_it_is_where_torch_has_it() -> None:
    from fastmlp.optim.lr_scheduler import StepLR

    assert StepLR is fm.optim.lr_scheduler.StepLR is fm.lr_scheduler.StepLR
