"""The examples with scikit-learn run, each in a process of its own."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

EXAMPLES = Path(__file__).parent.parent / "examples" / "sklearn"
# What each example prints, the picture that it saves, and what else it needs.
EXPECTED = {
    "calibration.py": (
        r"network +accuracy 0\.[78].*\ncalibrated +accuracy 0\.8",
        None,
        "sklearn",
    ),
    "conformal.py": (r"network +(8[6-9]|9\d)% .*\nten networks +(8[6-9]|9\d)% ", None, "mapie"),
    "learning_curve.py": (
        r"1437 rows: accuracy 0\.9",
        "learning_curve.png",
        "matplotlib",
    ),
    "partial_dependence.py": (r"R2 0\.9\d+\n", "partial_dependence.png", "matplotlib"),
    "permutation.py": (r"accuracy .*: [01]\.\d+\n\w+ +0\.\d+ \+- 0\.", None, "sklearn"),
    "pipeline.py": (r"R2 0\.9\d+\na city that nobody has seen: \d+\n", None, "pandas"),
    "shap_values.py": (
        r"(class [012], [01]\.\d+: .*off by (0e\+00|\de-(0[6-9]|1\d))\)\n){6}",
        None,
        "shap",
    ),
}


def test_every_example_is_tested():
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_file()) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name, tmp_path):
    printed, picture, needed = EXPECTED[name]
    if find_spec(needed) is None:
        pytest.skip(f"the example needs {needed}")
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning:fastmlp", EXAMPLES / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    assert re.search(printed, run.stdout), run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ([picture] if picture else [])
