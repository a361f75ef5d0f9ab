"""Settings of the whole suite, and torch for the tests that compare with it."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

import fastmlp as fm
from devices import EMULATED, skip_without_cuda, too_long_for_emulation

# Reproducible, and without a limit on time: machines differ.
hypothesis.settings.register_profile(
    "fastmlp", deadline=None, derandomize=True, database=None, max_examples=60
)
hypothesis.settings.load_profile("fastmlp")


@pytest.fixture(scope="session")
def torch() -> Any:
    """torch on one thread; tests that ask for it are skipped where it is missing."""
    module = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    module.set_num_threads(1)
    return module


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device. Where there is no CUDA, the tests on it are skipped, all with one line."""
    if request.param == "cuda":
        skip_without_cuda()
        if EMULATED and too_long_for_emulation(request.node.callspec.params):
            pytest.skip("takes too long on the emulated device")
    return str(request.param)


@pytest.fixture
def cuda() -> None:
    """For tests of CUDA alone."""
    skip_without_cuda()


@pytest.fixture(autouse=True)
def _restore_settings() -> Iterator[None]:
    threads = fm.get_num_threads()
    fm.manual_seed(0)
    yield
    fm.set_num_threads(threads)
