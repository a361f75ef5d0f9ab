"""Threads and configuration: settings, and the environment that they start from."""

import pytest

import fastmlp as fm
from subprocesses import output_of, run_python

THREADS = "import fastmlp as fm; print(fm.get_num_threads())"


def test_threads_settings() -> None:
    with fm.threads(3):
        assert fm.get_num_threads() == 3
        with fm.threads(1):
            assert fm.get_num_threads() == 1
        assert fm.get_num_threads() == 3
    before = fm.get_num_threads()
    with pytest.raises(ZeroDivisionError), fm.threads(before + 1):
        raise ZeroDivisionError
    assert fm.get_num_threads() == before


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    config = fm.show_config("dicts")
    assert config["threads"] == fm.get_num_threads()
    assert config["version"] == fm.__version__
    assert fm.show_config() is None
    printed = capsys.readouterr().out
    assert all(name in printed for name in config)


@pytest.mark.parametrize(
    ("own", "openmp", "threads"),
    [("3", "", 3), ("3", "2", 3), ("", "2", 2), ("", "2,1", 2), ("1", "8", 1)],
)
def test_the_environment_gives_the_number_of_threads(own: str, openmp: str, threads: int) -> None:
    printed = output_of(THREADS, FASTMLP_NUM_THREADS=own, OMP_NUM_THREADS=openmp)
    assert int(printed) == threads


def test_without_an_environment_there_is_a_thread_for_each_processor() -> None:
    code = f"import os; {THREADS}; print(len(os.sched_getaffinity(0)))"
    threads, processors = output_of(code, FASTMLP_NUM_THREADS="", OMP_NUM_THREADS="").split()
    assert threads == processors


@pytest.mark.parametrize("value", ["0", "-1", "two", "2x", "1000000"])
def test_a_wrong_number_of_threads_is_an_error_at_import(value: str) -> None:
    done = run_python(THREADS, FASTMLP_NUM_THREADS=value)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert "FASTMLP_NUM_THREADS" in message
    assert value in message
