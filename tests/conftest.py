"""Settings of the whole suite, and torch for the tests that compare with it."""

import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

import fastmlp as fm
from devices import is_left_out

# Reproducible, and without a limit on time: machines differ.
hypothesis.settings.register_profile(
    "fastmlp", deadline=None, derandomize=True, database=None, max_examples=60
)
hypothesis.settings.load_profile("fastmlp")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take long, too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: runs on CUDA; left out where there is none")
    # A job in the background ignores it, and tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests, and those of CUDA where there is none: one in test_cuda.py says so."""
    slow = config.getoption("--slow")
    out = {
        id(item): item
        for item in items
        if is_left_out(item) or (item.get_closest_marker("slow") and not slow)
    }
    if out:
        config.hook.pytest_deselected(items=list(out.values()))
        items[:] = [item for item in items if id(item) not in out]


@pytest.fixture(scope="session")
def torch() -> Any:
    """torch on one thread; tests that ask for it are skipped where it is missing."""
    module = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    module.set_num_threads(1)
    return module


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _restore_settings() -> Iterator[None]:
    threads = fm.get_num_threads()
    fm.manual_seed(0)
    yield
    fm.set_num_threads(threads)
