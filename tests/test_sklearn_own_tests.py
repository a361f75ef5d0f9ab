"""scikit-learn's own tests of its perceptrons, from the installed package, run on ours."""

import types
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest

pytest.importorskip("sklearn", "1.6", reason="fastmlp.sklearn needs scikit-learn 1.6 or newer")

import sklearn.neural_network

import fastmlp.sklearn

SPEC = find_spec("sklearn.neural_network.tests.test_mlp")
if SPEC is None:  # as some distributions of scikit-learn have it
    pytest.skip("scikit-learn is installed without its tests", allow_module_level=True)

# Tests that cannot pass, and why. One that passes after all is an error.
RATE = "reads the rate from a private attribute of scikit-learn's private optimizer"
EXCEPTIONS = {
    "test_fit": "sets weights and calls private methods to take a single step by hand",
    "test_gradient": "calls the private function of the loss and its gradient for lbfgs",
    "test_learning_rate_warmstart": RATE,
    "test_adaptive_learning_rate": RATE,
    "test_nonfinite_params": (
        "float32, in which the network computes, cannot hold the values: that is said before"
        " the training, in other words"
    ),
}


def own_tests():
    """The functions of the module, in which our classes have the place of scikit-learn's."""
    module = types.ModuleType("sklearn_own_tests_of_mlp")
    module.__file__ = SPEC.origin
    source = compile(Path(SPEC.origin).read_text(encoding="utf-8"), SPEC.origin, "exec")
    ours = {name: getattr(fastmlp.sklearn, name) for name in ("MLPClassifier", "MLPRegressor")}
    with patch.multiple(sklearn.neural_network, **ours):
        exec(source, module.__dict__)
    for name, value in vars(module).items():
        if not name.startswith("test_"):
            continue
        if name in EXCEPTIONS:
            value = pytest.mark.xfail(reason=EXCEPTIONS[name], strict=True)(value)
        yield name, value


@pytest.fixture
def global_random_seed():
    """Their conftest has it."""
    return 42


globals().update(own_tests())


def test_there_are_tests_and_all_exceptions_are_among_them():
    names = {name for name, _ in own_tests()}
    assert len(names) > 30
    assert set(EXCEPTIONS) <= names
