"""Several processes train as one does with all of their batches as one."""

import multiprocessing
import sys
from itertools import pairwise

import numpy as np
import pytest

import fastmlp as fm
import ranks

pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin",
    reason="the tests' processes are forked",
)

ROWS, BATCH, EPOCHS = 30, 5, 3
EVEN = (0, 15, 30)
UNEVEN = (0, 19, 30)  # 4 batches, the last one short, and 3
THREE = (0, 4, 20, 30)


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, 4)), rng.normal(size=(ROWS, 2)), rng.integers(0, 2, ROWS)


def squares(y, t):
    return ((y - t) ** 2).mean(), 2 * (y - t) / y.size


def half_ignored(classes):
    return np.where(np.arange(len(classes)) % 3 == 0, -100, classes)


class Wide(fm.Module):
    """Not a chain: it runs operation by operation, and one of its parameters serves twice."""

    def __init__(self, dtype="float64"):
        super().__init__()
        self.first = fm.Linear(4, 8, dtype=dtype)
        self.block = fm.Linear(8, 8, dtype=dtype)
        self.norm = fm.LayerNorm(8, dtype=dtype)
        self.last = fm.Linear(8, 2, dtype=dtype)

    def forward(self, x):
        x = fm.tanh(self.first(x))
        x = x + fm.tanh(self.block(x))
        x = self.norm(x + fm.tanh(self.block(x)))
        return self.last(x)


# What differs from a plain fit of MSELoss by SGD.
CASES = {
    "plain": {},
    "momentum": {"optimizer": lambda p: fm.SGD(p, lr=0.05, momentum=0.9)},
    "adam": {"optimizer": lambda p: fm.Adam(p, lr=0.01)},
    "sum": {"loss": lambda: fm.MSELoss(reduction="sum"), "rate": 0.002},
    "huber": {"loss": lambda: fm.HuberLoss(delta=0.5), "weights": True},
    "sample weights": {"weights": True},
    "classes": {"loss": fm.CrossEntropyLoss, "classes": True},
    "class weights": {"loss": lambda: fm.CrossEntropyLoss(weight=[1.0, 3.0]), "classes": True},
    "ignored rows": {"loss": fm.CrossEntropyLoss, "classes": True, "ignored": True},
    "function": {"loss": lambda: fm.FunctionLoss(squares)},
    "clipping": {"fit": {"max_grad": 0.3}},
    "accumulate": {"fit": {"accumulate": 2}},
    "accumulate with weights": {"fit": {"accumulate": 2}, "weights": True},
    "accumulate function": {"fit": {"accumulate": 3}, "loss": lambda: fm.FunctionLoss(squares)},
    "by epoch": {"schedule": lambda o: fm.lr_scheduler.StepLR(o, 1, 0.5)},
    "by step": {"schedule": lambda o: fm.lr_scheduler.OneCycleLR(o, 0.1, total_steps=12)},
    "several in a bucket": {"bucket_bytes": 1 << 20},
    "many buckets": {"bucket_bytes": 64},
    "dense": {"model": Wide, "optimizer": lambda p: fm.Adam(p, lr=0.01)},
    "dense sgd": {"model": Wide},
    "dense buckets": {"model": Wide, "bucket_bytes": 300, "fit": {"max_grad": 0.3}},
}


def make(case, dtype="float64"):
    fm.manual_seed(1)
    build = case.get("model", lambda dtype: fm.MLP([4, 7, 5, 2], activation="tanh", dtype=dtype))
    model = build(dtype=dtype)
    plain = lambda parameters: fm.SGD(parameters, lr=case.get("rate", 0.1))  # noqa: E731
    optimizer = case.get("optimizer", plain)(model.parameters())
    schedule = case["schedule"](optimizer) if "schedule" in case else None
    return fm.Trainer(model, optimizer, case.get("loss", fm.MSELoss)(), scheduler=schedule)


def parts(case, own):
    """The case's x, t and weights, of some rows."""
    x, t, classes = data()
    if case.get("classes"):
        t = half_ignored(classes) if case.get("ignored") else classes
    weights = np.arange(ROWS) % 4 + 0.5 if case.get("weights") else None
    return x[own], t[own], None if weights is None else weights[own]


