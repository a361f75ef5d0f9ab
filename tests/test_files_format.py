"""Files of format 1, as the first version wrote them, are read for ever, with the same results."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.files import container
from file_mutations import KEY, split

DATA = Path(__file__).parent / "data"
X = np.sin(np.arange(150.0) ** 2).reshape(30, 5)
CLASSES = np.arange(30) % 3
# Of model-1, a model of nearly every layer.
PREDICTIONS = [
    [0.2983451039038, 0.7016548960962],
    [0.4135037335947, 0.5864962664053],
    [0.3407952531164, 0.6592047468836],
]
# Of trainer-1, which was saved in the third epoch of this training.
LOSSES = [
    1.07520587,
    1.00458445,
    0.892823583,
    0.805539381,
    0.771611532,
    0.70901202,
    0.665079412,
    0.640143301,
]
VALIDATION = [
    1.06509569,
    0.987975015,
    0.930904388,
    0.920114411,
    0.87153954,
    0.812485907,
    0.801256445,
    0.823779053,
]
BEST_EPOCH = 6


def test_a_model_of_format_1() -> None:
    model = fm.load(DATA / "model-1.safetensors")
    np.testing.assert_allclose(model.predict(X[:3]), PREDICTIONS, rtol=1e-10)
    assert not model.first.weight.requires_grad
    assert model.first.bias.requires_grad
    assert [module.training for module in model][:4] == [True, True, False, True]
    assert model.block.layers[0] is model.block.layers[2]
    assert (model.drop.p, model.norm.momentum, model.act[2].min_val) == (0.25, None, -2)
    assert model.wide.layers[1].inplace
    assert int(model.norm.num_batches_tracked) == 9


def test_a_training_of_format_1() -> None:
    trainer = fm.Trainer.load(DATA / "trainer-1.safetensors")
    early = fm.EarlyStopping(4)
    history = trainer.fit(
        X, CLASSES, 5, 10, validation_split=0.3, early_stopping=early, metrics="accuracy"
    )
    np.testing.assert_allclose(history.loss, LOSSES, rtol=1e-4)
    np.testing.assert_allclose(history.validation_loss, VALIDATION, rtol=1e-4)
    assert history.best_epoch == BEST_EPOCH
    groups = trainer.optimizer.param_groups
    assert [group.get("name") for group in groups] == ["first", None]
    assert isinstance(trainer.scheduler, fm.lr_scheduler.SequentialLR)
    assert repr(trainer.loss_fn) == (
        "CrossEntropyLoss(weight=[1.0, 2.0, 0.5], ignore_index=1, reduction='mean',"
        " label_smoothing=0.0)"
    )


@pytest.mark.parametrize("name", ["model-1", "trainer-1"])
def test_what_is_written_now_is_format_1(name: str, tmp_path: Path) -> None:
    """To be taken out when there is a format 2."""
    path = DATA / f"{name}.safetensors"
    if name == "model-1":
        fm.save(fm.load(path), tmp_path / "again")
    else:
        fm.Trainer.load(path).save(tmp_path / "again")
    found = [split(file.read_bytes()) for file in (path, tmp_path / "again")]
    documents = [json.loads(header.pop("__metadata__")[KEY]) for header, _ in found]
    assert [document.pop("fastmlp") for document in documents] == ["0.1.0", fm.__version__]
    assert documents[0] == documents[1]
    assert found[0] == found[1]
    assert container.newest_format() == 1
