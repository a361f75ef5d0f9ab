"""Files of trainers whose optimizers look at all rows."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.files import container

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
T = np.stack([np.sin(X.sum(1)), X[:, 0] * X[:, 1]], 1)


def network(dtype: str = "float64") -> fm.MLP:
    return fm.MLP([3, 5, 2], activation="tanh", seed=0, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("epochs", [0, 1, 4])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LBFGS", {"history_size": 3, "line_search_fn": "strong_wolfe"}),
        ("LBFGS", {"lr": 0.1, "max_iter": 1}),
        ("LevenbergMarquardt", {}),
        ("LevenbergMarquardt", {"scaling": "marquardt", "damping": 3.0}),
    ],
)
def test_a_resumed_training_has_the_same_bits(
    kind: str, options: dict[str, Any], epochs: int, dtype: str, tmp_path: Path
) -> None:
    model = network(dtype=dtype)
    trainer = fm.Trainer(model, getattr(fm, kind)(model.parameters(), **options), fm.MSELoss())
    if epochs:
        trainer.fit(X, T, max_epoch=epochs)
    trainer.save(tmp_path / "run.safetensors")
    again = fm.Trainer.load(tmp_path / "run.safetensors")
    assert type(again.optimizer) is type(trainer.optimizer)
    for each in (trainer, again):
        each.fit(X, T, max_epoch=4)
    for ours, theirs in zip(model.parameters(), again.model.parameters(), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert again.history.loss.tolist() == trainer.history.loss.tolist()
    assert pickle.dumps(again.optimizer.state_dict()) == pickle.dumps(
        trainer.optimizer.state_dict()
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, numbers: arrays.pop("optimizer.0.d"),
        lambda arrays, numbers: arrays.pop("optimizer.0.old_dirs"),
        lambda arrays, numbers: arrays.update({"optimizer.0.d": np.zeros(3)}),
        lambda arrays, numbers: arrays.update({"optimizer.0.ro": np.zeros(1)}),
        lambda arrays, numbers: arrays.update({"optimizer.1.d": np.zeros(3)}),
        lambda arrays, numbers: arrays.update({"optimizer.0.exp_avg": np.zeros(3)}),
        lambda arrays, numbers: numbers.append({}),
        lambda arrays, numbers: numbers[0].update(n_iter=-1),
        lambda arrays, numbers: numbers[0].update(t="far"),
    ],
)
def test_files_that_do_not_fit(change: Any, tmp_path: Path) -> None:
    model, path = network(), tmp_path / "run.safetensors"
    optimizer = fm.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    trainer = fm.Trainer(model, optimizer, fm.MSELoss())
    trainer.fit(X, T, max_epoch=2)
    trainer.save(path)
    with container.opened(str(path)) as contents:
        document = contents.document
        arrays = {name: contents.array(name) for name in contents.names}
    assert document is not None
    change(arrays, document["optimizer"]["state"])
    path.write_bytes(container.pack(arrays, document))
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(str(path))):
        fm.Trainer.load(path, model=model)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
