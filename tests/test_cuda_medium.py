"""Training across all blocks of a device, which is off until a device has run it."""

from typing import Any

import numpy as np
import pytest

import fastmlp as fm

pytestmark = pytest.mark.cuda

SIZES = [40, 200, 150, 10]  # too large for one block
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, SIZES[0])).astype("float32")
CLASSES = RNG.integers(0, SIZES[-1], 200)


def _is_emulated() -> bool:
    return fm.cuda.device_name() == "emulated device"


def _train(device: str, dtype: str = "float32") -> list[Any]:
    model = fm.MLP(SIZES, "tanh", seed=1, dtype=dtype).to(device)
    optimizer = fm.Adam(model.parameters(), lr=0.003, eps=1e-4)
    trainer = fm.Trainer(model, optimizer, fm.CrossEntropyLoss())
    history = trainer.fit(X.astype(dtype), CLASSES, max_epoch=3, batch_size=64, seed=5)
    parameters = [np.asarray(value) for value in model.to("cpu").state_dict().values()]
    return [np.asarray(history.loss), *parameters]


def test_comes_to_what_the_cpu_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, near float64; and it is another order of sums than a replayed step's."""
    if not _is_emulated():
        pytest.skip("not every device can; test_cuda_medium of C++ compares as well")
    monkeypatch.setenv("FASTMLP_CUDA_UNPROVED", "0")
    replayed = _train("cuda")
    monkeypatch.setenv("FASTMLP_CUDA_UNPROVED", "1")
    across = _train("cuda")
    exact = _train("cpu", dtype="float64")
    for a, b in zip(across, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4)
    assert any((a != b).any() for a, b in zip(across, replayed, strict=True))
    again = _train("cuda")
    for a, b in zip(across, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_networks_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in TF32 are not for it, nor is float64: the same bits with and without."""
    results = []
    for allowed in "01":
        monkeypatch.setenv("FASTMLP_CUDA_UNPROVED", allowed)
        model = fm.MLP(SIZES, "tanh", seed=1).to("cuda", precision="tf32")
        trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=0.1), fm.CrossEntropyLoss())
        trainer.fit(X, CLASSES, max_epoch=2, batch_size=64, seed=5)
        tf32 = [np.asarray(value) for value in model.to("cpu").state_dict().values()]
        results.append(tf32 + _train("cuda", dtype="float64"))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
