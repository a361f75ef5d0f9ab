"""The module without torch, its errors, and the predicted costs in the documentation."""

import importlib.util
import pickle
from pathlib import Path

import pytest

from subprocesses import output_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("sys.modules['torch'] = None", 'pip install "fastmlp[torch]"'),
        (
            "import torch.distributed; torch.distributed.is_available = lambda: False",
            "needs a PyTorch with torch.distributed",
        ),
    ],
)
def test_what_is_missing_is_named(before, message):
    pytest.importorskip("torch")
    code = f"""
        import sys
        {before}
        try:
            import fastmlp.distributed
        except ImportError as error:
            print(error)
    """
    printed = output_of(code)
    assert printed.startswith("fastmlp.distributed needs")
    assert message in printed


def test_fastmlp_alone_imports_no_torch():
    assert output_of("import sys, fastmlp; print('torch' in sys.modules)") == "False\n"


def test_errors_can_be_pickled():
    pytest.importorskip("torch.distributed")
    from fastmlp.distributed import RankError

    error = pickle.loads(pickle.dumps(RankError(3, "ValueError: x")))
    assert (error.rank, error.message) == (3, "ValueError: x")
    assert str(error) == "rank 3 of the training has failed: ValueError: x"


@pytest.fixture
def cost():
    spec = importlib.util.spec_from_file_location("cost", ROOT / "bench" / "distributed_cost.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_the_model_says(cost):
    page = (ROOT / "docs" / "howto" / "several-machines.md").read_text(encoding="utf-8")
    assert cost.table() in page


def test_the_model(cost):
    ring = cost.Machine(1e12, 1e11, 1e9, 1e-3, False, 100)
    assert cost.all_reduce(ring, 1, 1e9) == 0
    assert cost.all_reduce(ring, 4, 1e9) == pytest.approx(1.5 + 6e-3)
    trees = cost.Machine(1e12, 1e11, 1e9, 1e-3, True, 100)
    assert cost.all_reduce(trees, 4, 1e9) == pytest.approx(1.5 + 4e-3)
    sizes = [bucket for bucket, _ in cost.buckets((2048, 4096, 4096, 1024), 25 << 20)]
    assert sum(sizes) == 4 * (2048 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1024 + 1024)
    for machine in cost.MACHINES.values():
        found = [cost.step(machine, n)["step"] for n in (1, *cost.RANKS)]
        assert found == sorted(found)
