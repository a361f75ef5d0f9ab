"""What goes with the steps of several processes: validation, callbacks, states, seeds, files."""

import os

import numpy as np
import pytest

import fastmlp as fm
import ranks
from test_distributed import (
    BATCH,
    EVEN,
    UNEVEN,
    assert_close,
    assert_same,
    make,
    parts,
    pytestmark,  # noqa: F401
    state,
)

pytest.importorskip("torch.distributed")
CUTS = {1: (0, 30), 2: UNEVEN, 3: (0, 4, 20, 30)}


def own_rows(rank, size, case=None):
    return parts({} if case is None else case, slice(CUTS[size][rank], CUTS[size][rank + 1]))


def validated(rank, size, case, options):
    """Trains on all rows in one step an epoch, and validates with them, each with its part."""
    from fastmlp.distributed import DistributedTrainer

    x, t, w = own_rows(rank, size, case)
    trainer = make(case)
    early = fm.EarlyStopping(patience=3, min_delta=case["delta"])
    with_weights = case.get("weights")
    DistributedTrainer(trainer).fit(
        *(x, t, 60, None),
        validation_data=(x, t, w) if with_weights else (x, t),
        early_stopping=early,
        progress=False,
        **options,
    )
    history = trainer.history
    return state(trainer), history.validation_loss, history.metrics, early.best_epoch


def bias(y, t):
    return float((y - t).mean())


VALIDATED = {
    "mean": ({"rate": 0.02, "delta": 0.004}, {"metrics": ["mae", "mse", "rmse", bias]}),
    "weights": ({"rate": 0.02, "delta": 0.004, "weights": True}, {"metrics": ["mse", "rmse"]}),
    "sum": ({"reduction": "sum", "rate": 0.001, "delta": 0.3}, {}),
    "classes": (
        {"classes": True, "rate": 0.1, "delta": 0.01, "ignored": True},
        {"metrics": "accuracy"},
    ),
}


def case_of(name):
    options = VALIDATED[name][0]
    case = dict(options)
    if "reduction" in case:
        case["loss"] = lambda: fm.MSELoss(reduction="sum")
    if "classes" in case:
        case["loss"] = fm.CrossEntropyLoss
    return case


def validated_by_name(rank, size, name):
    return validated(rank, size, case_of(name), VALIDATED[name][1])


@pytest.mark.parametrize("name", VALIDATED)
def test_validation_metrics_and_early_stopping(name):
    found = ranks.values(3, validated_by_name, 3, name)
    for one in found:
        assert_same(one[0], found[0][0])
        assert np.array_equal(one[1], found[0][1])
        assert one[3] == found[0][3]
    trainer, case = make(case_of(name)), case_of(name)
    x, t, w = parts(case, slice(0, 30))
    early = fm.EarlyStopping(patience=3, min_delta=case["delta"])
    trainer.fit(
        *(x, t, 60, None),
        validation_data=(x, t, w) if w is not None else (x, t),
        early_stopping=early,
        progress=False,
        **VALIDATED[name][1],
    )
    assert 0 < early.best_epoch == found[0][3]
    assert len(trainer.history.loss) < 60
    np.testing.assert_allclose(found[0][1], trainer.history.validation_loss, rtol=1e-12)
    assert list(found[0][2]) == list(trainer.history.metrics)
    for metric, values in trainer.history.metrics.items():
        np.testing.assert_allclose(found[0][2][metric], values, rtol=1e-12)


def from_rank_0(rank):
    """Only rank 0 has trained before, with a seed, a schedule and Adam's states."""
    from fastmlp.distributed import DistributedTrainer

    fm.manual_seed(rank)
    model = fm.MLP([4, 6, 2], dtype="float64")
    optimizer = fm.Adam(model.parameters(), lr=0.01 * (rank + 1))
    schedule = fm.lr_scheduler.StepLR(optimizer, 2, 0.5)
    trainer = fm.Trainer(model, optimizer, fm.MSELoss(), scheduler=schedule)
    x, t, _ = own_rows(rank, 2)
    if rank == 0:
        trainer.fit(x, t, 3, BATCH, progress=False)
    DistributedTrainer(trainer).fit(x, t, 3, BATCH, progress=False)
    DistributedTrainer(trainer).fit(x, t, 1, BATCH, progress=False)
    return state(trainer), trainer._seed, trainer.history.learning_rate, optimizer.state_dict()


