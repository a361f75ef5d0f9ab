"""A rank that fails takes the others along, with its error."""

import os
import signal

import numpy as np
import pytest

import fastmlp as fm
import ranks
from test_distributed import BATCH, EVEN, UNEVEN, make, parts, pytestmark, state  # noqa: F401

pytest.importorskip("torch.distributed")

LONG = 10**6  # epochs: a training that ends by the failure alone


def trainer_of(rank, case=None, cuts=EVEN):
    from fastmlp.distributed import DistributedTrainer

    case = {} if case is None else case
    x, t, _ = parts(case, slice(cuts[rank], cuts[rank + 1]))
    return DistributedTrainer(make(case)), x, t


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_callback_of_one_rank_fails(failing):
    outcomes = ranks.run(3, fails_in_a_callback, failing)
    for rank, outcome in enumerate(outcomes):
        if rank == failing:
            assert (outcome.kind, outcome.error) == ("KeyError", "'no such thing'")
        else:
            assert outcome.kind == "RankError"
            expected = f"rank {failing} of the training has failed: KeyError: 'no such thing'"
            assert outcome.error == expected


def fails_in_a_callback(rank, failing):
    from fastmlp.distributed import DistributedTrainer

    x, t, _ = parts({}, slice(10 * rank, 10 * rank + 10))
    trainer = DistributedTrainer(make({}))

    def callback(info):
        if info.epoch == 3:
            raise KeyError("no such thing")

    callbacks = [callback] if rank == failing else []
    trainer.fit(x, t, LONG, BATCH, callbacks=callbacks, progress=False)


def test_the_last_callback_fails():
    """When the others have done all of their epochs."""
    outcomes = ranks.run(2, fails_at_the_end)
    assert [outcome.kind for outcome in outcomes] == ["RankError", "ValueError"]
    assert outcomes[0].error == "rank 1 of the training has failed: ValueError: at the end"


def fails_at_the_end(rank):
    trainer, x, t = trainer_of(rank)

    class AtTheEnd:
        def on_train_end(self, info):
            raise ValueError("at the end")

    trainer.fit(x, t, 2, BATCH, callbacks=[AtTheEnd()] * rank, progress=False)


def in_a_round(rank, batch, accumulate, bucket_bytes):
    """The loss fails, between forward and backward; the others' steps are not done either."""
    from fastmlp.distributed import DistributedTrainer, RankError

    calls = []

    def loss(y, t):
        calls.append(None)
        if rank == 1 and len(calls) > batch:
            raise ZeroDivisionError("in the loss")
        return ((y - t) ** 2).mean(), 2 * (y - t) / y.size

    x, t, _ = parts({}, slice(EVEN[rank], EVEN[rank + 1]))
    trainer = make({"loss": lambda: fm.FunctionLoss(loss)})
    distributed = DistributedTrainer(trainer, bucket_bytes=bucket_bytes)
    try:
        distributed.fit(x, t, LONG, BATCH, shuffle=False, progress=False, accumulate=accumulate)
    except (RankError, ZeroDivisionError) as error:
        again = DistributedTrainer(make({}))  # the group still works
        again.fit(x, t, 1, BATCH, progress=False)
        return str(error), state(trainer), distributed.traffic["rounds"]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("bucket_bytes", [1, 1 << 20])
def test_a_loss_fails_in_the_middle_of_a_round(accumulate, bucket_bytes):
    (first, other, rounds), (error, own, _) = ranks.values(
        2, in_a_round, 7, accumulate, bucket_bytes
    )
    assert error == "in the loss"
    assert first == "rank 1 of the training has failed: ZeroDivisionError: in the loss"
    for name, value in own[0].items():
        assert np.array_equal(other[0][name], value)
    assert len(own[1]) == 2  # whole epochs of 3 rounds, and the first round of the third
    assert np.array_equal(own[1], other[1])
    assert rounds >= 7


def wrong_batch(rank):
    trainer, x, t = trainer_of(rank)
    batches = [(x[:5], t[:5]), (x[5:10], t[5:10]), (x[10:], t[10:])]
    if rank == 0:
        batches[1] = (x[5:10, :3], t[5:10])
    trainer.fit(batches, max_epoch=LONG, progress=False)


def test_a_batch_of_one_rank_is_wrong():
    outcomes = ranks.run(2, wrong_batch)
    assert outcomes[0].kind == "ValueError"
    assert outcomes[1].kind == "RankError"
    assert outcomes[1].error.startswith("rank 0 of the training has failed: ValueError: x")


def becomes_nonfinite(rank):
    trainer, x, t = trainer_of(rank, {"rate": 1e200})
    trainer.trainer.on_nonfinite = "raise"
    trainer.fit(x, t, LONG, BATCH, progress=False)


