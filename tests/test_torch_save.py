"""What `torch.save` writes of ours, `torch.load` reads, by its safe default; and plain pickles."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm

READ = """
{imports}
model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
kept = torch.load({path!r})
model.load_state_dict(kept["model"])
optimizer = optim.Adam(model.parameters())
optimizer.load_state_dict(kept["optimizer"])
print(kept["epoch"], model.eval()(torch.ones(2, 3)).tolist())
"""
IMPORTS = (
    "import torch; from fastmlp import nn, optim",
    "from fastmlp import nn, optim; import torch",
)


def _trained() -> tuple[Any, Any]:
    model = fm.Sequential(fm.Linear(3, 4), fm.BatchNorm1d(4), fm.Linear(4, 1))
    optimizer = fm.Adam(model.parameters())
    for _ in range(3):
        fm.MSELoss()(model(fm.randn(8, 3)), np.ones((8, 1), "f4")).backward()
        optimizer.step()
    return model.eval(), optimizer


@pytest.mark.parametrize("imports", IMPORTS)
def test_checkpoints(torch: Any, tmp_path: Path, imports: str) -> None:
    model, optimizer = _trained()
    path = str(tmp_path / "kept.pt")
    states = {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(states, path)
    script = READ.format(imports=imports, path=path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"3 {model(torch.ones(2, 3)).tolist()}\n"


def test_states_in_torch(torch: Any, tmp_path: Path) -> None:
    """torch's own modules take a state that it has read."""
    model, _ = _trained()
    torch.save(model.state_dict(), tmp_path / "kept.pt")
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
    ).eval()
    theirs.load_state_dict(torch.load(tmp_path / "kept.pt"))
    x = torch.randn(5, 3)
    np.testing.assert_allclose(theirs(x).detach(), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "values",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype="f4").reshape(2, 3).T,
        np.array(2.5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array([1, 2], ">i4"),
        np.array(["a", None], object),
    ],
    ids=lambda values: f"{values.dtype}{values.shape}",
)
def test_pickles(values: Any, protocol: int) -> None:
    tensor = values.view(fm.Tensor)
    for twin in (pickle.loads(pickle.dumps(tensor, protocol)), copy.deepcopy(tensor)):
        assert twin.dtype == values.dtype
        assert twin.flags.writeable
        np.testing.assert_array_equal(twin, values)


def test_pickled_outputs_have_no_graph() -> None:
    y = fm.Linear(2, 3)(np.ones((4, 2), "f4"))
    twin = pickle.loads(pickle.dumps(y))
    assert type(twin) is fm.Tensor
    assert y.requires_grad
    assert not twin.requires_grad
    np.testing.assert_array_equal(twin, y)
