"""The examples with other libraries' processes run, with two workers each."""

import os
import pickle
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm

EXAMPLES = Path(__file__).parent.parent / "examples" / "scale"
SHARE = max(1, (os.cpu_count() or 1) // 2)
# What each example prints, and what it needs.
EXPECTED = {
    "joblib_trainers.py": (
        r"\d cores, \d{4} bytes a trainer\n(\d+) threads in each of two processes\n"
        r"(rate [\d.]+ +loss [\d.]+\n){4}accuracy (1\.00|0\.9\d)\n",
        ["joblib"],
    ),
    "distributed_fit.py": (
        r"2 processes, 600 rounds\nloss 1\.\d\d to 0\.0\d, accuracy (1\.00|0\.9\d)\n",
        ["torch"],
    ),
    "dask_search.py": (
        r"2 workers, threads \[1, 1\]\n\d{4,5} bytes a fitted estimator\nR2 0\.9\d with ",
        ["distributed", "sklearn"],
    ),
    "ray_tune.py": (r"1 thread a trial\nloss 0\.[01]\d+ with \{'lr': 0\.0[13]\}\n", ["ray"]),
    "optuna_workers.py": (
        r"16 trials by 2 processes, threads \[(\d+), \1\]\nloss 0\.\d+ with ",
        ["optuna", "joblib"],
    ),
}
TORCHRUN = {"distributed_fit.py"}  # by two processes
SLOW = {"dask_search.py", "ray_tune.py"}  # to start


def test_every_example_is_tested():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in EXPECTED]
)
def test_example(name, tmp_path):
    printed, needed = EXPECTED[name]
    for package in needed:
        if find_spec(package) is None:
            pytest.skip(f"the example needs {package}")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launcher = launcher if name in TORCHRUN else []
    variables = ("OMP_NUM_THREADS", "FASTMLP_NUM_THREADS")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", *launcher, EXAMPLES / name],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = re.search(printed, run.stdout)
    assert found, run.stdout
    if found.groups() and found[1].isdigit():  # threads of a worker
        assert int(found[1]) <= SHARE
    assert not list(tmp_path.iterdir())


def test_pickles_are_small():
    """The weights, and at most a few kilobytes."""
    model = fm.MLP([2, 10, 3], activation="tanh", seed=0)
    trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.CrossEntropyLoss())
    x, t = fm.datasets.spiral()
    trainer.fit(x, t, max_epoch=2, progress=False)
    weights = sum(np.asarray(p).nbytes for p in model.parameters())
    assert len(pickle.dumps(model)) < weights + 3000
    assert len(pickle.dumps(trainer)) < 3 * weights + 6000  # with Adam's two states
