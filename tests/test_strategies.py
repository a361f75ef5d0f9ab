"""Each strategy with each instruction set passes the correctness tests, and all agree.

`lanes` runs a whole network with batch rows in SIMD lanes, `dense` layer by layer, `sliced`, in
training, likewise, but a few rows at a time. Which of them is fastest decides in everyday use;
FASTMLP_STRATEGY forces one wherever it can run at all.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, draw, fastmlp_gradients, numpy_gradients, relative_error
from specs import BUSY_OPTIMIZERS, TOLERANCE
from subprocesses import TESTS, output_of, run, run_python
from training import Plan, fit_run, numpy_run

STRATEGIES = ("lanes", "dense", "sliced")
AVAILABLE = fm.show_config("dicts")["available isas"]
PROCESSES = list(itertools.product(AVAILABLE, STRATEGIES))

# What runs again for each of them: of the longest files, what the strategy or rounding can change.
FILES = (
    "gradients",
    "shapes",
    "loop_equals_fit",
    "determinism",
    "trajectories",
    "workloads",
    "long_sums",
    "extremes",
    "batch_invariance",
    "input_derivatives",
    "derivatives_through_layers",
)
LEFT_OUT = (
    "covering_against_torch",  # the same cases are compared with NumPy
    "processes_agree",
    "every_option",  # of the optimizers, which see only gradients
    "may_change_on_the_way",
    "sum_reduction",
    "xor_equals_torch",  # torch takes longer than all the rest
    "are_those_of_scikit_learn",
)
# Slices pass on to dense kernels, so that one instruction set and what steps are made of will do.
SLICED = ("gradients", "shapes", "loop_equals_fit", "determinism", "trajectories")
RUNS = [(*process, name) for process in PROCESSES if process[1] != "sliced" for name in FILES]
RUNS += [(AVAILABLE[0], "sliced", name) for name in SLICED]


def strategy_of(model: fm.Sequential, rows: int) -> str:
    return model._compiled().network.strategy(rows)


@pytest.mark.slow
@pytest.mark.parametrize(("isa", "strategy", "name"), RUNS)
def test_correctness(isa: str, strategy: str, name: str) -> None:
    chosen = " and ".join(f"not {name}" for name in LEFT_OUT)
    options = ["-q", "-p", "no:cacheprovider", "-k", chosen, "-m", "not cuda"]
    command = [sys.executable, "-m", "pytest", *options, str(TESTS / f"test_{name}.py")]
    done = run(command, FASTMLP_ISA=isa, FASTMLP_STRATEGY=strategy)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    summary = done.stdout.strip().splitlines()[-1]
    assert int(summary.split(" passed")[0].split()[-1]) > 3, summary


# --- one another


def _grid() -> list[Case]:
    """Widths and batches around those of vectors, tiles, blocks and chunks; two are wide."""
    square = [
        Case((width,) * 4, batch, dtype="float32", threads=2)
        for width in (1, 3, 8, 17, 64, 130)
        for batch in (1, 2, 9, 33, 130, 1100)
    ]
    wide = [
        Case((3, 700, 5), 20, "sigmoid", loss="cross_entropy", dtype="float32"),
        Case((500, 11, 300), 70, "gelu", loss="huber", dtype="float32"),
    ]
    return square + wide


GRID = _grid()
ADAM = next(row for row in BUSY_OPTIMIZERS if row.id.startswith("Adam"))


def _plan(case: Case) -> Plan:
    """A few epochs with a short last batch."""
    return Plan(3, max(1, case.batch * 2 // 5))


def save_outcomes(folder: str) -> None:
    """Gradients, a prediction and a fit of each network; for a process with a forced strategy."""
    for i, case in enumerate(GRID):
        problem = draw(case)
        model = problem.fastmlp()
        ways = {strategy_of(model, rows) for rows in (case.batch, _plan(case).batch_size or 0)}
        assert ways == {fm.show_config("dicts")["strategy"]}
        found = fastmlp_gradients(problem)
        with fm.threads(case.threads):
            found["prediction"] = model.predict(problem.x)
            found["losses"] = fit_run(problem, ADAM, _plan(case))[1]
        np.savez(f"{folder}/{i}.npz", **found)


def _references() -> list[dict[str, Any]]:
    """The same in float64."""
    references = []
    for case in GRID:
        problem, plan = draw(case), _plan(case)
        found = numpy_gradients(problem)
        losses = plan.epoch_losses(numpy_run(problem, ADAM, plan)[1], case.batch)
        references.append({**found, "prediction": found["y"], "losses": losses})
    return references


def test_strategies_agree_with_one_another(tmp_path: Path) -> None:
    """They differ only by rounding, for each instruction set and from shape to shape."""
    for isa, strategy in PROCESSES:
        folder = tmp_path / f"{isa}-{strategy}"
        folder.mkdir()
        code = f"from test_strategies import save_outcomes; save_outcomes({str(folder)!r})"
        output_of(code, FASTMLP_ISA=isa, FASTMLP_STRATEGY=strategy)
    for i, (case, want) in enumerate(zip(GRID, _references(), strict=True)):
        for isa, strategy in PROCESSES:
            got = np.load(tmp_path / f"{isa}-{strategy}" / f"{i}.npz")
            assert set(got) == set(want)
            for name in want:
                error = relative_error(got[name], want[name])
                assert error < TOLERANCE["float32"], (case.id, isa, strategy, name)


# --- the setting


@pytest.mark.parametrize("strategy", ["automatic", *STRATEGIES])
def test_a_forced_one_runs(strategy: str) -> None:
    code = """
        import fastmlp as fm
        from test_strategies import strategy_of
        print(fm.show_config("dicts")["strategy"])
        print(strategy_of(fm.MLP([2, 10, 3]), 30), strategy_of(fm.MLP([300, 500, 300]), 500))
    """
    printed = output_of(code, FASTMLP_STRATEGY=strategy).split()
    chosen = ["lanes", "dense"] if strategy == "automatic" else [strategy] * 2
    assert printed == [strategy, *chosen]


def test_dense_runs_what_lanes_cannot() -> None:
    """Layers other than affine ones, and networks whose lanes would not fit into memory."""
    code = """
        import fastmlp as fm
        from test_strategies import strategy_of
        print(strategy_of(fm.Sequential(fm.Linear(2, 3), fm.Dropout(0.5), fm.Linear(3, 1)), 4))
        print(strategy_of(fm.Sequential(fm.Linear(2, 3), fm.Softmax()), 4))
        huge = fm.MLP([4096, 2048])
        print(strategy_of(huge, 1), strategy_of(huge, 2**40), strategy_of(fm.MLP([2, 1]), 2**50))
    """
    assert output_of(code, FASTMLP_STRATEGY="lanes").split() == [
        *["dense", "dense"],
        *["lanes", "dense", "dense"],
    ]


@pytest.mark.parametrize("strategy", ["tiles", "Lanes", "lanes ", "lanes,dense"])
def test_an_unknown_one_is_an_error_at_import(strategy: str) -> None:
    done = run_python("import fastmlp", FASTMLP_STRATEGY=strategy)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert "FASTMLP_STRATEGY" in message
    assert repr(strategy)[1:-1] in message
    assert all(name in message for name in STRATEGIES), "the message does not say what there is"


def test_an_empty_one_counts_as_none() -> None:
    code = """
        import os
        os.environ["FASTMLP_STRATEGY"] = ""
        import fastmlp as fm
        print(fm.show_config("dicts")["strategy"])
    """
    assert output_of(code).split() == ["automatic"]
