"""200 steps of every optimizer, with each of its options, end where torch's do, to 1e-9."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, draw, relative_error
from specs import BUSY_OPTIMIZERS, LOSSES, OPTIMIZERS, Optimizer
from training import (
    CLIPPED,
    FULL_BATCH,
    MEDIUM,
    MINI_BATCHES,
    TINY,
    Plan,
    Run,
    fit_run,
    loop_run,
    numpy_run,
    torch_run,
)

CASES = pytest.mark.parametrize("case", [TINY, MEDIUM], ids=["tiny", "medium"])
RUNS = pytest.mark.parametrize("run", [loop_run, fit_run], ids=["loop", "fit"])
ORACLES = pytest.mark.parametrize("oracle", ["torch", "numpy"])


@functools.cache
def _numpy_end(case: Case, optimizer_id: str, plan: Plan) -> Run:
    return numpy_run(draw(case), _by_id(optimizer_id), plan)


@functools.cache
def _torch_end(case: Case, optimizer_id: str, plan: Plan) -> Run:
    import torch

    return torch_run(torch, draw(case), _by_id(optimizer_id), plan)


def _by_id(optimizer_id: str) -> Optimizer:
    return next(row for row in OPTIMIZERS + BUSY_OPTIMIZERS if row.id == optimizer_id)


def _end(request: pytest.FixtureRequest, oracle: str, *run: Any) -> Run:
    if oracle == "numpy":
        return _numpy_end(*run)
    request.getfixturevalue("torch")
    return _torch_end(*run)


def _assert_same(got: Run, want: Run, case: Case, plan: Plan, tolerance: float) -> None:
    start = draw(case).weights
    for value, expected, before in zip(got[0], want[0], start, strict=True):
        assert np.abs(expected - before).max() > 1e-4, "nothing was trained"
        assert relative_error(value, expected) < tolerance
    losses = want[1]
    if len(got[1]) != len(losses):  # fit reports one value an epoch
        losses = plan.epoch_losses(losses, case.batch)
    assert len(got[1]) == len(losses)
    assert relative_error(got[1], losses) < tolerance


@ORACLES
@RUNS
@CASES
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.id)
def test_every_option(
    optimizer: Optimizer,
    case: Case,
    run: Any,
    oracle: str,
    device: str,
    request: pytest.FixtureRequest,
) -> None:
    """On mini-batches with a short last one.

    Their noise keeps Adam's and RMSprop's denominators away from 0, where rounding becomes steps of
    lr and two right answers part.
    """
    plan = MINI_BATCHES[case]
    want = _end(request, oracle, case, optimizer.id, plan)
    _assert_same(run(draw(case), optimizer, plan, device), want, case, plan, 1e-9)


@RUNS
@CASES
@pytest.mark.parametrize("full", [True, False], ids=["full-batch", "clipped"])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_full_batch_and_clipping(
    optimizer: Optimizer, full: bool, case: Case, run: Any, device: str, torch: Any
) -> None:
    plan = FULL_BATCH if full else CLIPPED[case]
    want = _torch_end(case, optimizer.id, plan)
    _assert_same(run(draw(case), optimizer, plan, device), want, case, plan, 1e-9)


@RUNS
@CASES
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_sum_reduction(optimizer: Optimizer, case: Case, run: Any, device: str, torch: Any) -> None:
    """The sum's gradient is larger by the number of rows, and clipped to the same size."""
    summed = replace(case, reduction="sum")
    plan = Plan(40, None, 0.05)
    want = torch_run(torch, draw(summed), optimizer, plan)
    _assert_same(run(draw(summed), optimizer, plan, device), want, summed, plan, 1e-9)


@RUNS
@CASES
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_float32_stays_near(
    optimizer: Optimizer, case: Case, run: Any, device: str, torch: Any
) -> None:
    """float32 rounds at every step; it still follows the float64 run from the same weights."""
    single = replace(case, dtype="float32")
    want = _torch_end(single, optimizer.id, MINI_BATCHES[case])
    got = run(draw(single), optimizer, MINI_BATCHES[case], device)
    assert got[0][0].dtype == np.float32
    _assert_same(got, want, single, MINI_BATCHES[case], 1e-4)


def _change_options(epoch: int, options: dict[str, Any]) -> dict[str, Any]:
    """A new lr after each epoch, another weight decay from the fifth on."""
    changed = {"lr": options["lr"] * 0.8}
    return changed | {"weight_decay": 0.03} if epoch == 5 else changed


@CASES
@pytest.mark.parametrize("native", [False, True], ids=["loop", "fit"])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_options_may_change_on_the_way(
    optimizer: Optimizer, native: bool, case: Case, device: str, torch: Any
) -> None:
    """In fit by a callback."""
    problem, loss = draw(case), LOSSES[case.loss]
    x, t = torch.from_numpy(problem.x), torch.from_numpy(problem.t)
    twin, loss_fn = problem.torch(torch), loss.torch(torch.nn, "mean")
    theirs = optimizer.torch(torch, twin.parameters())
    for epoch in range(10):
        theirs.zero_grad()
        loss_fn(twin(x), t).backward()
        theirs.step()
        theirs.param_groups[0].update(_change_options(epoch, theirs.param_groups[0]))

    model = problem.fastmlp(device)
    ours = optimizer.fastmlp(model.parameters())
    trainer = fm.Trainer(model, ours, loss.module("mean"))

    def after(epoch: int) -> None:
        for name, value in _change_options(epoch, ours.options).items():
            setattr(ours, name, value)

    if native:
        callbacks = [lambda info: after(info.epoch)]
        trainer.fit(problem.x, problem.t, max_epoch=10, batch_size=None, callbacks=callbacks)
    else:
        for epoch in range(10):
            ours.zero_grad()
            trainer.loss_fn(model(problem.x), problem.t).backward()
            ours.step()
            after(epoch)
    assert ours.lr == theirs.param_groups[0]["lr"] != optimizer.options["lr"]
    for parameter, value in zip(model.parameters(), twin.parameters(), strict=True):
        assert relative_error(np.asarray(parameter), value.detach().numpy()) < 1e-9


def test_clipping_changes_the_run() -> None:
    """The plans above clip indeed: without max_grad the weights end elsewhere."""
    for case in (TINY, MEDIUM):
        clipped = _numpy_end(case, BUSY_OPTIMIZERS[0].id, CLIPPED[case])
        plain = _numpy_end(case, BUSY_OPTIMIZERS[0].id, MINI_BATCHES[case])
        assert relative_error(clipped[0][0], plain[0][0]) > 1e-2
