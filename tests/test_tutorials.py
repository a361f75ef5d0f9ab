"""Scripts in the style of tutorials run under torch and under fastmlp, with one line changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip("torch")
SCRIPTS = sorted((Path(__file__).parent.parent / "examples" / "tutorials").glob("*.py"))
OURS, THEIRS = "from fastmlp import nn, optim\n", "from torch import nn, optim\n"


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text())


@pytest.fixture(autouse=True)
def equal_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Layers of either library begin with the same weights."""

    def reset(layer: Any) -> None:
        for parameter in layer.parameters():
            bound = 1 / np.sqrt(layer.in_features)
            rng = np.random.default_rng(layer.in_features * layer.out_features)
            values = rng.uniform(-bound, bound, tuple(parameter.shape)).astype("f4")
            if isinstance(layer, fm.nn.Linear):
                parameter[...] = values
            else:
                parameter.data.copy_(torch.from_numpy(values))

    monkeypatch.setattr(fm.nn.Linear, "reset_parameters", reset)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", reset)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def _run(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "tutorial", "exec"), names)
    return names


def test_there_are_enough() -> None:
    assert len(SCRIPTS) >= 5


def test_the_losses_are_torchs(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text.count(OURS) == 1
    assert "fastmlp" not in text.replace(OURS, "")
    ours = _run(text)
    printed = capsys.readouterr().out
    theirs = _run(text.replace(OURS, THEIRS))
    assert isinstance(ours["optimizer"], fm.optim.Optimizer)
    assert isinstance(theirs["optimizer"], torch.optim.Optimizer)
    want, got = theirs["losses"], ours["losses"]
    assert len(want) == len(got) >= 40
    np.testing.assert_allclose(got[:20], want[:20], rtol=1e-4)
    np.testing.assert_allclose(got, want, rtol=0.02, atol=1e-4)
    assert got[-1] < 0.5 * got[0]
    assert len(printed.splitlines()) == len(capsys.readouterr().out.splitlines())
