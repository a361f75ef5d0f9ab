"""Groups of processes, what is refused, what is counted, and ranks that share a GPU."""

import pytest

import fastmlp as fm
import ranks
from test_distributed import (
    BATCH,
    EVEN,
    UNEVEN,
    Wide,
    assert_close,
    assert_same,
    fit_alone,
    fit_rank,
    make,
    parts,
    pytestmark,  # noqa: F401
    state,
)

pytest.importorskip("torch.distributed")


def in_a_group(rank):
    import torch.distributed as dist

    from fastmlp.distributed import DistributedTrainer

    group = dist.new_group([0, 2])
    if rank == 1:
        with pytest.raises(ValueError, match="process_group: expected one that this process is in"):
            DistributedTrainer(make({}), group)
        return None
    trainer = make({})
    distributed = DistributedTrainer(trainer, group)
    x, t, _ = parts({}, slice(EVEN[rank // 2], EVEN[rank // 2 + 1]))
    distributed.fit(x, t, 3, BATCH, eval_interval=2, shuffle=False, progress=False)
    return state(trainer), (distributed.rank, distributed.world_size), repr(distributed)


def test_a_group_of_some_ranks():
    one, none, other = ranks.values(3, in_a_group)
    assert none is None
    assert (one[1], other[1]) == ((0, 2), (1, 2))
    assert_same(one[0], other[0])
    assert_close(one[0], fit_alone("plain", EVEN), 1e-12)
    assert "rank=1 of 2" in other[2]


def test_without_a_group():
    from fastmlp.distributed import DistributedTrainer

    with pytest.raises(ValueError, match="init_process_group"):
        DistributedTrainer(make({}))
    with pytest.raises(TypeError, match="trainer: expected a Trainer, got None"):
        DistributedTrainer(None)


def refused(rank):
    from fastmlp.distributed import DistributedTrainer

    found = []
    x, t, _ = parts({}, slice(UNEVEN[rank], UNEVEN[rank + 1]))
    model = fm.MLP([4, 3, 2], dtype="float64")
    lbfgs = fm.Trainer(model, fm.LBFGS(model.parameters()), fm.MSELoss())
    for trainer, options in (
        (lbfgs, {}),
        (make({}), {"validation_data": (x, t), "metrics": "r2"}),
        (make({}), {"x": x, "t": None}),
    ):
        try:
            DistributedTrainer(trainer).fit(**{"x": x, "t": t, "progress": False, **options})
        except (ValueError, TypeError) as error:
            found.append(str(error))
    with pytest.raises(TypeError, match="process_group: expected one of torch"):
        DistributedTrainer(make({}), 3)
    return found


def test_what_is_refused():
    one, other = ranks.values(2, refused)
    assert one == other
    assert one[0].startswith("optimizer: expected one that takes steps by the batch, got a LBFGS")
    assert one[1].startswith("metrics: expected means over rows, got 'r2'")
    assert one[2].startswith("t: expected targets, got None")


def test_traffic(torch):
    """Each gradient is handed over once a round, in as many messages as buckets say."""
    assert ranks.values(2, traffic) == [6 * 8 * (4 * 7 + 7 + 7 * 5 + 5 + 5 * 2 + 2)] * 2


def traffic(rank):
    from fastmlp.distributed import DistributedTrainer

    trainer = DistributedTrainer(make({}), bucket_bytes=200)
    x, t, _ = parts({}, slice(EVEN[rank], EVEN[rank + 1]))
    trainer.fit(x, t, 2, BATCH, progress=False)
    assert trainer.traffic["rounds"] == 6
    return trainer.traffic["bytes"]


def test_same_case_by_name_in_float32():
    found = ranks.values(2, fit_rank, "momentum", EVEN, "float32")
    assert_close(found[0], fit_alone("momentum", EVEN, "float32"), 1e-5)


def on_a_gpu(rank, cuts):
    from fastmlp.distributed import DistributedTrainer

    trainer = make({"model": Wide}, "float32")
    trainer.model.to("cuda")
    x, t, _ = parts({}, slice(cuts[rank], cuts[rank + 1]))
    distributed = DistributedTrainer(trainer, bucket_bytes=300)
    distributed.fit(x, t, 3, BATCH, eval_interval=2, shuffle=False, progress=False)
    return state(trainer)


@pytest.mark.cuda
@pytest.mark.parametrize("cuts", [EVEN, UNEVEN])
def test_ranks_with_a_gpu(torch, cuts):
    """By gloo, so that two of them may share one."""
    if not torch.cuda.is_available():
        pytest.skip("torch has no GPU here")
    found = ranks.values(2, on_a_gpu, cuts)
    assert_same(found[0], found[1])
    assert_close(found[0], fit_alone("dense sgd", cuts, "float32"), 1e-4)