def test_all_become_rank_0():
    one, other = ranks.values(2, from_rank_0)
    assert_same(one[0], other[0])
    assert len(one[0][1]) == 7
    assert one[1] == other[1] is not None
    assert np.array_equal(one[2], other[2])
    assert one[2].tolist() == [0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025, 0.00125]
    for number, states in one[3]["state"].items():
        for name, value in states.items():
            assert np.array_equal(other[3]["state"][number][name], value)


def with_dropout(rank, size):
    from fastmlp.distributed import DistributedTrainer

    fm.manual_seed(3)
    model = fm.Sequential(
        fm.Linear(4, 8, dtype="float64"),
        fm.ReLU(),
        fm.Dropout(0.5),
        fm.Linear(8, 2, dtype="float64"),
    )
    trainer = fm.Trainer(model, fm.Adam(model.parameters()), fm.MSELoss())
    x, t, _ = parts({}, slice(0, 15))
    distributed = DistributedTrainer(trainer)
    distributed.fit(x, t, 3, BATCH, seed=5 if rank == 0 else 6, progress=False)
    return state(trainer)


def test_ranks_draw_numbers_of_their_own_the_same_in_each_run():
    """Two ranks with the same rows: with the same masks and orders they would be as one."""
    found = ranks.values(2, with_dropout, 2)
    again = ranks.values(2, with_dropout, 2)
    (alone,) = ranks.values(1, with_dropout, 1)
    assert_same(found[0], found[1])
    assert_same(found[0], again[0])
    assert not np.array_equal(found[0][1], alone[1])


def continued(rank, size, path, epochs):
    """From a file, or, without epochs, to one; each step takes all rows."""
    from fastmlp.distributed import DistributedTrainer

    if epochs == 0:
        trainer, epochs = make({"optimizer": lambda p: fm.Adam(p, lr=0.01)}), 3
    else:
        trainer = fm.Trainer.load(path)
    x, t, _ = own_rows(rank, size)
    distributed = DistributedTrainer(trainer)
    distributed.fit(x, t, epochs, None, progress=False)
    if not os.path.exists(path):
        distributed.save(path)
    return state(trainer)


def test_resuming_on_another_number_of_ranks(tmp_path):
    path = str(tmp_path / "run.safetensors")
    ranks.values(2, continued, 2, path, 0)
    trainer = make({"optimizer": lambda p: fm.Adam(p, lr=0.01)})
    x, t, _ = parts({}, slice(0, 30))
    trainer.fit(x, t, 8, None, progress=False)
    for size in (1, 2, 3):
        found = ranks.values(size, continued, size, path, 5)
        for one in found:
            assert_close(one, state(trainer), 1e-12)


def cannot_save(rank, path):
    from fastmlp.distributed import DistributedTrainer

    DistributedTrainer(make({})).save(path)


def test_save_fails_on_all(tmp_path):
    outcomes = ranks.run(2, cannot_save, str(tmp_path / "none" / "run.safetensors"))
    assert outcomes[0].kind == "FileNotFoundError"
    assert outcomes[1].kind == "RankError"
    assert outcomes[1].error.startswith("rank 0 of the training has failed: FileNotFoundError")


def with_callbacks(rank, folder):
    from fastmlp.distributed import DistributedTrainer

    x, t, _ = own_rows(rank, 2)
    own = os.path.join(folder, str(rank))  # what only rank 0 writes
    os.mkdir(own)
    memory = fm.callbacks.ModelCheckpoint(monitor="loss")
    callbacks = [
        fm.callbacks.ModelCheckpoint(os.path.join(own, "run.safetensors")),
        fm.callbacks.CSVLogger(os.path.join(own, "run.csv")),
        memory,
        lambda info: rank == 1 and info.epoch == 4,
    ]
    trainer = make({})
    distributed = DistributedTrainer(trainer)
    together = os.path.join(folder, "all.safetensors")
    callbacks.append(lambda info: distributed.save(together))
    distributed.fit(x, t, 9, BATCH, callbacks=callbacks, progress=False)
    assert len(fm.Trainer.load(together).history.loss) == 5
    return sorted(os.listdir(own)), memory.last_epoch, state(trainer)