def test_a_loss_that_is_no_number():
    outcomes = ranks.run(2, becomes_nonfinite)
    assert [outcome.kind for outcome in outcomes] == ["FloatingPointError"] * 2


def interrupted(rank):
    trainer, x, t = trainer_of(rank)

    def callback(info):
        if rank == 0 and info.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.fit(x, t, LONG, BATCH, callbacks=callback, progress=False)


def test_ctrl_c_at_one_rank():
    outcomes = ranks.run(2, interrupted)
    assert [outcome.kind for outcome in outcomes] == ["KeyboardInterrupt", "RankError"]
    assert outcomes[1].error == "rank 0 of the training has failed: KeyboardInterrupt"


def killed(rank, path):
    trainer, x, t = trainer_of(rank, cuts=(0, 10, 20, 30))

    def callback(info):
        if rank == 1 and info.epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint = fm.callbacks.ModelCheckpoint(path)
    trainer.fit(x, t, LONG, BATCH, callbacks=[checkpoint, callback], progress=False)


def test_a_rank_is_killed_and_the_checkpoint_is_whole(tmp_path):
    path = tmp_path / "run.safetensors"
    one, gone, other = ranks.run(3, killed, str(path))
    for outcome in (one, other):
        assert outcome.kind == "RankError"
        assert "a process of the training has failed: the connection is lost" in outcome.error
    assert gone == ranks.Outcome()
    assert len(fm.Trainer.load(path).history.loss) in (4, 5)


WRONG = {
    "batch_size": ({"batch_size": 0}, "ValueError: batch_size: expected an integer >= 1, got 0"),
    "x": ({"x": np.full((15, 4), np.nan)}, "ValueError: x"),
    "misspelt": ({"epochs": 3}, "TypeError: fit() has no argument 'epochs'"),
    "t": ({"t": np.zeros((3, 2))}, "ValueError: t"),
}
UNLIKE = {
    "max_epoch": ({"max_epoch": 4}, "max_epoch: expected the same on all ranks, got 2 on rank 0"),
    "validation_data": (
        {"validation_data": (np.zeros((2, 4)), np.zeros((2, 2)))},
        "validation_data: expected the same on all ranks, got 'none' on rank 0 and 'given' on rank",
    ),
    "max_grad": ({"max_grad": 1.0}, "max_grad: expected the same on all ranks, got None"),
}


def one_is_wrong(rank, options):
    trainer, x, t = trainer_of(rank)
    before = state(trainer.trainer)
    given = {"x": x, "t": t, "max_epoch": 2, "batch_size": BATCH, "progress": False}
    try:
        trainer.fit(**{**given, **(options if rank == 1 else {})})
    except Exception as error:
        for name, value in before[0].items():
            assert np.array_equal(trainer.trainer.model.state_dict()[name], value)
        return type(error).__name__, str(error)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_of_one_rank(name):
    options, message = WRONG[name]
    (kind, error), (own_kind, own) = ranks.values(2, one_is_wrong, options)
    assert kind == "RankError"
    assert error.startswith(f"rank 1 of the training has failed: {message}")
    assert own_kind == message.split(":")[0]
    assert error.endswith(own)


@pytest.mark.parametrize("name", UNLIKE)
def test_an_argument_that_is_not_the_same(name):
    options, message = UNLIKE[name]
    found = ranks.values(2, one_is_wrong, options)
    assert found[0] == found[1]
    assert found[0][0] == "ValueError"
    assert found[0][1].startswith(message)


def other_model(rank):
    from fastmlp.distributed import DistributedTrainer

    x, t, _ = parts({}, slice(0, 15))
    model = fm.MLP([4, 6 + rank, 2], dtype="float64")
    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.MSELoss())
    DistributedTrainer(trainer).fit(x, t, progress=False)


def test_another_model():
    outcomes = ranks.run(2, other_model)
    assert [outcome.kind for outcome in outcomes] == ["ValueError"] * 2
    assert outcomes[0].error.startswith("trainer's model: expected the same on all ranks, got [(")


def short_schedule(rank):
    """The rank with fewer rows would have enough steps."""
    case = {"schedule": lambda o: fm.lr_scheduler.OneCycleLR(o, 0.1, total_steps=6)}
    trainer, x, t = trainer_of(rank, case, UNEVEN)
    trainer.fit(x, t, 2, BATCH, progress=False)


def test_a_schedule_that_is_too_short():
    outcomes = ranks.run(2, short_schedule)
    assert outcomes[0].kind == "ValueError"
    assert outcomes[0].error.startswith("scheduler: expected one with 8 steps left")
    assert outcomes[1].kind == "RankError"