def state(trainer):
    found = {name: np.asarray(value) for name, value in trainer.model.state_dict().items()}
    return found, trainer.history.loss, trainer.history.report_loss


def fit_rank(rank, name, cuts, dtype="float64", as_batches=False):
    from fastmlp.distributed import DistributedTrainer

    case = CASES[name]
    trainer = DistributedTrainer(make(case, dtype), bucket_bytes=case.get("bucket_bytes", 25 << 20))
    x, t, weights = parts(case, slice(cuts[rank], cuts[rank + 1]))
    options = {"max_epoch": EPOCHS, "eval_interval": 2, "progress": False, **case.get("fit", {})}
    if as_batches:
        trainer.fit(fm.batches(x, t, BATCH, sample_weight=weights), **options)
    else:
        trainer.fit(x, t, batch_size=BATCH, shuffle=False, sample_weight=weights, **options)
    assert trainer.traffic["rounds"] == EPOCHS * rounds(cuts)
    return state(trainer.trainer)


def rounds(cuts):
    return max(-(-(b - a) // BATCH) for a, b in pairwise(cuts))


def fit_alone(name, cuts, dtype="float64"):
    """The batches of each round as one."""
    case = CASES[name]
    trainer = make(case, dtype)
    batches = []
    for round_ in range(rounds(cuts)):
        first = round_ * BATCH
        own = np.concatenate([np.arange(a, b)[first : first + BATCH] for a, b in pairwise(cuts)])
        x, t, weights = parts(case, own)
        batches.append((x, t) if weights is None else (x, t, weights))
    options = {"max_epoch": EPOCHS, "eval_interval": 2, "progress": False, **case.get("fit", {})}
    trainer.fit(batches, **options)
    return state(trainer)


def assert_close(found, expected, tolerance):
    for name, value in expected[0].items():
        np.testing.assert_allclose(found[0][name], value, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found[1], expected[1], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found[2], expected[2], rtol=tolerance, atol=tolerance)


def assert_same(one, other):
    for name, value in one[0].items():
        assert np.array_equal(other[0][name], value), name
    assert np.array_equal(one[1], other[1])
    assert np.array_equal(one[2], other[2])


@pytest.mark.parametrize("cuts", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_are_as_one_process(name, cuts):
    found = ranks.values(2, fit_rank, name, cuts)
    assert_same(found[0], found[1])
    assert_close(found[0], fit_alone(name, cuts), 1e-12)


def test_three_ranks_in_float32_and_the_same_bits_again():
    found = ranks.values(3, fit_rank, "dense", THREE, "float32")
    again = ranks.values(3, fit_rank, "dense", THREE, "float32")
    for one, other in zip(found, again, strict=True):
        assert_same(one, found[0])
        assert_same(one, other)
    assert_close(found[0], fit_alone("dense", THREE, "float32"), 1e-5)
    np.testing.assert_allclose(found[0][1], fit_alone("dense", THREE, "float32")[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["plain", "accumulate with weights"])
def test_batches_that_come_one_by_one(name):
    found = ranks.values(2, fit_rank, name, UNEVEN, "float64", True)
    assert_same(found[0], found[1])
    assert_close(found[0], fit_alone(name, UNEVEN), 1e-12)


def test_one_rank_is_one_process():
    (found,) = ranks.values(1, fit_rank, "adam", (0, 30))
    assert_close(found, fit_alone("adam", (0, 30)), 1e-14)


def fit_fetched(rank, is_sparse):
    """Rows that are fetched by the batch, or lie in memory, in a shuffled order."""
    from scipy import sparse

    from fastmlp.distributed import DistributedTrainer

    trainer = make({})
    x, t, _ = parts({}, slice(UNEVEN[rank], UNEVEN[rank + 1]))
    x = x * (x > 0)
    x = sparse.csr_matrix(x) if is_sparse else x
    distributed = DistributedTrainer(trainer)
    distributed.fit(
        x, t, EPOCHS, BATCH, seed=1, validation_data=(x, t), metrics="mae", progress=False
    )
    return state(trainer)


def test_rows_that_are_fetched():
    pytest.importorskip("scipy")
    dense, fetched = (ranks.values(2, fit_fetched, is_sparse) for is_sparse in (False, True))
    for one in (*dense, *fetched):
        assert_same(one, dense[0])