def test_callbacks(tmp_path):
    """Rank 0 writes; one rank's callback ends the training of all."""
    one, other = ranks.values(2, with_callbacks, str(tmp_path))
    assert one[0] == ["run.csv", "run.safetensors"]
    assert other[0] == []
    assert one[1] == other[1] == 4
    assert_same(one[2], other[2])
    assert len(one[2][1]) == 5


def exchanged(rank):
    """A callback that exchanges the optimizer, and freezes a layer, on all ranks."""
    from fastmlp.distributed import DistributedTrainer

    trainer = make({})
    x, t, _ = own_rows(rank, 2)

    def callback(info):
        if info.epoch == 1:
            trainer.optimizer = fm.Adam(trainer.model.parameters(), lr=0.01)
        if info.epoch == 3:
            trainer.model[0].weight.requires_grad = False

    DistributedTrainer(trainer).fit(
        x, t, 6, BATCH, callbacks=callback, shuffle=False, progress=False
    )
    return state(trainer)


def test_a_callback_exchanges_the_optimizer():
    one, other = ranks.values(2, exchanged)
    assert_same(one, other)
    trainer = make({})

    def callback(info):
        if info.epoch == 1:
            trainer.optimizer = fm.Adam(trainer.model.parameters(), lr=0.01)
        if info.epoch == 3:
            trainer.model[0].weight.requires_grad = False

    batches = []
    for first in range(0, 20, BATCH):
        own = [np.arange(a, b)[first : first + BATCH] for a, b in ((0, 19), (19, 30))]
        x, t, _ = parts({}, np.concatenate(own))
        batches.append((x, t))
    trainer.fit(batches, max_epoch=6, callbacks=callback, progress=False)
    assert_close(one, state(trainer), 1e-12)


def normalized(rank):
    from fastmlp.distributed import DistributedTrainer

    fm.manual_seed(0)
    model = fm.Sequential(
        fm.Linear(4, 6, dtype="float64"), fm.BatchNorm1d(6, dtype="float64"),
        fm.Linear(6, 2, dtype="float64"),
    )  # fmt: skip
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.05), fm.MSELoss())
    x, t, _ = parts({}, slice(EVEN[rank], EVEN[rank + 1]))
    seen = []
    DistributedTrainer(trainer).fit(
        x, t, 3, BATCH, shuffle=False, validation_data=(x, t), progress=False,
        callbacks=lambda info: seen.append(np.array(model[1].running_mean)),
    )  # fmt: skip
    return state(trainer), trainer.history.validation_loss, seen


def test_running_statistics_are_those_of_rank_0(torch):
    one, other = ranks.values(2, normalized)
    assert_same(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert all(map(np.array_equal, one[2], other[2]))
    # As torch's DistributedDataParallel, with the statistics of each rank's batch.
    fm.manual_seed(0)
    model = fm.Sequential(
        fm.Linear(4, 6, dtype="float64"), fm.BatchNorm1d(6, dtype="float64"),
        fm.Linear(6, 2, dtype="float64"),
    )  # fmt: skip
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 2)
    ).double()
    net.load_state_dict(fm.nn.utils.to_torch(model.state_dict()))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    x, t, _ = (None if part is None else torch.from_numpy(part) for part in parts({}, slice(0, 30)))
    for _ in range(3):
        for first in range(0, 15, BATCH):
            optimizer.zero_grad()
            kept = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
            for rank in (1, 0):  # the statistics are to be rank 0's
                net.load_state_dict(kept, strict=False)
                rows = slice(15 * rank + first, 15 * rank + first + BATCH)
                (torch.nn.functional.mse_loss(net(x[rows]), t[rows]) / 2).backward()
            optimizer.step()
    for name, value in net.state_dict().items():
        if "batches" not in name:
            np.testing.assert_allclose(one[0][0][name], value.numpy(), rtol=1e-12, atol=1e-14)
