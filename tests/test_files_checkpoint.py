"""`ModelCheckpoint` with a path: a file of the training, and one of its best epoch."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.callbacks import ModelCheckpoint
from resuming import CLASSES, X, assert_equal, new_trainer, state_of
from subprocesses import output_of

OPTIONS: dict[str, Any] = {"validation_split": 0.3, "metrics": "accuracy", "progress": False}


def trainer() -> fm.Trainer:
    return new_trainer(lambda p: fm.Adam(p, lr=0.03))


def epochs_of(path: Path) -> int:
    return len(fm.Trainer.load(path).history.loss)


@pytest.mark.parametrize("every", [1, 3])
def test_the_file_is_written_every_few_epochs_and_at_the_end(every: int, tmp_path: Path) -> None:
    path, seen = tmp_path / "run.safetensors", []
    checkpoint = ModelCheckpoint(path, every=every)
    made = trainer()

    def look(info: fm.EpochInfo) -> None:
        seen.append(path.exists() and epochs_of(path))

    made.fit(X, CLASSES, 8, callbacks=[checkpoint, look], **OPTIONS)
    assert seen == ([*range(1, 9)] if every == 1 else [False, False, 3, 3, 3, 6, 6, 8])
    assert os.listdir(tmp_path) == ["run.safetensors"]
    assert (checkpoint.last_epoch, checkpoint.best_path, checkpoint.last_state) == (7, None, None)
    assert_equal(state_of(fm.Trainer.load(path)), state_of(made))
    pickle.loads(pickle.dumps(checkpoint))


def test_early_stopping_ends_with_a_file_of_the_best_values(tmp_path: Path) -> None:
    made = trainer()
    early = fm.EarlyStopping(3)
    made.fit(
        X,
        CLASSES,
        90,
        early_stopping=early,
        callbacks=ModelCheckpoint(tmp_path / "a", 50),
        **OPTIONS,
    )
    assert early.stopped_epoch is not None
    assert_equal(state_of(fm.Trainer.load(tmp_path / "a")), state_of(made))


@pytest.mark.parametrize("monitor", ["validation_loss", "loss", "accuracy"])
@pytest.mark.parametrize("only", [True, False])
def test_the_best_epoch_has_a_file(only: bool, monitor: str, tmp_path: Path) -> None:
    path, kept = tmp_path / "run.st", []
    made = trainer()
    checkpoint = ModelCheckpoint(path, keep_best=not only, monitor=monitor, save_best_only=only)

    def keep(info: fm.EpochInfo) -> None:
        kept.append(dict(made.model.state_dict()))

    history = made.fit(X, CLASSES, 12, callbacks=[checkpoint, keep], **OPTIONS)
    curve = history.metrics[monitor] if monitor == "accuracy" else getattr(history, monitor)
    best = int(np.argmax(curve) if monitor == "accuracy" else np.argmin(curve))
    assert (checkpoint.best_epoch, checkpoint.best) == (best, curve[best])
    assert sorted(os.listdir(tmp_path)) == (["run.st"] if only else ["run-best.st", "run.st"])
    assert checkpoint.best_path == str(tmp_path / ("run.st" if only else "run-best.st"))
    assert_equal(dict(fm.load(checkpoint.best_path).state_dict()), kept[best])
    assert epochs_of(Path(checkpoint.best_path)) == best + 1


def test_a_resumed_training_keeps_the_same_files(tmp_path: Path) -> None:
    """Also of a best epoch that lies before the file."""
    files: dict[str, Any] = {}
    for folder, stops in {"never": (), "twice": (3, 8)}.items():
        (tmp_path / folder).mkdir()
        path, made = tmp_path / folder / "run", trainer()
        for stop in (*stops, 12):
            made.fit(
                X, CLASSES, stop - len(made.history.loss),
                callbacks=ModelCheckpoint(path, keep_best=True), **OPTIONS,
            )  # fmt: skip
            made = fm.Trainer.load(path)
        files[folder] = [state_of(fm.Trainer.load(f"{path}{end}")) for end in ("", "-best")]
    assert 0 < len(files["never"][1]["history"]["loss"]) < 12
    assert_equal(files["twice"], files["never"])


def test_a_file_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        trainer().fit(
            X, CLASSES, 2, callbacks=ModelCheckpoint(tmp_path / "nowhere" / "a"), **OPTIONS
        )


def test_a_training_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """Each process goes on from the file of the one before; the end is that of one process."""
    code = f"""
        import os, random, signal, time
        import fastmlp as fm
        from fastmlp.callbacks import ModelCheckpoint
        from resuming import CLASSES, X, new_trainer

        def train(path):
            there = os.path.exists(path)
            trainer = fm.Trainer.load(path) if there else new_trainer(lambda p: fm.Adam(p, lr=0.01))
            if (left := 60 - len(trainer.history.loss)) > 0:
                trainer.fit(X, CLASSES, left, 7, validation_split=0.3, progress=False,
                            early_stopping=fm.EarlyStopping(55), callbacks=ModelCheckpoint(path))

        def start(path):
            if (child := os.fork()) == 0:
                train(path)
                os._exit(0)
            return child

        rng, kills = random.Random(0), 0
        os.chdir({str(tmp_path)!r})
        assert os.waitpid(start("whole"), 0)[1] == 0
        while True:
            child = start("killed")
            time.sleep(rng.uniform(0.005, 0.03))
            os.kill(child, signal.SIGKILL)
            if os.waitpid(child, 0)[1] == 0:
                break
            kills += 1
            if kills > 12:
                assert os.waitpid(start("killed"), 0)[1] == 0
                break
        print(kills)
    """
    assert int(output_of(code)) > 0
    whole, killed = (fm.Trainer.load(tmp_path / name) for name in ("whole", "killed"))
    assert len(whole.history.loss) == 60 or whole.history.best_epoch is not None
    assert_equal(state_of(killed), state_of(whole))
