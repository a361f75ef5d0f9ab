"""200 steps of every optimizer, with each of its options, end where torch's do, to 1e-9."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cases import Case, draw, relative_error
from specs import BUSY_OPTIMIZERS, OPTIMIZERS, Optimizer
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
    return next(row for row in OPTIMIZERS if row.id == optimizer_id)


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
    optimizer: Optimizer, case: Case, run: Any, oracle: str, request: pytest.FixtureRequest
) -> None:
    """On mini-batches with a short last one.

    Their noise keeps Adam's and RMSprop's denominators away from 0, where rounding becomes steps of
    lr and two right answers part.
    """
    plan = MINI_BATCHES[case]
    want = _end(request, oracle, case, optimizer.id, plan)
    _assert_same(run(draw(case), optimizer, plan), want, case, plan, 1e-9)


@RUNS
@CASES
@pytest.mark.parametrize("full", [True, False], ids=["full-batch", "clipped"])
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_full_batch_and_clipping(
    optimizer: Optimizer, full: bool, case: Case, run: Any, torch: Any
) -> None:
    plan = FULL_BATCH if full else CLIPPED[case]
    want = _torch_end(case, optimizer.id, plan)
    _assert_same(run(draw(case), optimizer, plan), want, case, plan, 1e-9)


@RUNS
@CASES
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_sum_reduction(optimizer: Optimizer, case: Case, run: Any, torch: Any) -> None:
    """The sum's gradient is larger by the number of rows, and clipped to the same size."""
    summed = replace(case, reduction="sum")
    plan = Plan(40, None, 0.05)
    want = torch_run(torch, draw(summed), optimizer, plan)
    _assert_same(run(draw(summed), optimizer, plan), want, summed, plan, 1e-9)


@RUNS
@CASES
@pytest.mark.parametrize("optimizer", BUSY_OPTIMIZERS, ids=lambda o: o.id)
def test_float32_stays_near(optimizer: Optimizer, case: Case, run: Any, torch: Any) -> None:
    """float32 rounds at every step; it still follows the float64 run from the same weights."""
    single = replace(case, dtype="float32")
    want = _torch_end(single, optimizer.id, MINI_BATCHES[case])
    got = run(draw(single), optimizer, MINI_BATCHES[case])
    assert got[0][0].dtype == np.float32
    _assert_same(got, want, single, MINI_BATCHES[case], 1e-4)


def test_clipping_changes_the_run() -> None:
    """The plans above clip indeed: without max_grad the weights end elsewhere."""
    for case in (TINY, MEDIUM):
        clipped = _numpy_end(case, BUSY_OPTIMIZERS[0].id, CLIPPED[case])
        plain = _numpy_end(case, BUSY_OPTIMIZERS[0].id, MINI_BATCHES[case])
        assert relative_error(clipped[0][0], plain[0][0]) > 1e-2
