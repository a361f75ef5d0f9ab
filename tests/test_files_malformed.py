"""Files that are wrong: an error that names the file and says what is wrong, at no cost."""

import json
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import lr_scheduler as schedules
from fastmlp.files import architecture
from fastmlp.onnx.layers import Graph, Scale
from file_bombs import BOMBS
from file_mutations import mutated, with_document, with_header
from malformed_files import MODELS, TRAINERS, WHOLE, Change
from resuming import CLASSES, VALUES, X, new_trainer
from subprocesses import output_of


def make_model() -> fm.Module:
    return fm.Sequential(fm.Linear(5, 2), fm.BatchNorm1d(2), fm.Dropout(0.5))


def tables(rows: list[tuple[str, Change, str]]) -> Any:
    names = [row[0] for row in rows]
    return pytest.mark.parametrize(("change", "message"), [row[1:] for row in rows], ids=names)


@tables(MODELS)
def test_models_that_are_wrong(change: Change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fm.save(make_model(), path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        fm.load(path)


def make_trainer() -> fm.Trainer:
    return new_trainer(
        lambda p: fm.Adam(p, lr=0.01),
        lambda o: schedules.SequentialLR(
            o,
            [
                schedules.LinearLR(o, 0.1, total_iters=3),
                schedules.CosineAnnealingWarmRestarts(o, 2, 2),
                schedules.MultiStepLR(o, [3, 3]),
            ],
            [1, 4],
        ),
        fm.CrossEntropyLoss(weight=[1, 2, 3]),
    )


@pytest.fixture(scope="module")
def trainer_file(tmp_path_factory: Any) -> bytes:
    """Of a fit that is under way."""
    path: Path = tmp_path_factory.mktemp("trainer") / "file"

    def save(info: fm.EpochInfo) -> None:
        if info.epoch == 2:
            info.trainer.save(path)

    make_trainer().fit(
        X, CLASSES, 4, 7, validation_split=0.3, early_stopping=fm.EarlyStopping(9), callbacks=save,
        eval_interval=2,
    )  # fmt: skip
    return path.read_bytes()


def test_the_valid_files_are_read(trainer_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(with_document(trainer_file, lambda _: None))
    fm.Trainer.load(path)
    fm.save(make_model(), path)
    path.write_bytes(with_header(path.read_bytes(), lambda _: None))
    fm.load(path)


@tables(TRAINERS)
def test_trainings_that_are_wrong(
    change: Change, message: str, trainer_file: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(change(trainer_file))
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        fm.Trainer.load(path)


def test_what_is_no_file_of_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match=f"^{path}: expected a regular file"):
            fm.load(path)
    np.save(tmp_path / "a.npy", np.ones(100))
    with pytest.raises(ValueError, match=WHOLE):
        fm.load(tmp_path / "a.npy")


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    version = pytest.importorskip("safetensors").__version__
    if int(version.split(".")[0]) == 0 and int(version.split(".")[1]) < 8:
        pytest.skip("safetensors maps files into memory before 0.8")
    path, make = tmp_path / "file", architecture.make

    def cut(node: Any) -> fm.Module:
        os.truncate(path, 10_000)
        return make(node)

    monkeypatch.setattr(architecture, "make", cut)
    fm.save(fm.Linear(300, 300), path)
    with pytest.raises(ValueError, match=f"^{path}: Could not read"):
        fm.load(path)


def test_counters_below_zero_are_wrong(tmp_path: Path) -> None:
    model = make_model()
    model[1].num_batches_tracked[...] = -3
    fm.save(model, tmp_path / "a")
    for into in (None, make_model()):
        with pytest.raises(ValueError, match="num_batches_tracked': expected at least 0, got -3"):
            fm.load(tmp_path / "a", into=into)


def test_an_architecture_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    model = fm.ModuleDict({f"{'x' * 50}{i}": fm.ReLU() for i in range(800)})
    with pytest.raises(ValueError, match="expected one whose description takes at most"):
        fm.save(model, tmp_path / "a")
    assert os.listdir(tmp_path) == []
    fm.save(fm.ModuleDict({f"{i}": fm.ReLU() for i in range(800)}), tmp_path / "a")
    assert len(fm.load(tmp_path / "a")) == 800


# --- bombs and fuzz


def test_bombs_cost_little(tmp_path: Path) -> None:
    """Below 10 MB beside the file itself, and in no time."""
    lines = output_of(f"import file_bombs; file_bombs.main({str(tmp_path)!r})").splitlines()
    costs = {name: cost for name, *cost in map(json.loads, lines)}
    assert list(costs) == list(BOMBS)
    for name, (memory, seconds, size, errors) in costs.items():
        assert 900_000 < size < 1_100_000, name
        assert memory < 10_000_000 + size, (name, memory)
        assert seconds < 5, (name, seconds)
        assert errors or name == "milestones"
        assert all(len(error) < 1000 for error in errors)


def seed_files(folder: Path, trainer_file: bytes) -> list[bytes]:
    shared = fm.Linear(5, 5)
    inner = fm.Residual(fm.Linear(5, 4), fm.PReLU(4))
    model = fm.Sequential(
        fm.Residual(shared, fm.Tanh(), shared), inner, fm.Softmax(), fm.Linear(4, 4)
    )
    model[3].bias = inner.layers[0].bias
    fm.save(model, folder / "model")
    other = new_trainer(
        lambda p: fm.NAdam(p, 0.01), lambda o: schedules.OneCycleLR(o, 0.1, 80), fm.HuberLoss()
    )
    other.fit(X, VALUES, 2, validation_split=0.3, metrics="mae")
    other.save(folder / "other")
    small = fm.MLP([5, 2])
    plateau = fm.SGD(small.parameters(), 0.1, 0.9)
    schedule = schedules.ReduceLROnPlateau(plateau)
    fm.Trainer(small, plateau, fm.MSELoss(), scheduler=schedule).save(folder / "small")
    steps = [(0, (0,)), (1, (1,)), (None, (2, 0))]
    fm.save(Graph([fm.Linear(5, 5), Scale(features=5)], steps, False), folder / "graph")
    names = ("model", "other", "small", "graph")
    return [trainer_file, *((folder / name).read_bytes() for name in names)]


@pytest.mark.parametrize(
    "count", [3000, pytest.param(100_000, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_changed_files_load_or_are_errors(count: int, trainer_file: bytes, tmp_path: Path) -> None:
    """And what loads, predicts. Python's memory stays below 2 MB for files of 10 kB."""
    files = seed_files(tmp_path, trainer_file)
    rng = random.Random(count)
    path, found = tmp_path / "changed", {"whole": 0, "wrong": 0}
    for number in range(count):
        path.write_bytes(mutated(rng.choice(files), rng))
        for load in (fm.load, fm.Trainer.load):
            if number % 10 == 0:
                tracemalloc.start()
            loaded, message = outcome(load, path)
            if number % 10 == 0:
                assert tracemalloc.get_traced_memory()[1] < 2_000_000
                tracemalloc.stop()
            found["whole" if loaded is not None else "wrong"] += 1
            assert loaded is not None or message.startswith(f"{path}: ")
            if isinstance(loaded, fm.Trainer):
                loaded = loaded.model
            if loaded is not None and type(loaded).forward is not fm.Module.forward:
                _, message = outcome(loaded.predict, X)
                assert not message or "expected" in message or "takes" in message
    assert min(found.values()) > count / 10


def outcome(call: Any, argument: Any) -> tuple[Any, str]:
    """What a call returns, or the message of its ValueError; anything else ends the test."""
    try:
        return call(argument), ""
    except ValueError as error:
        return None, str(error)
