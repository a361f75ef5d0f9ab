"""bench/gpu/model.py: launches as they were profiled, times as they were measured or reckoned."""

import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"

CIFAR2, DIGITS = (3072, 512, 2), (784, 512, 512, 10)
REGRESSION, LARGE = (100, 256, 256, 256, 1), (4096, 4096, 4096)
NEAR = 0.25


@pytest.fixture(scope="module")
def model() -> Any:
    sys.path.insert(0, str(BENCH))
    try:
        from gpu import model
    finally:
        sys.path.remove(str(BENCH))
    return model


@pytest.mark.parametrize(
    ("sizes", "batch", "blocks"),
    [  # of ncu's profiles of 2026-11-27, the products' in order
        (CIFAR2, 64, [128, 12, 32, 17, 112]),
        (DIGITS, 128, [128, 128, 24, 64, 17, 128, 272, 120]),
        (REGRESSION, 256, [64, 128, 128, 32, 64, 33, 128, 136, 128, 136, 136]),
    ],
)
def test_blocks_of_a_profile(
    model: Any, sizes: tuple[int, ...], batch: int, blocks: list[int]
) -> None:
    step = model.kernels.step(sizes, batch, "float32")
    assert [k.blocks for k in step if k.name.split()[0] in ("forward", "dx", "dW")] == blocks


def test_measured_rows(model: Any) -> None:
    """All that was measured and that the model speaks of."""
    ratios = {
        model.label(row.workload): row.before / row.measured
        for row in model.rows()
        if row.before is not None and row.measured is not None
    }
    assert len(ratios) == 13
    assert {"cifar2", "784-512-512-10, tf32", "100-256x3-1, bf16", "4096-4096-4096"} <= set(ratios)
    assert all(abs(ratio - 1) < NEAR for ratio in ratios.values()), ratios


@pytest.mark.parametrize(
    ("sizes", "batch", "us"), [(CIFAR2, 64, 46), (DIGITS, 128, 52), (REGRESSION, 256, 62)]
)
def test_kernels_without_gaps(model: Any, sizes: tuple[int, ...], batch: int, us: float) -> None:
    """What is left of the measured step after the gaps between kernels and the copy."""
    kernels = model.kernels.step(sizes, batch, "float32")
    assert sum(k.us for k in kernels) == pytest.approx(us, rel=NEAR)


def test_reckoned_by_hand(model: Any) -> None:
    """Estimates that were made from each phase's clocks, kernel by kernel, beside the model's."""
    designs = model.designs
    for sizes, batch, persistent, few in (
        (CIFAR2, 64, 11.5, 19),
        (DIGITS, 128, 14.5, 30),
        (REGRESSION, 256, 14.5, 33),
    ):
        assert designs.persistent(sizes, batch, "float32") == pytest.approx(persistent, rel=NEAR)
        assert designs.few_kernels(sizes, batch, "float32") == pytest.approx(few, rel=NEAR)
    assert designs.large(LARGE, 512, "float32") == pytest.approx(1730, rel=NEAR)
    assert designs.large(LARGE, 512, "bf16") == pytest.approx(172, rel=NEAR)
    assert model.kernels.training(LARGE, 512, "bf16") == pytest.approx(340, rel=NEAR)
    for sizes, batch, us in (
        ((2, 2, 1), 4, 0.275),
        ((2, 10, 3), 30, 0.625),
        ((2, 4, 1), 500, 0.55),
        ((13, 3, 3, 3, 1), 506, 0.9),
        ((2, 10, 10, 10, 1), 4, 0.7),
        ((1, 13, 1), 9, 0.4),
    ):
        assert designs.lanes(sizes, batch) == pytest.approx(us, rel=NEAR)
    assert designs.ensemble((2, 10, 3), 30, 4096) == pytest.approx(3.1, rel=NEAR)


def test_every_workload_has_a_row(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert model.main() == 0
    printed = capsys.readouterr().out
    assert all(f"\n{model.label(w)} " in printed for w in model.WORKLOADS)
    assert "ESTIMATE" in printed
