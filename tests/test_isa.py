"""FASTMLP_ISA chooses an instruction set, or is an error; test_strategies.py tests each."""

from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from cases import Case, draw, relative_error
from specs import TOLERANCE
from subprocesses import output_of, run_python

CONFIG = fm.show_config("dicts")
AVAILABLE = CONFIG["available isas"]
KNOWN = ("scalar", "avx2", "avx512", "amx")


def test_the_default_is_available() -> None:
    assert CONFIG["isa"] in AVAILABLE
    assert "scalar" in AVAILABLE
    assert set(AVAILABLE) <= set(KNOWN)


@pytest.mark.parametrize("isa", AVAILABLE)
def test_a_forced_one_runs(isa: str) -> None:
    code = "import fastmlp as fm; print(fm.show_config('dicts')['isa'])"
    assert output_of(code, FASTMLP_ISA=isa).strip() == isa
    printed = output_of("import fastmlp as fm; fm.show_config()", FASTMLP_ISA=isa)
    line = next(line for line in printed.splitlines() if line.startswith("isa"))
    assert line.split() == ["isa", isa]


CASES = [
    Case((2, 10, 3), 30, "sigmoid", loss="cross_entropy"),
    Case((13, 3, 3, 3, 1), 506, "leaky_relu", dtype="float32"),
    Case((40, 70, 33, 5), 50, "gelu", "log_softmax", "nll", dtype="float32"),
    Case((100, 257, 64, 17), 65, "tanh", loss="huber"),
]


def test_instruction_sets_agree_with_one_another(tmp_path: Path) -> None:
    """They differ only by rounding, which need not be the same."""
    if len(AVAILABLE) == 1:
        pytest.skip("this machine has a single instruction set")
    for isa in AVAILABLE:
        (tmp_path / isa).mkdir()
        output_of(
            f"""
            import numpy as np
            from cases import draw, fastmlp_gradients
            from test_isa import CASES
            for i, case in enumerate(CASES):
                np.savez("{tmp_path}/{isa}/" + str(i), **fastmlp_gradients(draw(case)))
            """,
            FASTMLP_ISA=isa,
        )
    for i, case in enumerate(CASES):
        want = np.load(tmp_path / "scalar" / f"{i}.npz")
        assert set(want) == {"y", "loss", "x", *draw(case).names()}
        for isa in AVAILABLE:
            got = np.load(tmp_path / isa / f"{i}.npz")
            for name in want:
                assert relative_error(got[name], want[name]) < TOLERANCE[case.dtype], (isa, name)


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx2 ", "avx2,scalar"])
def test_an_unknown_one_is_an_error_at_import(isa: str) -> None:
    done = run_python("import fastmlp", FASTMLP_ISA=isa)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert "FASTMLP_ISA" in message
    assert repr(isa)[1:-1] in message
    assert all(name in message for name in AVAILABLE), "the message does not say what there is"


def test_an_unsupported_one_is_an_error_at_import() -> None:
    missing = [name for name in KNOWN if name not in AVAILABLE]
    if not missing:
        pytest.skip("this machine has every instruction set")
    for isa in missing:
        done = run_python("import fastmlp", FASTMLP_ISA=isa)
        assert done.returncode == 1
        message = done.stderr.strip().splitlines()[-1]
        assert "FASTMLP_ISA" in message
        assert isa in message


def test_an_empty_one_counts_as_none() -> None:
    code = "import os; os.environ['FASTMLP_ISA'] = ''; import fastmlp as fm; fm.show_config()"
    assert CONFIG["isa"] in output_of(code, FASTMLP_ISA="")
